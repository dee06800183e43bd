"""The rooms that are being written to, in memory: current state and forward extremities as the writer sees them.

A Room is changed inside write functions only, ahead of the commit; an undone write throws it away and the next one
loads it again. Readers never look here. May import core and storage. Next: accept_event.py.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.power_levels import PowerLevels
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.storage.current_state import StateKey, load_current_state
from thingroom_homeserver.storage.events import EventStore
from thingroom_homeserver.storage.rooms import forward_extremities, room_row
from thingroom_homeserver.storage.state_groups import StateGroup, load_group

CACHED_ROOMS = 1000
MAX_PREV_EVENTS = 20


@dataclass(slots=True)
class Room:
    """One room as the open transaction leaves it. `depth` is the greatest of its extremities.

    `state` and `state_group` are the state after all extremities, resolved where they differ.
    """

    room_id: str
    rules: RoomRules
    state: dict[StateKey, str]
    state_group: StateGroup | None
    extremities: dict[str, int]

    @property
    def depth(self) -> int:
        return max(self.extremities.values(), default=0)

    def prev_event_ids(self) -> list[str]:
        """What the next event follows: at most 20 extremities, the deepest first."""
        if len(self.extremities) == 1:
            return list(self.extremities)
        deepest_first = sorted(self.extremities, key=lambda event_id: -self.extremities[event_id])
        return deepest_first[:MAX_PREV_EVENTS]


class RoomCache:
    """The Rooms last written to."""

    def __init__(self, events: EventStore, capacity: int = CACHED_ROOMS) -> None:
        self._events = events
        self._capacity = capacity
        self._rooms: OrderedDict[str, Room] = OrderedDict()

    def get(self, transaction: Transaction, room_id: str) -> Room | None:
        """The room, for reading and changing in this write; None if it is not known here but by outliers."""
        room = self._rooms.get(room_id)
        if room is None:
            room = self._load(transaction, room_id)
            if room is None:
                return None
            self.add(transaction, room)
        else:
            self._rooms.move_to_end(room_id)
            transaction.after_rollback(lambda: self._forget(room_id))
        return room

    def add(self, transaction: Transaction, room: Room) -> None:
        """Take in a new room; an undone write takes it out."""
        self._rooms[room.room_id] = room
        transaction.after_rollback(lambda: self._forget(room.room_id))
        if len(self._rooms) > self._capacity:
            self._rooms.popitem(last=False)

    def state_event(self, transaction: Transaction, room: Room, event_type: str, state_key: str = "") -> Event | None:
        """An event of the room's current state."""
        event_id = room.state.get((event_type, state_key))
        if event_id is None:
            return None
        stored = self._events.get(transaction, event_id)
        assert stored is not None, f"{event_id} is in the state of {room.room_id}, but not stored"
        return stored.event

    def create_event(self, transaction: Transaction, room: Room) -> Event:
        event = self.state_event(transaction, room, "m.room.create")
        assert event is not None, f"{room.room_id} has no create event"
        return event

    def power_levels(self, transaction: Transaction, room: Room) -> PowerLevels:
        """The power levels in force now."""
        levels = self.state_event(transaction, room, "m.room.power_levels")
        return PowerLevels.of(levels, self.create_event(transaction, room), room.rules)

    def membership(self, transaction: Transaction, room: Room, user_id: str) -> str:
        """The user's current membership, `leave` where there is none."""
        event = self.state_event(transaction, room, "m.room.member", user_id)
        return "leave" if event is None else str(event.content.get("membership"))

    def _load(self, transaction: Transaction, room_id: str) -> Room | None:
        row = room_row(transaction, room_id)
        if row is None or row.state_group is None:
            return None
        extremities = {}
        for event_id in forward_extremities(transaction, room_id):
            stored = self._events.get(transaction, event_id)
            assert stored is not None, f"the extremity {event_id} is not stored"
            extremities[event_id] = stored.event.depth
        group = load_group(transaction, row.state_group)
        return Room(room_id, ROOM_RULES[row.version], load_current_state(transaction, room_id), group, extremities)

    def _forget(self, room_id: str) -> None:
        self._rooms.pop(room_id, None)
