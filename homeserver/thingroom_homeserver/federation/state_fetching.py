"""The state of a room before an event, as another server tells it: its events fetched, checked and stored as outliers.

May import rooms, storage, core and this package. Source: Server-Server API, "Retrieving events". Next: missing.py,
which needs it where the history before an event is not to be had, and backfill.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.event_fetching import EventFetching, objects_in, strings_in
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.state_groups import StateKey

MAX_STATE_EVENTS = 100_000
MAX_IDS_BYTES = 16 * 1024 * 1024
MAX_STATE_BYTES = 96 * 1024 * 1024
FEW_MISSING = 100
"""Up to so many events are fetched one by one; if more are missing, the whole state is asked for at once."""
IDS_SECONDS = 20.0
STATE_SECONDS = 60.0
CHECKED_AT_ONCE = 200
MANY_HOLES = 20
"""A state is of no use if more than one in so many of its events is not to be had."""
CREATE: StateKey = ("m.room.create", "")


@dataclass(frozen=True, slots=True)
class _Told:
    """A state, and how many of its events are not to be had."""

    state: dict[StateKey, str]
    holes: int


class StateFetching:
    """Asks other servers for the state before an event. Whole states are fetched two at a time at most."""

    def __init__(self, rooms: Rooms, client: FederationClient, events: EventFetching, choosing: Choosing) -> None:
        self._rooms = rooms
        self._client = client
        self._events = events
        self._choosing = choosing
        self._whole_states = asyncio.Semaphore(2)

    async def state_before(
        self, room_id: str, version: str, event_id: str, servers: Sequence[str]
    ) -> dict[StateKey, str] | None:
        """The state before the event as the first server tells it from which it is to be had whole; None if from none.

        All its events, and those that authorise them, are stored then. It must hold the create event of the room as
        it is known here. Events of it that were rejected here are left out. If no server's can be had whole, that with
        the fewest holes will do: in old rooms some events can be checked by nobody any more.
        """
        best: _Told | None = None
        for server in servers:
            answer = await self._client.request(
                server,
                "GET",
                path("v1", "state_ids", room_id),
                query=(("event_id", event_id),),
                timeout_seconds=IDS_SECONDS,
                max_bytes=MAX_IDS_BYTES,
            )
            if isinstance(answer, Failed):
                if answer.why != "refused":
                    self._choosing.did_badly(server)
                continue
            state_ids = strings_in(answer.get("pdu_ids"), MAX_STATE_EVENTS)
            auth_ids = strings_in(answer.get("auth_chain_ids"), MAX_STATE_EVENTS)
            missing = self._events.unknown({*state_ids, *auth_ids})
            if missing:
                others = [server, *(other for other in servers if other != server)]
                await self._fetch(room_id, version, event_id, missing, others)
            told = self._rooms.database.read(partial(self._told, room_id=room_id, state_ids=state_ids))
            if told is not None and told.holes == 0:
                self._choosing.did_well(server)
                return told.state
            self._choosing.did_badly(server)
            if (
                told is not None
                and told.holes <= len(state_ids) // MANY_HOLES
                and (best is None or told.holes < best.holes)
            ):
                best = told
        return None if best is None else best.state

    async def _fetch(
        self, room_id: str, version: str, event_id: str, missing: set[str], servers: Sequence[str]
    ) -> None:
        """Store what can be had of the missing events."""
        found: dict[str, Event] = {}
        if len(missing) > FEW_MISSING:
            async with self._whole_states:
                await self._keep_whole(room_id, version, event_id, missing, servers[0])
            missing = self._events.unknown(missing)
        if len(missing) <= FEW_MISSING:
            found = await self._events.fetch(room_id, version, missing, servers)
            await self._events.complete_auth(room_id, version, found.values(), servers)
            await self._events.keep(room_id, version, found.values())

    async def _keep_whole(self, room_id: str, version: str, event_id: str, missing: set[str], server: str) -> None:
        answer = await self._client.request(
            server,
            "GET",
            path("v1", "state", room_id),
            query=(("event_id", event_id),),
            timeout_seconds=STATE_SECONDS,
            max_bytes=MAX_STATE_BYTES,
        )
        if isinstance(answer, Failed):
            return
        pdus: list[JsonObject] = []
        for name in ("auth_chain", "pdus"):
            pdus += objects_in(answer.get(name), MAX_STATE_EVENTS)
        events: list[Event] = []
        for start in range(0, len(pdus), CHECKED_AT_ONCE):
            some = await self._events.checked(version, pdus[start : start + CHECKED_AT_ONCE])
            events += [event for event in some if event.event_id in missing and event.room_id == room_id]
        await self._events.keep(room_id, version, events)

    def _told(self, connection: Reader, room_id: str, state_ids: Sequence[str]) -> _Told | None:
        """The state that these events make; None if it cannot be one: twice the same entry, or of another room."""
        stored = self._rooms.events.get_many(connection, state_ids)
        state: dict[StateKey, str] = {}
        for found in stored.values():
            event = found.event
            if event.state_key is None or event.room_id != room_id or (event.type, event.state_key) in state:
                return None
            if found.rejected is None:
                state[event.type, event.state_key] = event.event_id
        create = current_entry(connection, room_id, *CREATE)
        if create is not None and state.get(CREATE) != create:
            return None
        return _Told(state, len(state_ids) - len(stored))
