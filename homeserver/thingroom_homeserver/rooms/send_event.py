"""Sending messages, state and redactions, once per transaction id.

May import core and storage. m.room.member goes through membership.py instead. Sources: Client-Server API, "Sending
events to a room", "Transaction identifiers", "Redactions". Next: append_event.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.server_acl import server_allowed
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.relations import relation_fault
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.transaction_ids import ClientTransaction, event_of_transaction, note_transaction

REDACTION = "m.room.redaction"
CANONICAL_ALIAS = "m.room.canonical_alias"
SERVER_ACL = "m.room.server_acl"
UNKNOWN_ROOM = Refused(Why.FORBIDDEN, "You are not in this room")


async def send_event(
    rooms: Rooms, sender: Sender, room_id: str, event_type: str, content: JsonObject, transaction_id: str | None = None
) -> Sent | Refused:
    """Send an event that is not state. A repeated transaction id answers with the event that it made first."""
    redacts = content.get("redacts") if event_type == REDACTION else None
    if event_type == REDACTION and not isinstance(redacts, str):
        return Refused(Why.BAD_JSON, "A redaction must name an event in redacts")
    draft = Draft(event_type, content, redacts=redacts, transaction_id=transaction_id)
    return await _send_once(rooms, sender, room_id, draft, scope=f"send {room_id} {event_type}")


async def redact_event(
    rooms: Rooms, sender: Sender, room_id: str, target_id: str, content: JsonObject, transaction_id: str
) -> Sent | Refused:
    """Redact an event of the room: one's own, or with the redact level anybody's."""
    draft = Draft(REDACTION, content, redacts=target_id, transaction_id=transaction_id)
    return await _send_once(rooms, sender, room_id, draft, scope=f"redact {room_id} {target_id}")


async def send_state(
    rooms: Rooms,
    sender: Sender,
    room_id: str,
    event_type: str,
    state_key: str,
    content: JsonObject,
    *,
    aliases_elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> Sent | Refused:
    """Set an entry of the room's state. The same sender setting the same content again changes nothing.

    `aliases_elsewhere`: for m.room.canonical_alias, the rooms that aliases of other servers point to.
    """

    def write(transaction: Transaction) -> Sent | Refused:
        room = rooms.cache.get(transaction, room_id)
        if room is None:
            return UNKNOWN_ROOM
        if event_type == REDACTION:
            return Refused(Why.BAD_JSON, "A redaction cannot be state")
        if event_type == CANONICAL_ALIAS:
            fault = _alias_fault(rooms, transaction, room, content, aliases_elsewhere)
            if fault is not None:
                return fault
        if event_type == SERVER_ACL and state_key == "" and not server_allowed(content, rooms.server_name):
            return Refused(Why.INVALID_PARAM, "Such an m.room.server_acl would shut out this server itself")
        same = same_state(rooms, transaction, room, sender, event_type, state_key, content)
        if same is not None:
            return same
        return sent(append_event(rooms, transaction, room, sender, Draft(event_type, content, state_key)))

    return await write_approved(rooms, write)


def sent(outcome: StoredEvent | Refused) -> Sent | Refused:
    """What the caller is told of an appended event."""
    if isinstance(outcome, Refused):
        return outcome
    assert outcome.position is not None
    return Sent(outcome.event_id, outcome.position)


def same_state(
    rooms: Rooms,
    transaction: Transaction,
    room: Room,
    sender: Sender,
    event_type: str,
    state_key: str,
    content: JsonObject,
) -> Sent | None:
    """The entry as it is, if the sender, while in the room, would only set it to what they set before."""
    event_id = room.state.get((event_type, state_key))
    stored = None if event_id is None else rooms.events.get(transaction, event_id)
    if stored is None or stored.event.sender != sender.user_id or stored.event.content != content:
        return None
    if stored.position is None or rooms.cache.membership(transaction, room, sender.user_id) != "join":
        return None
    return Sent(stored.event_id, stored.position)


async def _send_once(rooms: Rooms, sender: Sender, room_id: str, draft: Draft, scope: str) -> Sent | Refused:
    def write(transaction: Transaction) -> Sent | Refused:
        key = None
        if draft.transaction_id is not None and sender.session is not None:
            key = ClientTransaction(sender.user_id, sender.session, scope, draft.transaction_id)
            event_id = event_of_transaction(transaction, key)
            if event_id is not None:
                earlier = rooms.events.get(transaction, event_id)
                assert earlier is not None, f"{event_id} has a transaction id, but is not stored"
                return sent(earlier)
        room = rooms.cache.get(transaction, room_id)
        if room is None:
            return UNKNOWN_ROOM
        if draft.redacts is not None:
            fault = _redaction_fault(rooms, transaction, room, sender, draft.redacts)
            if fault is not None:
                return fault
        fault = relation_fault(rooms, transaction, room_id, sender.user_id, draft.type, draft.content)
        if fault is not None:
            return fault
        outcome = append_event(rooms, transaction, room, sender, draft)
        if key is not None and not isinstance(outcome, Refused):
            note_transaction(transaction, key, outcome.event_id, rooms.clock.now_ms())
        return sent(outcome)

    return await write_approved(rooms, write)


def _redaction_fault(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, target_id: str
) -> Refused | None:
    target = rooms.events.get(transaction, target_id)
    if target is None or target.event.room_id != room.room_id or target.position is None:
        return Refused(Why.NOT_FOUND, "There is no such event in this room")
    if target.event.type == "m.room.create":
        return Refused(Why.FORBIDDEN, "The create event of a room cannot be redacted")
    levels = rooms.cache.power_levels(transaction, room)
    if target.event.sender != sender.user_id and levels.user_level(sender.user_id) < levels.redact:
        return Refused(Why.FORBIDDEN, "Your power level is too low to redact other users' events")
    return None


def _alias_fault(
    rooms: Rooms, transaction: Transaction, room: Room, content: JsonObject, elsewhere: Mapping[str, str]
) -> Refused | None:
    """New aliases of m.room.canonical_alias must point to the room (PUT state, M_BAD_ALIAS)."""
    current = rooms.cache.state_event(transaction, room, CANONICAL_ALIAS)
    known = aliases_in(current.content if current is not None else {}) or set()
    named = aliases_in(content)
    if named is None:
        return Refused(Why.INVALID_PARAM, "alias must be a room alias, alt_aliases a list of room aliases")
    for alias in named - known:
        if (elsewhere.get(alias) or rooms.aliases.room_of_alias(transaction, alias)) != room.room_id:
            return Refused(Why.BAD_ALIAS, f"{alias} does not point to this room")
    return None


def aliases_in(content: JsonObject) -> set[str] | None:
    """The aliases that the content of an m.room.canonical_alias names; None if one is malformed."""
    alias, others = content.get("alias"), content.get("alt_aliases", [])
    if not isinstance(others, list):
        return None
    named = [name for name in (alias, *others) if name is not None and name != ""]
    if not all(isinstance(name, str) and name.startswith("#") and ":" in name for name in named):
        return None
    return set(named)
