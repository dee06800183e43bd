"""Applying redactions, whichever comes first: the redaction or what it redacts.

May import core and storage. Source: room version 3, "Handling redactions". The redaction's own state decides whether
its sender may, not the current one. Next: accept_event.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import may_redact
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.power_levels import PowerLevels
from thingroom_homeserver.core.room_rules import RoomRules
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.early_redactions import keep_early_redaction, take_early_redactions
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.relations import Relation, delete_relation
from thingroom_homeserver.storage.search_index import unindex_event
from thingroom_homeserver.storage.state_groups import entries_of_group

REDACTION, CREATE = "m.room.redaction", "m.room.create"
LEVELS_AND_CREATE = (("m.room.power_levels", ""), (CREATE, ""))
MAX_REL_TYPE = 255


def apply_redaction(rooms: Rooms, transaction: Transaction, redaction: StoredEvent, levels: PowerLevels | None) -> None:
    """Redact the target of an accepted redaction if it may, or once it comes.

    `levels`: the power levels in the state at the redaction; None: to be looked up.
    """
    event = redaction.event
    if event.redacts is None:
        return
    target = rooms.events.get(transaction, event.redacts)
    if target is None:
        keep_early_redaction(transaction, event.redacts, event.event_id, event.room_id)
        return
    if levels is None:
        levels = _levels_at(rooms, transaction, redaction)
    _redact(rooms, transaction, event, target, levels)


def apply_early_redactions(rooms: Rooms, transaction: Transaction, target: StoredEvent) -> StoredEvent:
    """The event, redacted if a redaction of it that may be applied was here before it."""
    for redaction_id in take_early_redactions(transaction, target.event_id):
        redaction = rooms.events.get(transaction, redaction_id)
        if redaction is not None and redaction.state_group is not None:
            target = _redact(rooms, transaction, redaction.event, target, _levels_at(rooms, transaction, redaction))
    return target


def relation_of(event: Event, position: int) -> Relation | None:
    """What the event's m.relates_to says, if it names a type and an event."""
    content = event.content.get("m.relates_to")
    if not isinstance(content, dict):
        return None
    parent_id, rel_type = content.get("event_id"), content.get("rel_type")
    if isinstance(parent_id, str) and isinstance(rel_type, str) and len(rel_type) <= MAX_REL_TYPE:
        return Relation(parent_id, event.event_id, rel_type, event.room_id, event.sender, position)
    return None


def _redact(
    rooms: Rooms, transaction: Transaction, redaction: Event, target: StoredEvent, levels: PowerLevels
) -> StoredEvent:
    # The specification is silent about create events; nobody lets one be redacted, since rooms rest on it.
    if target.event.type == CREATE or not _may_redact(redaction, target.event, levels, redaction.rules):
        return target
    if target.redacted_by is None and target.position is not None:
        relation = relation_of(target.event, target.position)
        if relation is not None:
            delete_relation(transaction, relation)
        unindex_event(transaction, target.position)
    return rooms.events.redact(transaction, target, redaction.event_id)


def _may_redact(redaction: Event, target: Event, levels: PowerLevels, rules: RoomRules) -> bool:
    if rules.redaction_in_auth_rules:  # room versions 1 and 2 have decided by accepting the redaction
        return redaction.room_id == target.room_id
    return may_redact(redaction, target, levels.user_level(redaction.sender) >= levels.redact)


def _levels_at(rooms: Rooms, transaction: Transaction, redaction: StoredEvent) -> PowerLevels:
    assert redaction.state_group is not None
    entries = entries_of_group(transaction, redaction.state_group, LEVELS_AND_CREATE)
    found = rooms.events.get_many(transaction, entries.values())
    events = {key: found[event_id].event for key, event_id in entries.items()}
    create = events[CREATE, ""]
    return PowerLevels.of(events.get(LEVELS_AND_CREATE[0]), create, redaction.event.rules)
