"""What other servers know of rooms that this one is not in: summaries and the children of spaces, kept for a while.

May import rooms, core and this package. It is the `Elsewhere` port of rooms/hierarchy.py, and answers room summaries.
An answer is kept for those who ask by way of the same servers only: whoever names a server names whom they believe.
Source: Server-Server API, "Spaces". The other direction is federation_api/hierarchy.py.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.room_cards import card_of, child_of
from thingroom_homeserver.rooms.hierarchy import Told

SECONDS = 10.0
MAX_BYTES = 1024 * 1024
MAX_SERVERS = 5
AT_ONCE = 16
MAX_UNDER_WAY = 500
FRESH_SECONDS, UNKNOWN_SECONDS = 300.0, 60.0
MAX_KEPT = 2000
MAX_KEPT_ROOMS = 50_000
"""Rooms and children in all that is kept."""

Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Kept:
    told: Told | None
    until: float
    rooms: int


class RemoteSpaces:
    """Asks about rooms, once for all who want to know. `close` when done."""

    def __init__(self, client: FederationClient, clock: Clock, own_name: str) -> None:
        self._client = client
        self._clock = clock
        self._own_name = own_name
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._kept_rooms = 0
        self._asking: dict[Key, asyncio.Task[Told | None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, room_id: str, via: Sequence[str]) -> None:
        """Somebody will `look` at the room soon."""
        key = self._key(room_id, via)
        if self._fresh(key) is None and len(self._asking) < MAX_UNDER_WAY:
            self._task(key)

    def knows(self, room_id: str, via: Sequence[str]) -> bool:
        """Whether `look` answers at once."""
        return self._fresh(self._key(room_id, via)) is not None

    async def look(self, room_id: str, via: Sequence[str]) -> Told | None:
        """The room as the first of the servers says that can."""
        key = self._key(room_id, via)
        kept = self._fresh(key)
        if kept is not None:
            return kept.told
        if key not in self._asking and len(self._asking) >= MAX_UNDER_WAY:
            return None
        return await asyncio.shield(self._task(key))

    def _key(self, room_id: str, via: Sequence[str]) -> Key:
        servers = [server for server in dict.fromkeys(via) if server != self._own_name]
        return room_id, tuple(servers[:MAX_SERVERS])

    def _fresh(self, key: Key) -> _Kept | None:
        kept = self._kept.get(key)
        return kept if kept is not None and self._clock.monotonic() < kept.until else None

    def _task(self, key: Key) -> asyncio.Task[Told | None]:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key), name="look at a room of other servers")
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _ask(self, key: Key) -> Told | None:
        room_id, servers = key
        told = None
        async with self._slots:
            for server in servers:
                answer = await self._client.request(
                    server, "GET", path("v1", "hierarchy", room_id), timeout_seconds=SECONDS, max_bytes=MAX_BYTES
                )
                told = None if isinstance(answer, Failed) else told_of(answer, room_id)
                if told is not None:
                    break
        self._keep(key, told)
        return told

    def _keep(self, key: Key, told: Told | None) -> None:
        rooms = 1 if told is None else 1 + len(told.room["children_state"]) + len(told.children)
        seconds = UNKNOWN_SECONDS if told is None else FRESH_SECONDS
        before = self._kept.pop(key, None)
        self._kept_rooms += rooms - (0 if before is None else before.rooms)
        self._kept[key] = _Kept(told, self._clock.monotonic() + seconds, rooms)
        while len(self._kept) > MAX_KEPT or (self._kept_rooms > MAX_KEPT_ROOMS and len(self._kept) > 1):
            _, dropped = self._kept.popitem(last=False)
            self._kept_rooms -= dropped.rooms


def told_of(answer: JsonObject, room_id: str) -> Told | None:
    """What a server's answer says of the room; None if it says nothing of that one."""
    value = answer.get("room")
    room = card_of(value)
    if room is None or room["room_id"] != room_id or not isinstance(value, dict):
        return None
    state, children, inaccessible = (
        value.get("children_state"),
        answer.get("children"),
        answer.get("inaccessible_children"),
    )
    checked = [child_of(each) for each in state] if isinstance(state, list) else []
    room["children_state"] = [child for child in checked if child is not None]
    cards = [card_of(each) for each in children] if isinstance(children, list) else []
    return Told(
        room,
        {card["room_id"]: card for card in cards if card is not None},
        frozenset(each for each in inaccessible if isinstance(each, str))
        if isinstance(inaccessible, list)
        else frozenset(),
    )
