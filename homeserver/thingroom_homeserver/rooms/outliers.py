"""Outliers: events that are known without their place in the graph, to authorise others and to be in a state.

May import core and storage. Source: Server-Server API, "Checks performed on receipt of a PDU", step 4. Next:
receive_event.py, which promotes an outlier that arrives in full.
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.receive_event import CREATE, auth_events_fault
from thingroom_homeserver.rooms.redactions import apply_early_redactions
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.rooms import insert_room, room_version


def store_outliers(
    rooms: Rooms, transaction: Transaction, room_id: str, room_version: str, events: Iterable[Event]
) -> None:
    """Keep the events that are not stored yet, each judged by its auth events; what fails is kept as rejected.

    The events have passed steps 1 to 3. They may come in any order, but an event whose auth events are neither among
    them nor stored is left out, as is one of another room. To be called with some hundred events at a time, those
    they cite first (`in_auth_order`). The room need not be known; it is noted with its version.
    """
    ordered = in_auth_order(event for event in events if event.room_id == room_id)
    known = rooms.events.get_many(transaction, [event.event_id for event in ordered])
    new = [event for event in ordered if event.event_id not in known]
    if not new:
        return
    _note_room(rooms, transaction, room_id, room_version, new[0])
    rules = ROOM_RULES[room_version]
    create = _create_event(rooms, transaction, room_id, rules, new)
    cited = {auth_id for event in new for auth_id in event.auth_event_ids}
    known |= rooms.events.get_many(transaction, cited - known.keys())
    for event in new:
        auth_events = [known[auth_id] for auth_id in event.auth_event_ids if auth_id in known]
        if len(auth_events) < len(event.auth_event_ids):
            continue
        # 4. Passes authorisation rules based on the event's auth events, otherwise it is rejected.
        stored = StoredEvent(event, None, rejected=auth_events_fault(event, auth_events, create, rules))
        rooms.events.insert(transaction, stored)
        known[event.event_id] = apply_early_redactions(rooms, transaction, stored)


def in_auth_order(events: Iterable[Event]) -> list[Event]:
    """The events, each after those of its auth events that are among them, the create event first.

    What is in a cycle is left out.
    """
    by_id = {event.event_id: event for event in events}
    waits_for: dict[str, int] = {}
    unlocks: dict[str, list[str]] = {}
    for event in by_id.values():
        cited = {auth_id for auth_id in event.auth_event_ids if auth_id in by_id}
        waits_for[event.event_id] = len(cited)
        for auth_id in cited:
            unlocks.setdefault(auth_id, []).append(event.event_id)
    free = [event_id for event_id, count in waits_for.items() if count == 0]
    # Since room version 12 nobody cites the create event, yet everything is judged by it: it comes first.
    free.sort(key=lambda event_id: by_id[event_id].type == "m.room.create")
    ordered = []
    while free:
        event_id = free.pop()
        ordered.append(by_id[event_id])
        for unlocked in unlocks.get(event_id, ()):
            waits_for[unlocked] -= 1
            if waits_for[unlocked] == 0:
                free.append(unlocked)
    return ordered


def _note_room(rooms: Rooms, transaction: Transaction, room_id: str, version: str, event: Event) -> None:
    """Have a row for the room, which says its version; without state nobody takes it for a room that we are in."""
    if room_version(transaction, room_id) is None:
        insert_room(transaction, room_id, version, event.sender)
        rooms.events.note_version(room_id, version)
        transaction.after_rollback(lambda: rooms.events.forget_version(room_id))


def _create_event(
    rooms: Rooms, transaction: Transaction, room_id: str, rules: RoomRules, new: list[Event]
) -> Event | None:
    """The room's create event: that of its state, or the one that the room is named by; None where neither is known.

    Then each event is judged by the one that it cites itself.
    """
    create_id = current_entry(transaction, room_id, *CREATE)
    if create_id is None and rules.room_id_is_create_event_id:
        create_id = "$" + room_id[1:]
        for event in new:
            if event.event_id == create_id:
                return event
    stored = None if create_id is None else rooms.events.get(transaction, create_id)
    return None if stored is None else stored.event
