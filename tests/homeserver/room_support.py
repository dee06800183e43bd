"""Rooms and sync without HTTP: an open database, stand-ins for the account services, and a client that folds /sync."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thingroom_common.database import Database
from thingroom_homeserver.core.signing import SigningKey
from thingroom_homeserver.encryption.device_lists import DeviceListNews
from thingroom_homeserver.rooms.context import Rooms, Watcher, open_rooms
from thingroom_homeserver.rooms.create_room import PRESETS, Created, RoomWish, create_room
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.membership import Change, change_membership
from thingroom_homeserver.rooms.outcomes import Sender, Sent
from thingroom_homeserver.rooms.ports import Profile
from thingroom_homeserver.rooms.read_events import Page, PageWish, read_page
from thingroom_homeserver.rooms.send_event import send_event, send_state
from thingroom_homeserver.rooms.tokens import SyncToken, parse_sync_token
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.sync.build import build_sync
from thingroom_homeserver.sync.long_poll import sync
from thingroom_homeserver.sync.request import SyncRequest, SyncSources
from thingroom_homeserver.sync.sync_filter import SyncFilter, parse_sync_filter

SERVER = "localhost"


class TickingClock:
    """Each look at it is a millisecond later."""

    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        self.ms += 1
        return self.ms


class MemoryProfiles:
    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}

    def profile_of(self, connection: Any, user_id: str) -> Profile:
        return self.profiles.get(user_id, Profile())


class MemoryAliases:
    def __init__(self) -> None:
        self.rooms: dict[str, str] = {}

    def room_of_alias(self, connection: Any, alias: str) -> str | None:
        return self.rooms.get(alias)

    def claim_alias(self, transaction: Any, alias: str, room_id: str, creator: str) -> bool:
        if alias in self.rooms:
            return False
        self.rooms[alias] = room_id
        transaction.after_rollback(lambda: self.rooms.pop(alias))
        return True

    def move_aliases(self, transaction: Any, room_id: str, new_room_id: str) -> None:
        self.rooms = {alias: new_room_id if room == room_id else room for alias, room in self.rooms.items()}


class MemoryAccountData:
    """Rows of (position, user, room or "", type, content)."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, str, str, dict[str, Any]]] = []

    def global_since(self, connection: Any, user_id: str, since: int, upto: int) -> list[dict[str, Any]]:
        return [
            {"type": kind, "content": content}
            for position, user, room, kind, content in self.rows
            if user == user_id and room == "" and since < position <= upto
        ]

    def rooms_since(self, connection: Any, user_id: str, since: int, upto: int) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for position, user, room, kind, content in self.rows:
            if user == user_id and room and since < position <= upto:
                found.setdefault(room, []).append({"type": kind, "content": content})
        return found


