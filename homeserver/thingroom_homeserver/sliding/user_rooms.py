"""A user's rooms, last activity first, and the filtered views of them that lists are windows of.

How the order is kept: `order` and every view are ordered dictionaries, oldest first, read from the tables once. From
then on `refresh` looks only at the rooms that the notifier and the user's own membership changes name, and moves
those with a newer event to the end. So what changed after a position stands together at the end, and a request walks
over that and nothing else. What is taken out of a view, or put into its middle, moves others up: that counts up
`generation`, upon which requests walk over their whole windows once.
May import rooms and storage. Source: MSC4186, "Lists". Next: connections.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.rooms.invite_permission import hides_change
from thingroom_homeserver.rooms.ports import AccountData
from thingroom_homeserver.sliding.request import Filters
from thingroom_homeserver.storage.account_data import INVITE_PERMISSION, blocks_invites
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.memberships import (
    changes_of_user,
    last_joined_position,
    membership_at,
    membership_of,
    rooms_of_user,
)
from thingroom_homeserver.storage.sliding import last_event_position

MAX_USERS = 500
MAX_VIEWS = 40
TURN_SECONDS = 0.004
ALL_MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


@dataclass(frozen=True, slots=True)
class Listed:
    """A room in the user's list. `last`: the position it is sorted by, of the last event or, outside, of the change."""

    membership: str
    last: int


@dataclass(frozen=True, slots=True)
class _Facts:
    """What filters ask of a room's state."""

    encrypted: bool
    room_type: str | None
    name: str | None


