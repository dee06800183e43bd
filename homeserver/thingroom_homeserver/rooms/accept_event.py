"""Taking an authorised event into its room: stream, graph, state, memberships, and word of it once it is on disk.

The one way into the tables, for events made here and (later) for those of other servers. Runs inside a write function.
May import core and storage. Next: append_event.py, which makes and authorises local events.
"""

from __future__ import annotations

from collections.abc import Callable

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import may_redact
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.searchable import searchable_text
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.current_state import StateKey, set_entry
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import MembershipChange, set_membership
from thingroom_homeserver.storage.positions import next_position
from thingroom_homeserver.storage.relations import Relation, delete_relation, insert_relation
from thingroom_homeserver.storage.rooms import advance_extremities, set_room_state_group
from thingroom_homeserver.storage.search_index import await_index, unindex_event
from thingroom_homeserver.storage.state_groups import add_group

MAX_REL_TYPE = 255


def accept_on_top(
    rooms: Rooms,
    transaction: Transaction,
    room: Room,
    event: Event,
    *,
    session: str | None = None,
    transaction_id: str | None = None,
) -> StoredEvent:
    """Store an event that follows all we know: the state before it is the room's current state.

    `event` has passed the auth rules. Readers are told after the commit.
    """
    position = next_position(transaction)
    replaced = _advance_state(rooms, transaction, room, event, position) if event.is_state else None
    stored = StoredEvent(
        event,
        position,
        state_group=None if room.state_group is None else room.state_group.id,
        replaces_state=replaced,
        session=session,
        transaction_id=transaction_id,
    )
    rooms.events.insert(transaction, stored)
    advance_extremities(transaction, room.room_id, event.event_id, event.prev_event_ids)
    for previous in event.prev_event_ids:
        room.extremities.pop(previous, None)
    room.extremities[event.event_id] = event.depth
    relation = relation_of(event, position)
    if relation is not None:
        insert_relation(transaction, relation)
    if searchable_text(event) is not None:
        await_index(transaction, position)
    if event.type == "m.room.redaction" and event.redacts is not None:
        _apply_redaction(rooms, transaction, room, event, event.redacts)
    if rooms.watcher is not None:
        rooms.watcher.stored(rooms, transaction, room, stored)
    if event.type == "m.room.member":
        transaction.after_commit(_member_news(rooms, event, position))
    else:
        room_id, notifier = room.room_id, rooms.notifier
        transaction.after_commit(lambda: notifier.publish_room(room_id, position))
    return stored


def _advance_state(rooms: Rooms, transaction: Transaction, room: Room, event: Event, position: int) -> str | None:
    assert event.state_key is not None
    key: StateKey = (event.type, event.state_key)
    previous = room.state.get(key)
    room.state[key] = event.event_id
    room.state_group = add_group(transaction, room.room_id, room.state_group, {key: event.event_id}, room.state)
    set_room_state_group(transaction, room.room_id, room.state_group.id)
    set_entry(transaction, room.room_id, position, key, event.event_id, previous)
    if event.type == "m.room.member":
        before = None if previous is None else rooms.events.get(transaction, previous)
        change = MembershipChange(
            room.room_id,
            event.state_key,
            position,
            event.event_id,
            str(event.content.get("membership")),
            None if before is None else str(before.event.content.get("membership")),
        )
        set_membership(transaction, change, is_local=rooms.is_local(event.state_key))
    return previous


def relation_of(event: Event, position: int) -> Relation | None:
    """What the event's m.relates_to says, if it names a type and an event."""
    content = event.content.get("m.relates_to")
    if not isinstance(content, dict):
        return None
    parent_id, rel_type = content.get("event_id"), content.get("rel_type")
    if isinstance(parent_id, str) and isinstance(rel_type, str) and len(rel_type) <= MAX_REL_TYPE:
        return Relation(parent_id, event.event_id, rel_type, event.room_id, event.sender, position)
    return None


def _apply_redaction(rooms: Rooms, transaction: Transaction, room: Room, redaction: Event, target_id: str) -> None:
    """Redact the target if the redaction may (room version 3, "Handling redactions")."""
    target = rooms.events.get(transaction, target_id)
    levels = rooms.cache.power_levels(transaction, room)
    level_met = levels.user_level(redaction.sender) >= levels.redact
    if target is not None and may_redact(redaction, target.event, level_met):
        if target.redacted_by is None and target.position is not None:
            relation = relation_of(target.event, target.position)
            if relation is not None:
                delete_relation(transaction, relation)
            unindex_event(transaction, target.position)
        rooms.events.redact(transaction, target, redaction.event_id)


def _member_news(rooms: Rooms, event: Event, position: int) -> Callable[[], None]:
    """What to tell readers of a member event: the member hears of it too, whether in the room or not."""
    user_id, room_id = str(event.state_key), event.room_id
    joined = event.content.get("membership") == "join"
    local = rooms.is_local(user_id)

    def tell() -> None:
        if local:
            rooms.occupancy.set(room_id, user_id, joined=joined)
        rooms.notifier.publish_room(room_id, position, (user_id,))

    return tell
