"""What is current in a room: forward extremities, the state after all of them, who is in it; and word of what changed.

Where the graph forks, the state may change in more places than the event's own, or not in that one.
May import core and storage. Source: Server-Server API, "Room State Resolution"; room versions, "State resolution".
Next: storage/current_state.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.state_at import current_state_of, state_after_all
from thingroom_homeserver.rooms.states import StateAt, difference
from thingroom_homeserver.storage.current_state import MEMBER, StateKey, remove_entry, set_entry
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import MembershipChange, remove_membership, set_membership
from thingroom_homeserver.storage.rooms import followers, set_extremities, set_room_state_group

MAX_RESOLVED = 20
"""Of how many different states the current one is the resolution. Beyond, a new one is resolved with the last."""
MAX_WALKED = 1000
"""How many events that are no part of the stream are looked through for what they follow, or what follows them."""


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A local user's current membership changed."""

    user_id: str
    joined: bool


def follow(rooms: Rooms, transaction: Transaction, room: Room, stored: StoredEvent) -> list[LocalChange]:
    """The event is stored in the stream: make it a forward extremity, and what it follows none; resolve the state."""
    event, position = stored.event, stored.position
    assert position is not None
    covered = _covered_by(rooms, transaction, event)
    gone = [event_id for event_id in room.extremities if event_id in covered]
    added = [] if _is_followed(transaction, event.event_id) else [event.event_id]
    if not added and len(gone) == len(room.extremities):
        gone = gone[:-1]  # never none: a peer told a graph with a cycle
    for event_id in gone:
        del room.extremities[event_id]
    for event_id in added:
        room.extremities[event_id] = event.depth
    set_extremities(transaction, room.room_id, gone, added)
    if not gone and not added:
        return []
    found = rooms.events.get_many(transaction, room.extremities)
    if len({each.state_group for each in found.values()}) <= MAX_RESOLVED:
        now = state_after_all(rooms, transaction, room, [*found.values()])
    elif added:
        # Somebody forks the room on purpose: the work must not grow with each fork.
        assert stored.state_group is not None
        both = (current_state_of(room), stored.state_group)
        now = rooms.states.resolved(transaction, room.room_id, room.rules, both)
    else:
        now = current_state_of(room)
    return set_current(rooms, transaction, room, position, now)


def set_current(rooms: Rooms, transaction: Transaction, room: Room, position: int, state: StateAt) -> list[LocalChange]:
    """Make `state` the room's current one from `position` on. Who is told, and when, is the caller's business."""
    assert state.group is not None
    if room.state_group is not None and room.state_group.id == state.group.id:
        return []
    before = room.state
    changed, removed = difference(before, state.entries)
    room.state, room.state_group = dict(state.entries), state.group
    set_room_state_group(transaction, room.room_id, state.group.id)
    for key, event_id in changed.items():
        set_entry(transaction, room.room_id, position, key, event_id, before.get(key))
    for key in removed:
        remove_entry(transaction, room.room_id, position, key, before[key])
    members = [key for key in (*changed, *removed) if key[0] == MEMBER]
    if not members:
        return []
    if rooms.watcher is not None:
        rooms.watcher.members_changed(transaction, room.room_id)
    return _set_members(rooms, transaction, room, position, before, members)


def _set_members(
    rooms: Rooms, transaction: Transaction, room: Room, position: int, before: dict[StateKey, str], keys: list[StateKey]
) -> list[LocalChange]:
    ids = [state[key] for key in keys for state in (before, room.state) if key in state]
    events = rooms.events.get_many(transaction, ids)

    def membership(event_id: str | None) -> str | None:
        return None if event_id is None else str(events[event_id].event.content.get("membership"))

    local: list[LocalChange] = []
    for key in keys:
        old_id, new_id = before.get(key), room.state.get(key)
        old, new = membership(old_id), membership(new_id)
        user_id = key[1]
        is_local = rooms.is_local(user_id)
        # Of a membership that is taken away the event that it was is named.
        event_id = new_id or old_id
        assert event_id is not None
        change = MembershipChange(room.room_id, user_id, position, event_id, new or "leave", old)
        if new is None:
            remove_membership(transaction, change, is_local=is_local)
        else:
            set_membership(transaction, change, is_local=is_local)
        if is_local:
            local.append(LocalChange(user_id, new == "join"))
    return local


def tell_after_commit(
    rooms: Rooms, transaction: Transaction, room_id: str, position: int, changes: Iterable[LocalChange]
) -> None:
    """Once it is on disk: wake the readers of the room, and the local users whose membership changed."""
    told = list(changes)

    def tell() -> None:
        for change in told:
            rooms.occupancy.set(room_id, change.user_id, joined=change.joined)
        rooms.notifier.publish_room(room_id, position, [change.user_id for change in told])

    transaction.after_commit(tell)


def _covered_by(rooms: Rooms, transaction: Transaction, event: Event) -> set[str]:
    """The events before `event` that it follows, directly or through events that are in no stream."""
    covered: set[str] = set()
    pending = list(event.prev_event_ids)
    while pending and len(covered) < MAX_WALKED:
        event_id = pending.pop()
        if event_id in covered:
            continue
        covered.add(event_id)
        previous = rooms.events.get(transaction, event_id)
        if previous is not None and previous.position is None and previous.state_group is not None:
            pending += previous.event.prev_event_ids
    return covered


def _is_followed(transaction: Transaction, event_id: str) -> bool:
    """Whether an event of the stream came before `event_id` did, and follows it."""
    seen = {event_id}
    pending = [event_id]
    while pending and len(seen) < MAX_WALKED:
        for follower, in_stream in followers(transaction, pending.pop()):
            if in_stream:
                return True
            if follower not in seen:
                seen.add(follower)
                pending.append(follower)
    return False
