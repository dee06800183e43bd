"""The event nearest to a time, where it lies in a gap: asked of other servers, and put into the gap to be found there.

May import rooms, storage, core and this package. Source: Server-Server API, "Retrieving events". Called by
client_api/room_event.py. Next: rooms/gaps.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.event_fetching import EventFetching
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.state_fetching import StateFetching
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.gaps import Gap, split_gap
from thingroom_homeserver.storage.rooms import room_version

MAX_SERVERS = 3
SECONDS = 8.0
LONGEST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Named:
    """An event that a server names, and the time that it gives for it (ms)."""

    server: str
    event_id: str
    when: int


class TimeSearch:
    """Asks a few servers at once, and takes the nearest event that one of them can show."""

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

    async def find(self, gap: Gap, timestamp: int, forwards: bool, nearer_than: int | None) -> bool:
        """Put the event of the gap into it that was sent first at or after `timestamp` (ms), or last at or before it.

        `nearer_than`: the time of what is known already. False if nobody has one that is nearer.
        """
        servers = self._choosing.servers_of(gap.room_id, limit=MAX_SERVERS)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                asked = (self._ask(server, gap.room_id, timestamp, forwards) for server in servers)
                told = [each for each in await asyncio.gather(*asked) if each is not None]
                for named in sorted(told, key=lambda named: abs(named.when - timestamp)):
                    others = [named.server, *(other for other in servers if other != named.server)]
                    if _lies(named.when, timestamp, forwards, nearer_than) and await self._place(
                        gap, named.event_id, others, timestamp, forwards, nearer_than
                    ):
                        return True
        except TimeoutError:
            pass
        return False

    async def _ask(self, server: str, room_id: str, timestamp: int, forwards: bool) -> _Named | None:
        answer = await self._client.request(
            server,
            "GET",
            path("v1", "timestamp_to_event", room_id),
            query=(("ts", str(timestamp)), ("dir", "f" if forwards else "b")),
            timeout_seconds=SECONDS,
        )
        if isinstance(answer, Failed):
            return None
        event_id, when = answer.get("event_id"), answer.get("origin_server_ts")
        return _Named(server, event_id, when) if isinstance(event_id, str) and type(when) is int else None

    async def _place(
        self, gap: Gap, event_id: str, servers: list[str], timestamp: int, forwards: bool, nearer_than: int | None
    ) -> bool:
        version = self._rooms.database.read(lambda connection: room_version(connection, gap.room_id))
        known = self._rooms.database.read(lambda connection: self._rooms.events.get(connection, event_id))
        if version is None or (known is not None and known.state_group is not None):
            return False
        event = (await self._events.fetch(gap.room_id, version, [event_id], servers)).get(event_id)
        # The time counts that the event itself bears.
        if event is None or not _lies(event.origin_server_ts, timestamp, forwards, nearer_than):
            return False
        await self._events.complete_auth(gap.room_id, version, [event], servers)
        state = await self._states.state_before(gap.room_id, version, event_id, servers) if event.prev_event_ids else {}
        if state is None:
            return False
        imported = await self._rooms.database.write(
            lambda transaction: split_gap(self._rooms, transaction, gap, event, state)
        )
        return imported.count > 0


def _lies(when: int, timestamp: int, forwards: bool, nearer_than: int | None) -> bool:
    """Whether a time is in the direction asked for, and nearer than what is known."""
    distance = when - timestamp if forwards else timestamp - when
    return distance >= 0 and (nearer_than is None or distance < abs(nearer_than - timestamp))