class MemoryReceipts:
    """Rows of (position, room, content)."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, dict[str, Any]]] = []
        self.asked: list[int] = []

    def since(self, connection: Any, user_id: str, room_ids: Any, since: int, upto: int) -> dict[str, dict[str, Any]]:
        self.asked.append(len(room_ids))
        return {
            room: content for position, room, content in self.rows if room in set(room_ids) and since < position <= upto
        }


class MemoryTyping:
    def __init__(self) -> None:
        self.position = 1_760_000_000_000
        self.changed: dict[str, tuple[int, list[str]]] = {}

    def set(self, room_id: str, users: list[str]) -> None:
        self.position += 1
        self.changed[room_id] = (self.position, users)

    def changed_since(self, position: int) -> dict[str, list[str]]:
        return {
            room: users for room, (changed, users) in self.changed.items() if changed > position and (position or users)
        }


class NoDeviceKeys:
    def one_time_key_counts(self, connection: Any, user_id: str, device_id: str) -> dict[str, int]:
        return {"signed_curve25519": 0}

    def unused_fallback_key_types(self, connection: Any, user_id: str, device_id: str) -> list[str]:
        return []


class NoToDevice:
    def waiting(
        self, connection: Any, user_id: str, device_id: str, after: int, upto: int
    ) -> tuple[list[dict[str, Any]], int]:
        return [], upto

    async def acknowledge(self, user_id: str, device_id: str, upto: int) -> None:
        pass


class NoDeviceLists:
    def news(self, connection: Any, user_id: str, since: int, upto: int) -> DeviceListNews:
        return DeviceListNews([], [])


@dataclass
class House:
    """Rooms, sync and their stand-ins over one database file."""

    rooms: Rooms
    sources: SyncSources
    profiles: MemoryProfiles
    aliases: MemoryAliases
    account_data: MemoryAccountData
    receipts: MemoryReceipts
    typing: MemoryTyping
    server_name: str = SERVER
    _numbers: Any = field(default_factory=itertools.count)

    def user(self, name: str) -> str:
        return f"@{name}:{self.server_name}"

    async def create(self, creator: str, **wish: Any) -> str:
        """A room by `creator` (a localpart); returns its id."""
        wish.setdefault("preset", "private_chat")
        assert wish["preset"] in PRESETS
        outcome = await create_room(self.rooms, Sender(self.user(creator)), RoomWish(**wish))
        assert isinstance(outcome, Created), outcome
        return outcome.room_id

    async def say(self, name: str, room_id: str, body: str, transaction_id: str | None = None) -> str:
        """A text message; returns its event id."""
        content = {"msgtype": "m.text", "body": body}
        sender = Sender(self.user(name), session=f"device of {name}")
        outcome = await send_event(self.rooms, sender, room_id, "m.room.message", content, transaction_id)
        assert isinstance(outcome, Sent), outcome
        return outcome.event_id

    async def set_state(self, name: str, room_id: str, kind: str, content: dict[str, Any], state_key: str = "") -> str:
        outcome = await send_state(self.rooms, Sender(self.user(name)), room_id, kind, state_key, content)
        assert isinstance(outcome, Sent), outcome
        return outcome.event_id

    async def change(self, sender: str, room_id: str, target: str, membership: str, **more: Any) -> Any:
        """A membership change; returns its outcome."""
        change = Change(self.user(target), membership, **more)
        return await change_membership(self.rooms, Sender(self.user(sender)), room_id, change)

    async def must_change(self, sender: str, room_id: str, target: str, membership: str, **more: Any) -> str:
        outcome = await self.change(sender, room_id, target, membership, **more)
        assert isinstance(outcome, Sent), outcome
        return outcome.event_id

    async def sync(self, name: str, since: str | None = None, wanted: Any = None, **more: Any) -> dict[str, Any]:
        """A /sync that does not wait."""
        return (await build_sync(self.sources, self.request(name, since, wanted, **more))).response

    async def wait_sync(self, name: str, since: str, seconds: float, wanted: Any = None) -> dict[str, Any]:
        return await sync(self.sources, self.request(name, since, wanted), seconds)

    def request(self, name: str, since: str | None = None, wanted: Any = None, **more: Any) -> SyncRequest:
        token: SyncToken | None = None if since is None else parse_sync_token(since)
        assert since is None or token is not None
        sync_filter = SyncFilter() if wanted is None else parse_sync_filter(wanted)
        return SyncRequest(self.user(name), "DEVICE", f"device of {name}", token, sync_filter, **more)


@contextlib.asynccontextmanager
async def open_house(
    path: Path, clock: Any = None, *, server_name: str = SERVER, watcher: Watcher | None = None
) -> AsyncIterator[House]:
    """A House over the database at `path`, closed at the end of the block."""
    database = await Database.open(path, MIGRATIONS)
    profiles, aliases = MemoryProfiles(), MemoryAliases()
    account_data, receipts, typing = MemoryAccountData(), MemoryReceipts(), MemoryTyping()
    try:
        rooms = open_rooms(
            server_name=server_name,
            default_room_version="12",
            signing_key=SigningKey.from_seed("ed25519:test", bytes(32)),
            database=database,
            clock=clock or TickingClock(),
            profiles=profiles,
            aliases=aliases,
            watcher=watcher,
        )
        sources = SyncSources(rooms, account_data, receipts, typing, NoDeviceKeys(), NoToDevice(), NoDeviceLists())
        yield House(rooms, sources, profiles, aliases, account_data, receipts, typing, server_name)
    finally:
        await database.close()


@dataclass
class FoldedRoom:
    """What a client knows of a room after some syncs."""

    state: dict[tuple[str, str], str] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


class FoldingClient:
    """A client as the specification describes one: applies `state`, then `timeline`, and remembers the token."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.joined: dict[str, FoldedRoom] = {}
        self.invited: set[str] = set()
        self.knocked: set[str] = set()
        self.left: set[str] = set()
        self.farewells: dict[str, list[dict[str, Any]]] = {}

    def take(self, response: dict[str, Any]) -> None:
        first = self.token is None
        self.token = response["next_batch"]
        rooms = response["rooms"]
        for room_id, section in rooms["join"].items():
            room = self.joined.setdefault(room_id, FoldedRoom())
            self._apply(room, section)
            self.invited.discard(room_id)
            self.knocked.discard(room_id)
            self.left.discard(room_id)
        for room_id in rooms["invite"]:
            self.invited.add(room_id)
            self._gone(room_id, self.knocked, self.left)
        for room_id in rooms["knock"]:
            self.knocked.add(room_id)
            self._gone(room_id, self.invited, self.left)
        for room_id, section in rooms["leave"].items():
            if room_id in self.joined:
                self.farewells[room_id] = section["timeline"]["events"]
            self.left.add(room_id)
            self._gone(room_id, self.invited, self.knocked)
        assert first or isinstance(self.token, str)

    def _gone(self, room_id: str, *others: set[str]) -> None:
        self.joined.pop(room_id, None)
        for other in others:
            other.discard(room_id)

    @staticmethod
    def _apply(room: FoldedRoom, section: dict[str, Any]) -> None:
        if section["timeline"]["limited"]:
            room.gaps.append(section["timeline"]["prev_batch"])
            room.timeline.clear()
        at_end = "state_after" in section
        for event in section["state_after" if at_end else "state"]["events"]:
            room.state[event["type"], event["state_key"]] = event["event_id"]
        for event in section["timeline"]["events"]:
            room.timeline.append(event["event_id"])
            if not at_end and "state_key" in event:
                key = (event["type"], event["state_key"])
                # What `state` said must be the state just before the timeline, not merely lead to the same end.
                assert room.state.get(key) == event.get("unsigned", {}).get("replaces_state"), key
                room.state[key] = event["event_id"]
        room.summary |= section["summary"]


def read_back(house: House, name: str, room_id: str, start: int | None) -> list[str]:
    """The event ids of a room from `start` back to its beginning, oldest first, by pages of five."""
    found: list[str] = []
    while True:
        wish = PageWish(room_id, start, None, True, 5)
        page = house.rooms.database.read(lambda c, w=wish: read_page(house.rooms, c, house.user(name), w, NO_FILTER))
        assert isinstance(page, Page)
        found = [stored.event_id for stored, _ in reversed(page.events)] + found
        if page.end is None:
            return found
        start = page.end
