"""Who is in which room, and what they may do there; asked of the homeserver and remembered until it changes.

May import appservice, rooms, storage. worker.py tells when a room changed; commands/ ask who may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from thingroom_common.database import Database
from thingroom_gateway.appservice import AppserviceClient, Done, Later, Refused
from thingroom_gateway.rooms import Home
from thingroom_gateway.storage import places
from thingroom_gateway.storage.places import SPACE

# Events tell of changes; should one be missed, what is remembered is still not for ever.
REMEMBER_SECONDS: Final = 600.0
AT_ONCE: Final = 8
# In room versions from 12 on whoever made a room is above all levels.
_CREATOR_RULES: Final = 12


class NotNow(Exception):
    """The homeserver does not answer: try again later."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The power levels of a room. `creators` are above all of them."""

    users: dict[str, int] = field(default_factory=dict)
    users_default: int = 0
    state_default: int = 50
    creators: frozenset[str] = frozenset()

    def of(self, user: str) -> int:
        return 1 << 53 if user in self.creators else self.users.get(user, self.users_default)


@dataclass(frozen=True, slots=True)
class _Room:
    members: frozenset[str]
    levels: Levels
    known_at: float


def read_levels(state: list[dict[str, Any]]) -> tuple[frozenset[str], Levels]:
    """Joined members and levels from a room's state events; whatever is odd counts for nothing. Pure."""
    members: set[str] = set()
    content: dict[str, Any] = {}
    creators: set[str] = set()
    for event in state:
        body, key = event.get("content"), event.get("state_key")
        if not isinstance(body, dict) or not isinstance(key, str):
            continue
        if event.get("type") == "m.room.member" and body.get("membership") == "join":
            members.add(key)
        elif event.get("type") == "m.room.power_levels" and key == "":
            content = body
        elif event.get("type") == "m.room.create" and key == "":
            creators = _creators(event, body)
    users = content.get("users")
    levels = Levels(
        {user: level for user, level in users.items() if type(level) is int} if isinstance(users, dict) else {},
        _level(content, "users_default", 0),
        _level(content, "state_default", 50),
        frozenset(creators),
    )
    return frozenset(members), levels


def _creators(event: dict[str, Any], body: dict[str, Any]) -> set[str]:
    version = body.get("room_version")
    if not isinstance(version, str) or not version.isdecimal() or int(version) < _CREATOR_RULES:
        return set()
    others = body.get("additional_creators")
    found = {event.get("sender"), *(others if isinstance(others, list) else ())}
    return {user for user in found if isinstance(user, str)}


def _level(content: dict[str, Any], name: str, default: int) -> int:
    value = content.get(name, default)
    return value if type(value) is int else default


class People:
    """Members and levels by room. All methods may raise NotNow."""

    def __init__(
        self,
        database: Database,
        client: AppserviceClient,
        home: Home,
        change_level: int | None,
        monotonic: Callable[[], float],
    ) -> None:
        """`change_level`: the power level that changes need; None: what the room asks for state events."""
        self._database = database
        self._client = client
        self._home = home
        self.change_level = change_level
        self._monotonic = monotonic
        self._rooms: dict[str, _Room] = {}

    def changed(self, room_id: str) -> None:
        """Members or levels of the room are not what they were."""
        self._rooms.pop(room_id, None)

    async def members(self, room_id: str) -> frozenset[str]:
        """Who is joined; nobody, where the bot is not."""
        return (await self._room(room_id)).members

    async def may_change(self, person: str, place: str) -> bool:
        """Whether `person` may change what belongs to `place`: rename, move, switch, set alerts."""
        if person == self._home.owner:
            return True
        room_id = self._room_of(place)
        if room_id is None:
            return False
        room = await self._room(room_id)
        needed = self.change_level if self.change_level is not None else room.levels.state_default
        return person in room.members and room.levels.of(person) >= needed

    async def is_owner(self, person: str) -> bool:
        """Whether `person` may decide which devices there are: the owner, or an administrator of the Space."""
        if person == self._home.owner:
            return True
        space = self._room_of(SPACE)
        if space is None:
            return False
        room = await self._room(space)
        return person in room.members and room.levels.of(person) >= 100

    async def places_of(self, person: str) -> set[str]:
        """The places whose rooms `person` is in; all, for the owner."""
        rooms = [room for room in self._database.read(places.all_rooms) if room.place != SPACE]
        if person == self._home.owner:
            return {room.place for room in rooms}
        found: set[str] = set()
        for start in range(0, len(rooms), AT_ONCE):
            some = rooms[start : start + AT_ONCE]
            members = await asyncio.gather(*(self.members(room.room_id) for room in some))
            found.update(room.place for room, inside in zip(some, members, strict=True) if person in inside)
        return found

    def _room_of(self, place: str) -> str | None:
        room = self._database.read(lambda connection: places.load_room(connection, place))
        return None if room is None else room.room_id

    async def _room(self, room_id: str) -> _Room:
        known = self._rooms.get(room_id)
        if known is not None and self._monotonic() - known.known_at < REMEMBER_SECONDS:
            return known
        state = await self._client.whole_state(room_id)
        if isinstance(state, Later):
            raise NotNow(state.why)
        members, levels = (frozenset[str](), Levels()) if isinstance(state, Refused) else read_levels(state)
        room = _Room(members, levels, self._monotonic())
        self._rooms[room_id] = room
        return room

    async def chat_with(self, person: str) -> str:
        """A new direct chat with `person`. Raises NotNow also where the homeserver refuses."""
        answer = await self._client.create_room(
            {"preset": "trusted_private_chat", "is_direct": True, "invite": [person], "name": "Thingroom"}
        )
        room_id = answer.body.get("room_id") if isinstance(answer, Done) else None
        if not isinstance(room_id, str):
            raise NotNow(f"no chat with {person}: {answer}")
        return room_id
