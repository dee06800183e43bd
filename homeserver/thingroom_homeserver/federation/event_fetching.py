"""Single events by id, from whichever server has them, with everything that is needed to judge them.

What comes is checked before it leaves here: signatures, hashes, and that it is the event that was asked for. May import
rooms, storage, core and this package. Next: state_fetching.py. Source: Server-Server API, "Retrieving events".
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.verify_event import verify_events
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outliers import in_auth_order, store_outliers

AT_ONCE = 8
SECONDS = 15.0
MAX_EVENT_BYTES = 256 * 1024
MAX_AUTH_ROUNDS = 20
MAX_AUTH_EVENTS = 1000
MAX_AUTH_CHAIN_BYTES = 16 * 1024 * 1024
EVENTS_A_WRITE = 100


class EventFetching:
    """Asks other servers for events."""

    def __init__(self, rooms: Rooms, client: FederationClient, keys: ServerKeys, choosing: Choosing) -> None:
        self._rooms = rooms
        self._client = client
        self._keys = keys
        self._choosing = choosing

    async def fetch(
        self, room_id: str, version: str, event_ids: Iterable[str], servers: Sequence[str]
    ) -> dict[str, Event]:
        """Those of the events that one of `servers` gave: each is asked for at one after the other, several at once."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, event_id: str) -> Event | None:
            async with slots:
                # The load is spread: each event begins at another of the first two servers.
                turn = number % min(2, len(servers)) if servers else 0
                for server in (*servers[turn:], *servers[:turn]):
                    event = await self._fetch_from(server, room_id, version, event_id)
                    if event is not None:
                        return event
            return None

        ids = list(dict.fromkeys(event_ids))
        found = await asyncio.gather(*(one(number, event_id) for number, event_id in enumerate(ids)))
        return {event.event_id: event for event in found if event is not None}

    async def _fetch_from(self, server: str, room_id: str, version: str, event_id: str) -> Event | None:
        answer = await self._client.request(
            server, "GET", path("v1", "event", event_id), timeout_seconds=SECONDS, max_bytes=MAX_EVENT_BYTES
        )
        if isinstance(answer, Failed):
            if answer.why != "refused":
                self._choosing.did_badly(server)
            return None
        for event in await self.checked(version, objects_in(answer.get("pdus"), 1)):
            if event.event_id == event_id and event.room_id == room_id:
                self._choosing.did_well(server)
                return event
        self._choosing.did_badly(server)
        return None

    async def checked(self, version: str, pdus: Sequence[dict[str, Any]], *, historic: bool = False) -> list[Event]:
        """The events of those PDUs that pass the checks 1 to 3, in order. `historic`: see parse_untrusted_pdu."""
        if not pdus:
            return []
        checked = await verify_events(self._keys, pdus, version, historic=historic)
        return [event for event in checked if isinstance(event, Event)]

    async def complete_auth(
        self,
        room_id: str,
        version: str,
        events: Iterable[Event],
        servers: Sequence[str],
        besides: Collection[str] = (),
    ) -> bool:
        """Have all that authorises `events`, directly and indirectly, stored as outliers; False if some cannot be had.

        Neither `events` themselves nor those with ids in `besides` are asked for or stored. Bounded in rounds and
        number: a chain without end is not completed.
        """
        fetched: dict[str, Event] = {}
        wanted = self.unknown({name for event in events for name in event.auth_event_ids}.difference(besides))
        for _ in range(MAX_AUTH_ROUNDS):
            if not wanted or len(fetched) + len(wanted) > MAX_AUTH_EVENTS:
                break
            some = await self.fetch(room_id, version, wanted, servers)
            if len(some) < len(wanted):
                break
            fetched |= some
            named = {name for event in some.values() for name in event.auth_event_ids}
            wanted = self.unknown(named.difference(fetched, besides))
        if wanted:
            return False
        await self.keep(room_id, version, fetched.values())
        return True

    async def fetch_auth_chain(self, room_id: str, version: str, event_id: str, servers: Sequence[str]) -> None:
        """Store the whole auth chain of an event as one server tells it: for those that give no single events."""
        for server in servers:
            answer = await self._client.request(
                server,
                "GET",
                path("v1", "event_auth", room_id, event_id),
                timeout_seconds=SECONDS,
                max_bytes=MAX_AUTH_CHAIN_BYTES,
            )
            if not isinstance(answer, Failed):
                pdus = objects_in(answer.get("auth_chain"), 10 * MAX_AUTH_EVENTS)
                chain = [event for event in await self.checked(version, pdus) if event.room_id == room_id]
                if chain:
                    await self.keep(room_id, version, chain)
                    return

    async def keep(self, room_id: str, version: str, events: Iterable[Event]) -> None:
        """Store events as outliers, those that authorise others first, some at a time so that nobody waits long."""
        ordered = in_auth_order(events)
        for start in range(0, len(ordered), EVENTS_A_WRITE):
            some = ordered[start : start + EVENTS_A_WRITE]
            await self._rooms.database.write(partial(self._store, room_id=room_id, version=version, events=some))

    def _store(self, transaction: Transaction, room_id: str, version: str, events: Sequence[Event]) -> None:
        store_outliers(self._rooms, transaction, room_id, version, events)

    def unknown(self, event_ids: Collection[str]) -> set[str]:
        """Those of the events that are not stored in any way."""
        stored = self._rooms.database.read(lambda connection: self._rooms.events.get_many(connection, event_ids))
        return set(event_ids) - stored.keys()


def objects_in(value: object, limit: int) -> list[dict[str, Any]]:
    """The JSON objects among the first `limit` items of a list; nothing of anything else."""
    return [item for item in value[:limit] if isinstance(item, dict)] if isinstance(value, list) else []


def strings_in(value: object, limit: int) -> list[str]:
    """The distinct strings of a list of at most `limit`; nothing of a longer list, or of anything else."""
    if not isinstance(value, list) or len(value) > limit:
        return []
    return list(dict.fromkeys(item for item in value if isinstance(item, str)))
