"""Taking an authorised event into its room: stream, graph, state, memberships, and word of it once it is on disk.

The one way into the stream. An event on top of everything (each that is made here, most that others send) costs one
step of the state; one beside others has the room's state resolved. Runs inside a write function. May import core and
storage. Next: append_event.py makes and authorises local events, receive_event.py judges those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.searchable import searchable_text
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.current_state import follow, tell_after_commit
from thingroom_homeserver.rooms.redactions import REDACTION, apply_early_redactions, apply_redaction, relation_of
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.states import StateAt
from thingroom_homeserver.storage.current_state import MEMBER, StateKey, set_entry
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.gaps import arrived, insert_gap
from thingroom_homeserver.storage.memberships import MembershipChange, set_membership
from thingroom_homeserver.storage.positions import next_position, skip_positions
from thingroom_homeserver.storage.relations import insert_relation
from thingroom_homeserver.storage.rooms import advance_extremities, set_room_state_group
from thingroom_homeserver.storage.search_index import await_index
from thingroom_homeserver.storage.state_groups import add_group

GAP_RESERVE = 2**28
"""Positions left out for a gap (docs/decisions/0023-positions-and-gaps.md)."""


def accept_on_top(
    rooms: Rooms,
    transaction: Transaction,
    room: Room,
    event: Event,
    *,
    session: str | None = None,
    transaction_id: str | None = None,
    send_out: bool = False,
    is_ours: bool = True,
    known: StoredEvent | None = None,
) -> StoredEvent:
    """Store an event that follows all we know: the state before it is the room's current state.

    `event` has passed the auth rules. Readers are told after the commit. `is_ours`: made here just now, so nothing
    can have been waiting for it. `known`: the outlier that it was until now.
    """
    position = next_position(transaction)
    replaced = _advance_state(rooms, transaction, room, event, position) if event.is_state else None
    stored = StoredEvent(
        event,
        position,
        redacted_by=None if known is None else known.redacted_by,
        state_group=None if room.state_group is None else room.state_group.id,
        replaces_state=replaced,
        session=session,
        transaction_id=transaction_id,
        send_out=send_out,
    )
    keep(rooms, transaction, stored, known)
    advance_extremities(transaction, room.room_id, event.event_id, event.prev_event_ids)
    for previous in event.prev_event_ids:
        room.extremities.pop(previous, None)
    room.extremities[event.event_id] = event.depth
    _put_in_indexes(rooms, transaction, room, stored, is_ours=is_ours)
    if event.type == MEMBER:
        transaction.after_commit(_member_news(rooms, event, position))
    else:
        room_id, notifier = room.room_id, rooms.notifier
        transaction.after_commit(lambda: notifier.publish_room(room_id, position))
    return stored


def accept_beside(
    rooms: Rooms,
    transaction: Transaction,
    room: Room,
    event: Event,
    before: StateAt,
    *,
    session: str | None = None,
    transaction_id: str | None = None,
    send_out: bool = False,
    known: StoredEvent | None = None,
    missing: Collection[str] = (),
) -> StoredEvent:
    """Store an event with the state `before` it, wherever it is in the graph. Else as `accept_on_top`.

    `missing`: those of its prev events that are not here: a gap opens below it.
    """
    if missing:
        open_gap(transaction, room.room_id, missing)
    position = next_position(transaction)
    after = rooms.states.after(transaction, before, event)
    assert after.group is not None
    stored = StoredEvent(
        event,
        position,
        redacted_by=None if known is None else known.redacted_by,
        state_group=after.group.id,
        replaces_state=before.entries.get((event.type, event.state_key)) if event.state_key is not None else None,
        session=session,
        transaction_id=transaction_id,
        send_out=send_out,
    )
    keep(rooms, transaction, stored, known)
    if event.type == MEMBER and rooms.watcher is not None:
        # Whether its membership becomes the current one is decided by resolution.
        rooms.watcher.members_changed(transaction, room.room_id)
    changes = follow(rooms, transaction, room, stored)
    _put_in_indexes(rooms, transaction, room, stored, is_ours=False)
    tell_after_commit(rooms, transaction, room.room_id, position, changes)
    return stored


def open_gap(transaction: Transaction, room_id: str, missing: Collection[str]) -> None:
    """Leave out positions for what is missing below the event that takes the next one."""
    floor = skip_positions(transaction, GAP_RESERVE)
    insert_gap(transaction, room_id, floor, floor + GAP_RESERVE, missing)


def keep(rooms: Rooms, transaction: Transaction, stored: StoredEvent, known: StoredEvent | None) -> None:
    """Write the event's row, which is there already if it was `known`."""
    if known is None:
        rooms.events.insert(transaction, stored)
    else:
        rooms.events.promote(transaction, stored)


def index_history(rooms: Rooms, transaction: Transaction, stored: StoredEvent) -> None:
    """What an event of the stream is found by: its relation, its words; and redactions, in both directions."""
    position = stored.position
    assert position is not None
    stored = apply_early_redactions(rooms, transaction, stored)
    _index(transaction, stored, position)
    if stored.event.type == REDACTION:
        apply_redaction(rooms, transaction, stored, None)


def _put_in_indexes(rooms: Rooms, transaction: Transaction, room: Room, stored: StoredEvent, *, is_ours: bool) -> None:
    position = stored.position
    assert position is not None
    if not is_ours:
        arrived(transaction, stored.event_id)
        stored = apply_early_redactions(rooms, transaction, stored)
    _index(transaction, stored, position)
    if stored.event.type == REDACTION:
        levels = rooms.cache.power_levels(transaction, room) if is_ours else None
        apply_redaction(rooms, transaction, stored, levels)
    if rooms.watcher is not None:
        rooms.watcher.stored(rooms, transaction, room, stored)


def _index(transaction: Transaction, stored: StoredEvent, position: int) -> None:
    if stored.redacted_by is not None:
        return
    relation = relation_of(stored.event, position)
    if relation is not None:
        insert_relation(transaction, relation)
    if searchable_text(stored.event) is not None:
        await_index(transaction, position)


def _advance_state(rooms: Rooms, transaction: Transaction, room: Room, event: Event, position: int) -> str | None:
    assert event.state_key is not None
    key: StateKey = (event.type, event.state_key)
    previous = room.state.get(key)
    room.state[key] = event.event_id
    room.state_group = add_group(transaction, room.room_id, room.state_group, {key: event.event_id}, room.state)
    set_room_state_group(transaction, room.room_id, room.state_group.id)
    set_entry(transaction, room.room_id, position, key, event.event_id, previous)
    if event.type == MEMBER:
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
