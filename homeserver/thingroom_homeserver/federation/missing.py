"""Completing events whose ancestors are missing: first the events in between, then the state where those end.

One attempt at a time for one room and one server; bounded in rounds, events and bytes. What cannot be completed stays
staged and is tried again later (inbox.py says how often). May import rooms, storage, core and this package.
Source: Server-Server API, "Backfilling and retrieving missing events". Next: intake.py, state_fetching.py.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.event_fetching import EventFetching, objects_in
from thingroom_homeserver.federation.intake import WRITE_SECONDS, in_graph_order, receive
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.state_fetching import StateFetching
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.read_events import BEFORE_ALL
from thingroom_homeserver.rooms.receipt_outcomes import Missing
from thingroom_homeserver.rooms.states import resolve_states
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import NO_END
from thingroom_homeserver.storage.rooms import forward_extremities
from thingroom_homeserver.storage.state_groups import StateKey

MAX_ROUNDS = 20
MAX_POOL_EVENTS = 400
MAX_POOL_BYTES = 8 * 1024 * 1024
ASKED_AT_ONCE = 100
MAX_NAMED = 20
"""How many events a question names at most: those to go back from, those to stop at."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024
SECONDS = 20.0
MAX_STATES = 5
"""For how many events of one attempt the state before is asked of peers."""
MAX_STATE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class _Told:
    """The state before an event as peers tell it, and for which of its prev events that stands."""

    state: Mapping[StateKey, str]
    instead_of: Collection[str]


@dataclass(slots=True)
class _Pool:
    """The events of one attempt by id: those that waited, and those fetched to lead up to them."""

    room_id: str
    version: str
    events: dict[str, Event]
    min_depth: int
    size: int = 0
    states: dict[str, _Told] = field(default_factory=dict)
    asked_for: set[str] = field(default_factory=set)
    """The events for which the state before was asked of peers."""

    @property
    def is_full(self) -> bool:
        return len(self.events) >= MAX_POOL_EVENTS or self.size >= MAX_POOL_BYTES

    def add_ancestors(self, events: Collection[Event], wanted: set[str]) -> bool:
        """Take in those of `events` that lead up to the pool from `wanted`; the rest nobody asked for.

        Nor are events of before this server's time in the room wanted: those are history, and come by backfill.
        """
        by_id = {
            event.event_id: event for event in events if event.room_id == self.room_id and event.depth >= self.min_depth
        }
        reached = [name for name in wanted if name in by_id]
        grown = False
        while reached and not self.is_full:
            event = by_id[reached.pop()]
            if event.event_id not in self.events:
                self.events[event.event_id] = event
                self.size += event.size
                grown = True
                reached += [name for name in event.prev_event_ids if name in by_id]
        return grown


