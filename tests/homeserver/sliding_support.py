"""Sliding sync without HTTP: a house with its tables, and a client that folds the answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.sliding.answer import Asker
from thingroom_homeserver.sliding.connections import Connections
from thingroom_homeserver.sliding.long_poll import sliding_sync
from thingroom_homeserver.sliding.ports import SlidingSources
from thingroom_homeserver.sliding.request import parse_wish
from thingroom_homeserver.sliding.user_rooms import RoomLists

EVERYTHING = {"include": [{}]}


def one_list(limit: int = 200, required: Any = None, **more: Any) -> dict[str, Any]:
    """A request with one list, "all"."""
    return {"lists": {"all": {"timeline_limit": limit, "required_state": required or EVERYTHING, **more}}}


@dataclass
class SlidingHouse:
    """A house and the sources of its sliding sync."""

    house: House
    sources: SlidingSources

    async def ask(
        self, name: str, body: dict[str, Any], pos: str | None = None, seconds: float = 0.0
    ) -> dict[str, Any] | None:
        user_id = self.house.user(name)
        asker = Asker(user_id, "DEVICE", f"device of {name}")
        return await sliding_sync(self.sources, asker, pos, parse_wish(body, user_id), seconds)

    async def told(
        self, name: str, body: dict[str, Any], pos: str | None = None, seconds: float = 0.0
    ) -> dict[str, Any]:
        answer = await self.ask(name, body, pos, seconds)
        assert answer is not None
        return answer


def sources_of(house: House) -> SlidingSources:
    """Fresh ones, as after a restart."""
    old, rooms = house.sources, house.rooms
    return SlidingSources(
        rooms,
        old.account_data,
        old.receipts,
        old.typing,
        old.device_keys,
        RoomLists(rooms, old.account_data),
        Connections(rooms.database, rooms.clock),  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def open_sliding_house(path: Path) -> AsyncIterator[SlidingHouse]:
    async with open_house(path) as house:
        yield SlidingHouse(house, sources_of(house))


@dataclass
class SlidRoom:
    """What a client knows of a room."""

    membership: str = "join"
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    gap: str | None = None
    shown: dict[str, Any] = field(default_factory=dict)


class SlidingClient:
    """A client as MSC4186 describes one."""

    def __init__(self) -> None:
        self.pos: str | None = None
        self.rooms: dict[str, SlidRoom] = {}
        self.ranges: list[list[int]] = [[0, 1]]

    def take(self, answer: dict[str, Any]) -> None:
        self.pos = answer["pos"]
        for room_id, body in answer["rooms"].items():
            room = self.rooms.get(room_id)
            if room is None or body.get("initial"):
                assert body.get("initial") or body["membership"] != "join", body
                room = self.rooms[room_id] = SlidRoom(gap=body.get("prev_batch"))
            room.membership = body.get("membership", room.membership)
            events = body.get("timeline", [])
            if not body.get("initial") and (body.get("limited") or body.get("expanded_timeline")):
                room.timeline, room.gap = [], body["prev_batch"]
            new = [event["event_id"] for event in events]
            assert not set(new) & set(room.timeline), "told twice"
            room.timeline += new
            for event in body.get("required_state", []):
                room.state[event["type"], event["state_key"]] = event["event_id"]
            for name in ("name", "avatar", "heroes", "joined_count", "invited_count", "bump_stamp", "is_dm"):
                if name in body:
                    room.shown[name] = body[name]
