"""The rooms of a space and of the spaces in it, depth first, each once: nothing that a child names can make it loop.

May import core and storage. Rooms that only other servers know come through the port `Elsewhere`
(federation/remote_spaces.py). Source: Client-Server API, "Spaces", GET /hierarchy. Next: room_summary.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.core.identifiers import is_valid_server_name
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.rooms.residence import knows_best
from thingroom_homeserver.rooms.room_summary import may_find, summary_with_conditions
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import entries_of_type
from thingroom_homeserver.storage.rooms import is_known

SPACE, CHILD = "m.space", "m.space.child"
MAX_DEPTH = 100
# How many rooms one walk looks at, those of earlier pages among them.
MAX_WALKED = 5000
# How many rooms, and for how long, other servers are asked about for one page.
MAX_LOOKS, LOOK_SECONDS = 60, 20.0
# How many children of one room are asked about before their turn comes.
LOOKED_AHEAD = 20
MAX_VIA = 3
_ORDER = re.compile(r"[\x20-\x7e]{1,50}", re.ASCII)
_NOT_FOUND = Refused(Why.FORBIDDEN, "There is no such room, or you may not see it")


@dataclass(frozen=True, slots=True)
class HierarchyWish:
    """Which part of a tree: `skip` rooms were told on earlier pages. `max_depth` 0: the root alone.

    via: servers that know the root if this one does not.
    """

    room_id: str
    suggested_only: bool
    max_depth: int
    limit: int
    skip: int = 0
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The page's rooms; `more`: whether there are others."""

    rooms: list[JsonObject]
    more: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What another server says of a room: its summary, with `children_state` as stripped events in no order.

    children: summaries of rooms right under it; inaccessible: those of which it says that we have no way in.
    """

    room: JsonObject
    children: dict[str, JsonObject]
    inaccessible: frozenset[str]


class Elsewhere(Protocol):
    """What other servers know of rooms."""

    def begin(self, room_id: str, via: Sequence[str]) -> None:
        """Somebody will ask for the room soon. Never waits."""
        ...

    def knows(self, room_id: str, via: Sequence[str]) -> bool:
        """Whether `look` answers at once."""
        ...

    async def look(self, room_id: str, via: Sequence[str]) -> Told | None:
        """The room as the first of the servers says that can. None if none does. May be cancelled without loss."""
        ...


@dataclass(frozen=True, slots=True)
class _Step:
    """A room whose turn will come. `parent`: what the server said that told us of it, if it was not this one."""

    room_id: str
    depth: int
    via: tuple[str, ...]
    parent: Told | None = None


async def read_hierarchy(
    rooms: Rooms, user_id: str, wish: HierarchyWish, elsewhere: Elsewhere | None = None
) -> Hierarchy | Refused:
    """A page of the tree, as the user may see it. Lets others run between rooms.

    A page ends early where other servers take too long; the next one goes on with what they have said meanwhile.
    """
    walk = _Walk(rooms, user_id, wish.suggested_only, elsewhere)
    waiting = [_Step(wish.room_id, 0, wish.via)]
    walked: set[str] = set()
    told: list[JsonObject] = []
    visible = 0
    while waiting and len(walked) < MAX_WALKED:
        step = waiting.pop()
        if step.room_id in walked:
            continue
        walked.add(step.room_id)
        if walk.is_tired and told:
            return Hierarchy(told, True)
        try:
            found = await walk.entry(step)
        except TimeoutError:
            # A page that said "more" and had no rooms would be asked for again and again.
            return Hierarchy(told, bool(told)) if step.depth else _NOT_FOUND
        if found is None:
            if step.depth == 0:
                return _NOT_FOUND
            continue
        entry, source = found
        visible += 1
        if visible > wish.skip + wish.limit:
            return Hierarchy(told, True)
        if visible > wish.skip:
            told.append(entry)
        if step.depth < wish.max_depth:
            below = [
                _Step(child["state_key"], step.depth + 1, _servers(child), source) for child in entry["children_state"]
            ]
            walk.look_ahead(below[: wish.limit + wish.skip - visible])
            waiting += reversed(below)
        await asyncio.sleep(0)
    return Hierarchy(told, False)


class _Walk:
    """What one request may ask of other servers, and what it learns of rooms."""

    def __init__(self, rooms: Rooms, user_id: str, suggested_only: bool, elsewhere: Elsewhere | None) -> None:
        self._rooms = rooms
        self._user_id = user_id
        self._suggested_only = suggested_only
        self._elsewhere = elsewhere
        self._until = asyncio.get_running_loop().time() + LOOK_SECONDS
        self._looks = 0

    @property
    def is_tired(self) -> bool:
        """Whether other servers were asked enough for one page."""
        return self._looks >= MAX_LOOKS

    async def entry(self, step: _Step) -> tuple[JsonObject, Told | None] | None:
        """A room with its children in order, and who told us; None if the user may not know of it.

        Raises TimeoutError where it cannot be said in time.
        """
        here = self._rooms.database.read(partial(self._here, step.room_id))
        if here is not None:
            return (here, None) if here else None
        leaf = self._leaf(step)
        if leaf is not None:
            return (leaf, step.parent) if self._may_find(leaf) else None
        if self._elsewhere is None or not self._is_worth_asking(step):
            return None
        self._looks += not self._elsewhere.knows(step.room_id, step.via)
        async with asyncio.timeout_at(self._until):
            there = await self._elsewhere.look(step.room_id, step.via)
        if there is None or not self._may_find(there.room):
            return None
        children = [child for child in there.room["children_state"] if self._is_wanted(child)]
        return there.room | {"children_state": sorted(children, key=_place)}, there

    def look_ahead(self, steps: Sequence[_Step]) -> None:
        """Let other servers be asked about several rooms at once."""
        if self._elsewhere is None:
            return
        unknown = [
            step
            for step in steps[: 2 * LOOKED_AHEAD]
            if self._is_worth_asking(step)
            and self._leaf(step) is None
            and not self._rooms.database.read(partial(_is_here, step.room_id))
        ]
        for step in unknown[:LOOKED_AHEAD]:
            self._elsewhere.begin(step.room_id, step.via)

    def _is_worth_asking(self, step: _Step) -> bool:
        return bool(step.via) and (step.parent is None or step.room_id not in step.parent.inaccessible)

    def _leaf(self, step: _Step) -> JsonObject | None:
        """A room that is no space needs no question of its own: who told of the space told of it too."""
        card = None if step.parent is None else step.parent.children.get(step.room_id)
        return card | {"children_state": []} if card is not None and card.get("room_type") != SPACE else None

    def _here(self, room_id: str, connection: Reader) -> JsonObject | None:
        """The room as this server knows it; {} if the user may not know of it, None if others know better."""
        if not _is_here(room_id, connection):
            return None
        summary = summary_with_conditions(self._rooms, connection, room_id)
        if not may_find(self._rooms, connection, self._user_id, summary):
            return {}
        return summary | {"children_state": children_of(self._rooms, connection, summary, self._suggested_only)}

    def _may_find(self, summary: JsonObject) -> bool:
        return self._rooms.database.read(lambda c: may_find(self._rooms, c, self._user_id, summary))

    def _is_wanted(self, child: JsonObject) -> bool:
        return is_child(child) and not (self._suggested_only and child["content"].get("suggested") is not True)


def children_of(rooms: Rooms, connection: Reader, summary: JsonObject, suggested_only: bool) -> list[JsonObject]:
    """The children of a room that this server knows, in order, as stripped events with their times."""
    if summary.get("room_type") != SPACE:
        return []
    found = rooms.events.get_many(connection, entries_of_type(connection, summary["room_id"], CHILD))
    events = [stored.event for stored in found.values()]
    children = [stripped_state(event) | {"origin_server_ts": event.origin_server_ts} for event in events]
    wanted = (child for child in children if not suggested_only or child["content"].get("suggested") is True)
    return sorted(filter(is_child, wanted), key=_place)


def is_child(child: JsonObject) -> bool:
    """Whether the event makes a child: without a list of servers in `via` it takes one away."""
    via = child["content"].get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(server, str) for server in via)


def _is_here(room_id: str, connection: Reader) -> bool:
    return is_known(connection, room_id) and knows_best(connection, room_id)


def _servers(child: JsonObject) -> tuple[str, ...]:
    return tuple(server for server in child["content"]["via"][:MAX_VIA] if is_valid_server_name(server))


def _place(child: JsonObject) -> tuple[bool, str, int, str]:
    """Children with a valid `order` first, by it; then by the age of the event; then by the room's id."""
    order = child["content"].get("order")
    if not isinstance(order, str) or _ORDER.fullmatch(order) is None:
        order = None
    return (order is None, order or "", child["origin_server_ts"], child["state_key"])