class Completing:
    """Fetches what waiting events miss, and takes them in."""

    def __init__(
        self,
        rooms: Rooms,
        client: FederationClient,
        events: EventFetching,
        states: StateFetching,
        choosing: Choosing,
    ) -> None:
        self._rooms = rooms
        self._client = client
        self._events = events
        self._states = states
        self._choosing = choosing

    async def complete(self, room_id: str, version: str, origin: str, waiting: Sequence[Event]) -> set[str]:
        """Try to take in the waiting events of one room that `origin` sent; the ids of those that are in or refused."""
        min_depth = self._rooms.database.read(lambda connection: self._oldest_depth(connection, room_id))
        pool = _Pool(room_id, version, {event.event_id: event for event in waiting}, min_depth)
        done = await self._take_in(pool, pool.events)
        for name in done:
            pool.events.pop(name, None)
        if pool.events:
            servers = self._choosing.servers_of(room_id, (origin, *_senders_servers(pool.events.values())))
            await self._fetch_between(pool, servers)
            await self._fetch_auth(pool, servers)
            for _ in range(MAX_STATE_ROUNDS):
                await self._fetch_states(pool, servers)
                settled = await self._take_in(pool, pool.events)
                for name in settled:
                    del pool.events[name]
                done |= settled
                if not settled or not pool.events:
                    break
        return done.intersection(event.event_id for event in waiting)

    async def _fetch_between(self, pool: _Pool, servers: Sequence[str]) -> None:
        """Ask for the events between the pool and what is known here, until they meet or enough is enough."""
        asked = list(servers)
        for _ in range(MAX_ROUNDS):
            missing = self._missing_prevs(pool)
            if not missing or pool.is_full or not asked:
                return
            latest = list(missing)[:MAX_NAMED]
            found = await self._ask_missing(asked[0], pool, latest)
            if not pool.add_ancestors(found, {prev for prevs in missing.values() for prev in prevs}):
                asked.pop(0)

    async def _ask_missing(self, server: str, pool: _Pool, latest: Sequence[str]) -> list[Event]:
        known = self._rooms.database.read(lambda connection: forward_extremities(connection, pool.room_id))
        answer = await self._client.request(
            server,
            "POST",
            path("v1", "get_missing_events", pool.room_id),
            body={
                "earliest_events": known[:MAX_NAMED],
                "latest_events": list(latest),
                "limit": ASKED_AT_ONCE,
                "min_depth": pool.min_depth,
            },
            timeout_seconds=SECONDS,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if isinstance(answer, Failed):
            if answer.why != "refused":
                self._choosing.did_badly(server)
            return []
        return await self._events.checked(pool.version, objects_in(answer.get("events"), ASKED_AT_ONCE))

    async def _fetch_auth(self, pool: _Pool, servers: Sequence[str]) -> None:
        """Have what authorises the pool's events, where it is neither known nor in the pool."""
        named = {name for event in pool.events.values() for name in event.auth_event_ids}
        unknown = self._events.unknown(named - pool.events.keys())
        if not unknown:
            return
        lacking = [event for event in pool.events.values() if unknown.intersection(event.auth_event_ids)]
        if not await self._events.complete_auth(pool.room_id, pool.version, lacking, servers, pool.events):
            await self._events.fetch_auth_chain(pool.room_id, pool.version, lacking[-1].event_id, servers)

    async def _fetch_states(self, pool: _Pool, servers: Sequence[str]) -> None:
        """Have the state before the pool's oldest events, where their prev events are not to be had."""
        for name, missing in self._missing_prevs(pool).items():
            if name not in pool.asked_for and len(pool.asked_for) < MAX_STATES:
                pool.asked_for.add(name)
                state = await self._state_before(pool, pool.events[name], missing, servers)
                if state is not None:
                    pool.states[name] = _Told(state, missing)

    async def _state_before(
        self, pool: _Pool, event: Event, missing: Collection[str], servers: Sequence[str]
    ) -> Mapping[StateKey, str] | None:
        """What is to be told of the state before an event of which not all prev events are known.

        Where none is known, it is what a server says. Where some are, what servers say counts for the others only, and
        receipt resolves it with what is known: a made-up prev event must not put aside the state that we know.
        """
        if len(missing) == len(set(event.prev_event_ids)):
            return await self._states.state_before(pool.room_id, pool.version, event.event_id, servers)
        branches: list[Mapping[StateKey, str]] = []
        for name in missing:
            branch = await self._state_after_missing(pool, name, servers)
            if branch is None:
                return None
            branches.append(branch)
        events, rules = self._rooms.events, event.rules
        return self._rooms.database.read(lambda connection: resolve_states(events, connection, rules, branches))

    async def _state_after_missing(
        self, pool: _Pool, event_id: str, servers: Sequence[str]
    ) -> Mapping[StateKey, str] | None:
        found = await self._events.fetch(pool.room_id, pool.version, [event_id], servers)
        event = found.get(event_id)
        if event is None or not await self._events.complete_auth(pool.room_id, pool.version, [event], servers):
            return None
        state = await self._states.state_before(pool.room_id, pool.version, event_id, servers)
        if state is None or event.state_key is None:
            return state
        await self._events.keep(pool.room_id, pool.version, [event])
        kept = self._rooms.database.read(lambda connection: self._rooms.events.get(connection, event_id))
        if kept is None or kept.rejected is not None:
            return state
        return {**state, (event.type, event.state_key): event_id}

    def _oldest_depth(self, connection: Reader, room_id: str) -> int:
        oldest = self._rooms.events.timeline(
            connection, room_id, above=BEFORE_ALL, upto=NO_END, limit=1, backwards=False
        )
        return oldest[0].event.depth if oldest else 0

    def _missing_prevs(self, pool: _Pool) -> dict[str, set[str]]:
        """By event of the pool, those of its prev events that are neither in the pool nor here in full."""
        outside = {name for event in pool.events.values() for name in event.prev_event_ids if name not in pool.events}
        stored = self._rooms.database.read(lambda connection: self._rooms.events.get_many(connection, outside))
        absent = {name for name in outside if name not in stored or stored[name].state_group is None}
        return {
            name: missing
            for name, event in pool.events.items()
            if (missing := absent.intersection(event.prev_event_ids))
        }

    async def _take_in(self, pool: _Pool, wanted: Collection[str]) -> set[str]:
        """Receive the pool's events, ancestors first, some at a time; the ids of those of `wanted` that are settled."""
        ordered = in_graph_order(pool.events.values())
        settled: set[str] = set()
        now_ms = self._rooms.clock.now_ms()

        def write(transaction: Transaction, events: Sequence[Event]) -> dict[str, bool]:
            """Whether each of the first events, as many as there is time for, is settled."""
            done: dict[str, bool] = {}
            until = time.perf_counter() + WRITE_SECONDS
            for event in events:
                if done and time.perf_counter() > until:
                    break
                state = self._usable_state(transaction, event, pool.states.get(event.event_id))
                outcome = receive(self._rooms, transaction, event, now_ms=now_ms, state_before=state)
                done[event.event_id] = not isinstance(outcome, Missing)
            return done

        await self._rooms.policies.prepare(self._rooms, ordered)
        while ordered:
            done = await self._rooms.database.write(partial(write, events=ordered))
            settled |= {name for name, is_settled in done.items() if is_settled}
            ordered = ordered[len(done) :]
        return settled.intersection(wanted)

    def _usable_state(self, connection: Reader, event: Event, told: _Told | None) -> Mapping[StateKey, str] | None:
        """What was told, unless it leaves out a branch: that of a prev event of the pool that could not be taken in."""
        if told is None:
            return None
        stored = self._rooms.events.get_many(connection, event.prev_event_ids)
        absent = {name for name in event.prev_event_ids if name not in stored or stored[name].state_group is None}
        return told.state if absent.issubset(told.instead_of) else None


def _senders_servers(events: Collection[Event]) -> list[str]:
    return list(dict.fromkeys(event.sender.partition(":")[2] for event in events))[:2]
