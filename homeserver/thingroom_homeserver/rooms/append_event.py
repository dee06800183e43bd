"""Making an event in a room: choose what it follows, sign it, ask the auth rules, take it in.

All in one write function, so nothing can change in between and no event is ever forked by its own server. It follows
all forward extremities, the 20 deepest if there are more; the others remain for the next one.
May import core and storage. Source: Server-Server API, "PDUs"; "Auth events selection". Next: accept_event.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_urlsafe

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import Rejected, StateKey, auth_types, check_auth
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import CanonicalJsonError, JsonObject
from thingroom_homeserver.core.event import Event, size_fault
from thingroom_homeserver.core.hashing import reference_hash
from thingroom_homeserver.rooms.accept_event import accept_beside, accept_on_top
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Why
from thingroom_homeserver.rooms.policies import POLICY, SignatureNeeded, draft_key, is_exempt, policy_server_of
from thingroom_homeserver.rooms.room_cache import MAX_PREV_EVENTS, Room
from thingroom_homeserver.rooms.state_at import events_of_state, state_after_all
from thingroom_homeserver.rooms.states import StateAt
from thingroom_homeserver.storage.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Draft:
    """What the sender decides about an event. `redacts`: the target, for room versions that keep it beside content."""

    type: str
    content: JsonObject
    state_key: str | None = None
    redacts: str | None = None
    transaction_id: str | None = None


def append_event(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, draft: Draft
) -> StoredEvent | Refused:
    """Add an event by a local user to the room. If it is refused, nothing was written.

    Raises SignatureNeeded in a room with a policy server, for `policies.write_approved` to deal with.
    """
    server = policy_server_of(rooms.events, transaction, room.room_id, room.state.get(POLICY))
    key = None
    if server is not None and not is_exempt(draft.type, draft.state_key):
        key = draft_key(room.room_id, sender.user_id, draft.type, draft.state_key, draft.content)
    approved = None if key is None else rooms.policies.approved(key)
    if approved is None:
        before = _state_before(rooms, transaction, room)
        event = _build(rooms, transaction, room, sender, draft, before)
    else:
        before = _state_before_approved(rooms, transaction, room, approved)
        event = _still_allowed(rooms, transaction, room, sender, draft, approved)
    if isinstance(event, Refused):
        if key is not None:
            rooms.policies.forget_approved(key)
        return event
    if key is not None and server is not None:
        if approved is None:
            raise SignatureNeeded(key, event, server)
        done = key
        transaction.after_commit(lambda: rooms.policies.forget_approved(done))
    if before is None:
        return accept_on_top(
            rooms,
            transaction,
            room,
            event,
            session=sender.session,
            transaction_id=draft.transaction_id,
            send_out=True,
        )
    return accept_beside(
        rooms,
        transaction,
        room,
        event,
        before,
        session=sender.session,
        transaction_id=draft.transaction_id,
        send_out=True,
    )


def build_local_event(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, draft: Draft
) -> Event | Refused:
    """The event as `append_event` would store it, signed and authorised, but not stored: for others to countersign.

    It may be taken in by `receive_event` later; the room may have moved on by then.
    """
    return _build(rooms, transaction, room, sender, draft, _state_before(rooms, transaction, room))


def _state_before(rooms: Rooms, transaction: Transaction, room: Room) -> StateAt | None:
    """The state before the next event; None: the room's current one, since it follows all extremities."""
    if len(room.extremities) <= MAX_PREV_EVENTS:
        return None
    found = rooms.events.get_many(transaction, room.prev_event_ids())
    return state_after_all(rooms, transaction, room, [*found.values()])


def _state_before_approved(rooms: Rooms, transaction: Transaction, room: Room, event: Event) -> StateAt | None:
    """The same for an event that was built before: the room may have moved on, and the event then is a fork."""
    if event.prev_event_ids == tuple(room.prev_event_ids()):
        return _state_before(rooms, transaction, room)
    found = rooms.events.get_many(transaction, event.prev_event_ids)
    return state_after_all(rooms, transaction, room, [*found.values()])


def _still_allowed(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, draft: Draft, event: Event
) -> Event | Refused:
    auth_state = _auth_state(rooms, transaction, room, sender, draft, None)
    verdict = check_auth(event, auth_state, room.rules, create=rooms.cache.create_event(transaction, room))
    return Refused(Why.FORBIDDEN, verdict.reason) if isinstance(verdict, Rejected) else event


def _build(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, draft: Draft, before: StateAt | None
) -> Event | Refused:
    auth_state = _auth_state(rooms, transaction, room, sender, draft, before)
    prev_event_ids = room.prev_event_ids()
    now = rooms.clock.now_ms() if sender.timestamp is None else sender.timestamp
    old_format = not room.rules.event_ids_are_hashes
    try:
        event = build_event(
            rules=room.rules,
            room_id=room.room_id,
            type=draft.type,
            state_key=draft.state_key,
            sender=sender.user_id,
            content=draft.content,
            auth_event_ids=[event.event_id for event in auth_state.values()],
            prev_event_ids=prev_event_ids,
            depth=min(room.depth + 1, room.rules.max_depth_field),
            origin_server_ts=now,
            redacts=draft.redacts,
            server_name=rooms.server_name,
            signing_key=rooms.signing_key,
            event_id=f"${token_urlsafe(18)}:{rooms.server_name}" if old_format else None,
            reference_hashes=_reference_hashes(rooms, transaction, auth_state, prev_event_ids) if old_format else {},
        )
    except CanonicalJsonError as error:
        return Refused(Why.BAD_JSON, str(error))
    fault = size_fault(event)
    if fault is not None:
        return Refused(Why.TOO_LARGE, fault)
    create = rooms.cache.create_event(transaction, room) if room.state else event
    verdict = check_auth(event, auth_state, room.rules, create=create)
    if isinstance(verdict, Rejected):
        return Refused(Why.FORBIDDEN, verdict.reason)
    return event


def _auth_state(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, draft: Draft, before: StateAt | None
) -> dict[StateKey, Event]:
    keys = sorted(auth_types(draft.type, sender.user_id, draft.state_key, draft.content, room.rules))
    if before is not None:
        return events_of_state(rooms, transaction, before.entries, keys)
    found: dict[StateKey, Event] = {}
    for key in keys:
        event = rooms.cache.state_event(transaction, room, *key)
        if event is not None:
            found[key] = event
    return found


def _reference_hashes(
    rooms: Rooms, transaction: Transaction, auth_state: dict[StateKey, Event], prev_event_ids: list[str]
) -> dict[str, str]:
    """Room versions 1 and 2 name events together with their hashes."""
    events = {event.event_id: event for event in auth_state.values()}
    for event_id in prev_event_ids:
        stored = rooms.events.get(transaction, event_id)
        assert stored is not None, f"the extremity {event_id} is not stored"
        events[event_id] = stored.event
    return {event_id: reference_hash(event.pdu, event.rules) for event_id, event in events.items()}
