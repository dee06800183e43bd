"""History of before this server's time, or of while it was away: asked of other servers when somebody pages back to it.

May import rooms, storage, core and this package. Source: Server-Server API, "Backfilling and retrieving missing
events". Called by client_api/history.py. Next: rooms/gaps.py, which puts it where it belongs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from enum import Enum, auto

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.event_fetching import EventFetching, objects_in
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.state_fetching import StateFetching
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.gaps import Gap, import_history, missing_states
from thingroom_homeserver.storage.rooms import room_version

MAX_EVENTS = 100
MIN_EVENTS = 30
MAX_NAMED = 20
MAX_STATES = 3
MAX_ANSWER_BYTES = 8 * 1024 * 1024
SECONDS = 10.0
LONGEST_SECONDS = 20.0
PAUSE_SECONDS = 20.0
"""How long a gap is left alone for which nobody had anything. Who cannot be reached is left alone by client.py."""
MAX_PAUSES = 1000


class Filled(Enum):
    """What came of filling a gap: some events; nothing that anybody asked would or could give; nobody was reached."""

    SOME = auto()
    NOTHING = auto()
    UNREACHABLE = auto()


class Backfill:
    """Fills gaps. Whoever asks for one that is being filled waits for the same answer."""

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
        self._filling: dict[int, asyncio.Task[Filled]] = {}
        self._pauses: dict[int, float] = {}

    async def close(self) -> None:
        """Give up what is being filled."""
        tasks = list(self._filling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fill(self, gap: Gap, limit: int) -> Filled:
        """Fetch about `limit` events of the gap, the newest first."""
        loop = asyncio.get_running_loop()
        if self._pauses.get(gap.number, 0.0) > loop.time():
            return Filled.NOTHING
        task = self._filling.get(gap.number)
        if task is None:
            task = self._filling[gap.number] = asyncio.create_task(self._fill(gap, limit), name="backfill")
            task.add_done_callback(lambda _: self._filling.pop(gap.number, None))
        outcome = await asyncio.shield(task)
        if outcome is Filled.NOTHING:
            if len(self._pauses) >= MAX_PAUSES:
                self._pauses.clear()
            self._pauses[gap.number] = loop.time() + PAUSE_SECONDS
        return outcome

    async def _fill(self, gap: Gap, limit: int) -> Filled:
        version = self._rooms.database.read(lambda connection: room_version(connection, gap.room_id))
        if version is None:
            return Filled.NOTHING
        servers = self._choosing.servers_of(gap.room_id)
        wanted = min(max(limit, MIN_EVENTS), MAX_EVENTS)
        reached = not servers
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                for server in servers:
                    others = [server, *(other for other in servers if other != server)]
                    outcome = await self._fill_from(server, gap, version, wanted, others)
                    if outcome is Filled.SOME:
                        return outcome
                    reached = reached or outcome is Filled.NOTHING
        except TimeoutError:
            pass
        return Filled.NOTHING if reached else Filled.UNREACHABLE

    async def _fill_from(self, server: str, gap: Gap, version: str, limit: int, servers: Sequence[str]) -> Filled:
        answer = await self._client.request(
            server,
            "GET",
            path("v1", "backfill", gap.room_id),
            query=(*(("v", event_id) for event_id in gap.missing[:MAX_NAMED]), ("limit", str(limit))),
            timeout_seconds=SECONDS,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if isinstance(answer, Failed):
            if answer.why == "refused" and (answer.status or 0) < 500 and answer.status != 429:
                return Filled.NOTHING
            self._choosing.did_badly(server)
            return Filled.UNREACHABLE
        checked = await self._events.checked(version, objects_in(answer.get("pdus"), MAX_EVENTS), historic=True)
        events = _leading_to(gap.missing, [event for event in checked if event.room_id == gap.room_id])
        if not events:
            return Filled.NOTHING
        ids = {event.event_id for event in events}
        await self._events.complete_auth(gap.room_id, version, events, servers, besides=ids)
        authorising = {name for event in events for name in event.auth_event_ids}
        await self._events.keep(gap.room_id, version, [event for event in events if event.event_id in authorising])
        states = {}
        unknown = self._rooms.database.read(lambda connection: missing_states(self._rooms, connection, events))
        for event_id in unknown[:MAX_STATES]:
            state = await self._states.state_before(gap.room_id, version, event_id, servers)
            if state is not None:
                states[event_id] = state
        imported = await self._rooms.database.write(
            lambda transaction: import_history(self._rooms, transaction, gap.room_id, gap, events, states)
        )
        if imported.count == 0 and imported.gap is not None:
            self._choosing.did_badly(server)
            return Filled.NOTHING
        self._choosing.did_well(server)
        return Filled.SOME


def _leading_to(missing: Collection[str], events: Iterable[Event]) -> list[Event]:
    """Those of the events from which prev_events lead up to `missing`, the newest first."""
    by_id = {event.event_id: event for event in events}
    reached: dict[str, Event] = {}
    queue = [event_id for event_id in missing if event_id in by_id]
    while queue:
        event = by_id[queue.pop()]
        if event.event_id not in reached:
            reached[event.event_id] = event
            queue += [event_id for event_id in event.prev_event_ids if event_id in by_id]
    return sorted(reached.values(), key=lambda event: -event.depth)
