"""The rooms of a space and of the spaces in it, depth first, each once: nothing that a child names can make it loop.

May import core and storage. Source: Client-Server API, "Spaces", GET /hierarchy. Next: room_summary.py.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial

from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.rooms.room_summary import may_find, summary_with_conditions
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import entries_of_type
from thingroom_homeserver.storage.rooms import is_known

SPACE, CHILD = "m.space", "m.space.child"
MAX_DEPTH = 100
# How many rooms one walk looks at, those of earlier pages among them.
MAX_WALKED = 5000
_ORDER = re.compile(r"[\x20-\x7e]{1,50}", re.ASCII)
_NOT_FOUND = Refused(Why.FORBIDDEN, "There is no such room, or you may not see it")


@dataclass(frozen=True, slots=True)
class HierarchyWish:
    """Which part of a tree: `skip` rooms were told on earlier pages. `max_depth` 0: the root alone."""

    room_id: str
    suggested_only: bool
    max_depth: int
    limit: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The page's rooms; `more`: whether there are others."""

    rooms: list[JsonObject]
    more: bool


async def read_hierarchy(rooms: Rooms, user_id: str, wish: HierarchyWish) -> Hierarchy | Refused:
    """A page of the tree, as the user may see it. Lets others run between rooms."""
    waiting = [(wish.room_id, 0)]
    walked: set[str] = set()
    told: list[JsonObject] = []
    visible = 0
    while waiting and len(walked) < MAX_WALKED:
        room_id, depth = waiting.pop()
        if room_id in walked:
            continue
        walked.add(room_id)
        entry = rooms.database.read(partial(_entry, rooms, user_id, room_id, wish.suggested_only))
        if entry is None:
            if depth == 0:
                return _NOT_FOUND
            continue
        visible += 1
        if visible > wish.skip + wish.limit:
            return Hierarchy(told, True)
        if visible > wish.skip:
            told.append(entry)
        if depth < wish.max_depth:
            waiting += [(child["state_key"], depth + 1) for child in reversed(entry["children_state"])]
        await asyncio.sleep(0)
    return Hierarchy(told, False)


def _entry(rooms: Rooms, user_id: str, room_id: str, suggested_only: bool, connection: Reader) -> JsonObject | None:
    """A room of the tree with its children in order; None if the user may not know of it."""
    if not is_known(connection, room_id):
        return None
    summary = summary_with_conditions(rooms, connection, room_id)
    if not may_find(rooms, connection, user_id, summary):
        return None
    children: list[Event] = []
    if summary.get("room_type") == SPACE:
        found = rooms.events.get_many(connection, entries_of_type(connection, room_id, CHILD))
        children = sorted((stored.event for stored in found.values() if _is_child(stored.event)), key=_place)
    if suggested_only:
        children = [event for event in children if event.content.get("suggested") is True]
    shown = [stripped_state(event) | {"origin_server_ts": event.origin_server_ts} for event in children]
    return summary | {"children_state": shown}


def _is_child(event: Event) -> bool:
    """Whether the event makes a child: without a list of servers in `via` it takes one away."""
    via = event.content.get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(server, str) for server in via)


def _place(event: Event) -> tuple[bool, str, int, str]:
    """Children with a valid `order` first, by it; then by the age of the event; then by the room's id."""
    order = event.content.get("order")
    if not isinstance(order, str) or _ORDER.fullmatch(order) is None:
        order = None
    return (order is None, order or "", event.origin_server_ts, str(event.state_key))