class UserRooms:
    """The list of one user, as of position `upto`. Used on the event loop only."""

    def __init__(self, rooms: Rooms, account_data: AccountData, user_id: str) -> None:
        self._rooms = rooms
        self._account_data = account_data
        self._user_id = user_id
        self._views: OrderedDict[Filters, OrderedDict[str, None]] = OrderedDict()
        self._facts: dict[str, _Facts] = {}
        self._tags: dict[str, frozenset[str]] = {}
        self.direct: frozenset[str] = frozenset()
        self.order: OrderedDict[str, Listed] = OrderedDict()
        self._ignored: frozenset[str] = frozenset()
        self.upto = -1
        # Never one that an earlier list of the same user had.
        self.generation = time.monotonic_ns()

    async def load(self) -> None:
        """Read everything, letting others run; `refresh` catches up with what happened meanwhile."""
        upto = self._rooms.notifier.position
        self._ignored = self._rooms.database.read(lambda c: ignored_users(c, self._user_id))
        found: dict[str, Listed] = {}
        turn_ends = time.monotonic() + TURN_SECONDS
        for member in self._rooms.database.read(lambda c: rooms_of_user(c, self._user_id, ALL_MEMBERSHIPS)):
            listed = self._rooms.database.read(partial(self._listed, room_id=member.room_id, upto=upto))
            if listed is not None:
                found[member.room_id] = listed
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN_SECONDS
        self.order = OrderedDict(sorted(found.items(), key=lambda item: item[1].last))
        self.upto = upto
        self._rooms.database.read(lambda c: self._take_account_data(c, 0, upto))

    def refresh(self) -> None:
        """Bring everything up to the notifier's position: O(rooms that changed)."""
        upto = self._rooms.notifier.position
        if upto > self.upto:
            self._rooms.database.read(lambda c: self._refresh(c, upto))
            self.upto = upto

    def view(self, filters: Filters) -> OrderedDict[str, None]:
        """The rooms that pass, oldest activity first. Not to be changed, nor kept over a refresh."""
        view = self._views.get(filters)
        if view is None:
            view = self._rooms.database.read(lambda c: self._make_view(c, filters))
            self._views[filters] = view
            if len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(filters)
        return view

    def changed_since(self, position: int) -> Iterator[str]:
        """The listed rooms with activity after `position`, newest first."""
        for room_id in reversed(self.order):
            if self.order[room_id].last <= position:
                return
            yield room_id

    def _refresh(self, connection: Reader, upto: int) -> None:
        since, user_id = self.upto, self._user_id
        in_order = self._rooms.notifier.rooms_changed_since(since)
        assert in_order is not None, "the list was read in this process"
        changed = {room_id for room_id in in_order if self._rooms.occupancy.is_joined(room_id, user_id)}
        changed |= {change.room_id for change in changes_of_user(connection, user_id, since, upto)}
        ignored = ignored_users(connection, user_id)
        if ignored != self._ignored:
            self._ignored = ignored
            self._list_invites_anew(connection, upto)
        moved: list[tuple[str, Listed]] = []
        for room_id in changed:
            self._facts.pop(room_id, None)
            listed = self._listed(connection, room_id, upto)
            if listed is None:
                self._remove(room_id)
            elif listed != self.order.get(room_id):
                moved.append((room_id, listed))
        for room_id, listed in sorted(moved, key=lambda item: item[1].last):
            self.order[room_id] = listed
            self.order.move_to_end(room_id)
            for filters, view in self._views.items():
                self._place_last(connection, filters, view, room_id)
        spaces = {f for f in self._views if f.spaces is not None and not changed.isdisjoint(f.spaces)}
        self._forget_views(spaces)
        self._take_account_data(connection, since, upto)

    def _list_invites_anew(self, connection: Reader, upto: int) -> None:
        order = dict(self.order)
        for member in rooms_of_user(connection, self._user_id, ("invite",)):
            listed = self._listed(connection, member.room_id, upto)
            if listed is None:
                order.pop(member.room_id, None)
            else:
                order[member.room_id] = listed
        self.order = OrderedDict(sorted(order.items(), key=lambda item: item[1].last))
        self._views.clear()
        self.generation += 1

    def _place_last(self, connection: Reader, filters: Filters, view: OrderedDict[str, None], room_id: str) -> None:
        if self._passes(connection, filters, room_id, self._children(connection, filters)):
            view[room_id] = None
            view.move_to_end(room_id)
        elif room_id in view:
            del view[room_id]
            self.generation += 1

    def _remove(self, room_id: str) -> None:
        if self.order.pop(room_id, None) is None:
            return
        self.generation += 1
        for view in self._views.values():
            view.pop(room_id, None)

    def _forget_views(self, which: Iterable[Filters]) -> None:
        for filters in list(which):
            del self._views[filters]
            self.generation += 1

    def _take_account_data(self, connection: Reader, since: int, upto: int) -> None:
        """Direct rooms and tags, as far as they were set in the span; views that ask for them are made again."""
        for entry in self._account_data.global_since(connection, self._user_id, since, upto):
            if entry["type"] == "m.direct":
                self.direct = _direct_rooms(entry["content"])
                self.generation += 1
                self._forget_views([f for f in self._views if f.is_dm is not None])
            elif entry["type"] == INVITE_PERMISSION and blocks_invites(connection, self._user_id):
                for room_id in [each for each, listed in self.order.items() if listed.membership == "invite"]:
                    self._remove(room_id)
        tagged = False
        for room_id, entries in self._account_data.rooms_since(connection, self._user_id, since, upto).items():
            for entry in entries:
                if entry["type"] == "m.tag":
                    tags = entry["content"].get("tags")
                    self._tags[room_id] = frozenset(tags) if isinstance(tags, dict) else frozenset()
                    tagged = True
        if tagged:
            self._forget_views([f for f in self._views if f.tags is not None or f.not_tags])

    def _make_view(self, connection: Reader, filters: Filters) -> OrderedDict[str, None]:
        children = self._children(connection, filters)
        return OrderedDict.fromkeys(
            room_id for room_id in self.order if self._passes(connection, filters, room_id, children)
        )

    def _passes(self, connection: Reader, filters: Filters, room_id: str, children: frozenset[str]) -> bool:
        if filters.is_invite is not None and filters.is_invite != (self.order[room_id].membership == "invite"):
            return False
        if filters.is_dm is not None and filters.is_dm != (room_id in self.direct):
            return False
        if filters.spaces is not None and room_id not in children:
            return False
        tags = self._tags.get(room_id, frozenset())
        if not tags.isdisjoint(filters.not_tags) or (filters.tags is not None and tags.isdisjoint(filters.tags)):
            return False
        asks_types = filters.room_types is not None or filters.not_room_types
        if filters.is_encrypted is None and not asks_types and filters.name_like is None:
            return True
        facts = self._facts_of(connection, room_id)
        return (
            (filters.is_encrypted is None or filters.is_encrypted == facts.encrypted)
            and (filters.room_types is None or facts.room_type in filters.room_types)
            and facts.room_type not in filters.not_room_types
            and (filters.name_like is None or filters.name_like in (facts.name or "").casefold())
        )

    def _children(self, connection: Reader, filters: Filters) -> frozenset[str]:
        """The rooms that the joined ones of the filter's spaces name."""
        found: set[str] = set()
        for space in filters.spaces or ():
            if not self._rooms.occupancy.is_joined(space, self._user_id):
                continue
            rows = connection.execute(
                "SELECT state_key, event_id FROM current_state WHERE room_id = ? AND type = 'm.space.child'", (space,)
            )
            events = {row[1]: row[0] for row in rows}
            for event_id, stored in self._rooms.events.get_many(connection, events).items():
                if isinstance(stored.event.content.get("via"), list):
                    found.add(events[event_id])
        return frozenset(found)

    def _facts_of(self, connection: Reader, room_id: str) -> _Facts:
        facts = self._facts.get(room_id)
        if facts is None:
            create = self._state(connection, room_id, "m.room.create")
            name = self._state(connection, room_id, "m.room.name")
            facts = self._facts[room_id] = _Facts(
                current_entry(connection, room_id, "m.room.encryption", "") is not None,
                None if create is None else _text(create.content.get("type")),
                None if name is None else _text(name.content.get("name")),
            )
        return facts

    def _state(self, connection: Reader, room_id: str, event_type: str) -> Event | None:
        event_id = current_entry(connection, room_id, event_type, "")
        stored = None if event_id is None else self._rooms.events.get(connection, event_id)
        return None if stored is None else stored.event

    def _listed(self, connection: Reader, room_id: str, upto: int) -> Listed | None:
        """The room as the list holds it: joined, invited, knocked at, or left by no wish of the user's."""
        change = membership_at(connection, room_id, self._user_id, upto)
        if change is None:
            return None
        if change.membership == "join":
            return Listed("join", last_event_position(connection, room_id, upto))
        if change.membership in ("invite", "knock"):
            if change.membership == "invite" and hides_change(self._rooms, connection, change):
                return None
            return Listed(change.membership, change.position)
        member = membership_of(connection, room_id, self._user_id)
        stored = self._rooms.events.get(connection, change.event_id)
        by_themselves = stored is None or stored.event.sender == self._user_id
        if by_themselves or (member is not None and member.forgotten):
            return None
        if last_joined_position(connection, room_id, self._user_id) is None:
            return None
        return Listed(change.membership, change.position)


class RoomLists:
    """The lists of the users that were asked for last."""

    def __init__(self, rooms: Rooms, account_data: AccountData) -> None:
        self._rooms = rooms
        self._account_data = account_data
        self._users: OrderedDict[str, UserRooms] = OrderedDict()

    async def of(self, user_id: str) -> UserRooms:
        """The user's list; call its `refresh` before looking at it."""
        found = self._users.get(user_id)
        if found is None:
            found = UserRooms(self._rooms, self._account_data, user_id)
            await found.load()
            found = self._users.setdefault(user_id, found)
            if len(self._users) > MAX_USERS:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user_id)
        return found


def _direct_rooms(content: dict[str, Any]) -> frozenset[str]:
    lists = [rooms for rooms in content.values() if isinstance(rooms, list)]
    return frozenset(room_id for rooms in lists for room_id in rooms if isinstance(room_id, str))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
