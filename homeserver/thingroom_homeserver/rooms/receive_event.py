"""Receiving an event of another server: steps 4 to 7 of the checks, the graph, the state. Inside a write function.

Steps 1 to 3 (format, signatures, hashes) are behind the event when it comes here. May import core and storage.
Source: Server-Server API, "Checks performed on receipt of a PDU". Next: state_at.py, accept_event.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from thingroom_common.database import Transaction
from thingroom_homeserver.core import auth_rules
from thingroom_homeserver.core.auth_rules import auth_types_for_event, check_auth, check_auth_events_list
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import RoomRules
from thingroom_homeserver.rooms.accept_event import accept_beside, accept_on_top, keep
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.policies import POLICY, policy_server_of
from thingroom_homeserver.rooms.receipt_outcomes import (
    Accepted,
    Duplicate,
    Missing,
    Received,
    Rejected,
    SoftFailed,
    UnknownRoom,
)
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.state_at import auth_chain_of, current_state_of, events_of_state, state_after_all
from thingroom_homeserver.rooms.states import EMPTY, StateAt
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.gaps import arrived
from thingroom_homeserver.storage.state_facts import UnusableState, check_told_state
from thingroom_homeserver.storage.state_groups import StateKey

CREATE: StateKey = ("m.room.create", "")


def receive_event(
    rooms: Rooms,
    transaction: Transaction,
    event: Event,
    *,
    state_before: Mapping[StateKey, str] | None = None,
    send_out: bool = False,
) -> Received:
    """Judge the event and take it in.

    `state_before`: the state before the event as peers tell it, used where prev events are missing; the event then
    opens a gap in the history. All of its events must be stored, at least as outliers. `send_out`: whether this server
    is to send the event to the others (those it made itself or countersigned).

    Step 7 asks nobody: what the room's policy server says of events that it has not signed, the caller finds out
    before with `rooms.policies.prepare`.
    """
    room = rooms.cache.get(transaction, event.room_id)
    if room is None:
        return UnknownRoom()
    known = rooms.events.get(transaction, event.event_id)
    if known is not None:
        if known.state_group is not None:
            return Duplicate(known)
        if known.event.room_id != event.room_id:  # in room versions 1 and 2 an ID can be given twice
            return Rejected("its ID is that of an event of another room")
        if known.rejected is None and _is_history(rooms, transaction, room, known.event_id):
            return Duplicate(known)
        if known.redacted_by is not None:
            event = known.event
    receipt = _Receipt(rooms, transaction, room, event, known)
    on_top = bool(event.prev_event_ids) and set(event.prev_event_ids) == room.extremities.keys()
    place = _Place(current_state_of(room), ()) if on_top else receipt.place(state_before)
    if not isinstance(place, _Place):
        return place
    before = place.before
    # 4. Passes authorisation rules based on the event's auth events, otherwise it is rejected.
    auth_events = receipt.auth_events()
    if isinstance(auth_events, Missing):
        return auth_events
    reason = receipt.fault_by_auth_events(auth_events)
    # 5. Passes authorisation rules based on the state before the event, otherwise it is rejected.
    reason = reason or receipt.fault_by_state(before.entries, auth_events)
    if reason is not None:
        return receipt.reject(before, reason)
    # 6. Passes authorisation rules based on the current state of the room, otherwise it is "soft failed".
    reason = None if on_top else receipt.fault_by_state(room.state, auth_events)
    # 7. Is validated by the policy server, if the room is using one, otherwise it is "soft failed".
    server = policy_server_of(rooms.events, transaction, room.room_id, room.state.get(POLICY))
    if reason is None and server is not None and not rooms.policies.recommends(server, event):
        reason = "the room's policy server does not recommend it"
    if reason is not None:
        return receipt.soft_fail(before, reason)
    if on_top:
        stored = accept_on_top(rooms, transaction, room, event, send_out=send_out, is_ours=False, known=known)
    else:
        stored = accept_beside(
            rooms, transaction, room, event, before, send_out=send_out, known=known, missing=place.missing
        )
    return Accepted(stored)


def _is_history(rooms: Rooms, transaction: Transaction, room: Room, event_id: str) -> bool:
    """Whether an outlier is in the room's state or authorises it, and so comes before what we know.

    To take it for the latest of its branch would set the state of then against that of now. Its place in the timeline
    it gets by backfill.
    """
    ids = set(room.state.values())
    return event_id in ids or event_id in auth_chain_of(rooms, transaction, ids)


class _Place:
    """Where an event is in the graph: the state before it, and those of its prev events that are not here."""

    def __init__(self, before: StateAt, missing: tuple[str, ...]) -> None:
        self.before = before
        self.missing = missing


class _Receipt:
    """One event being judged. `known`: what is stored of it."""

    def __init__(
        self, rooms: Rooms, transaction: Transaction, room: Room, event: Event, known: StoredEvent | None
    ) -> None:
        self._rooms = rooms
        self._transaction = transaction
        self._room = room
        self._event = event
        self._known = known

    def place(self, told: Mapping[StateKey, str] | None) -> _Place | Missing | Rejected:
        """The event's place. `told`: the state before it, as peers tell it."""
        prev_ids = self._event.prev_event_ids
        previous = self._rooms.events.get_many(self._transaction, prev_ids)
        if any(stored.event.room_id != self._room.room_id for stored in previous.values()):
            return Rejected("a prev event is in another room")
        here = [stored for stored in previous.values() if stored.state_group is not None]
        missing = tuple(
            event_id for event_id in prev_ids if event_id not in previous or previous[event_id].state_group is None
        )
        if not missing:
            return _Place(state_after_all(self._rooms, self._transaction, self._room, here) if here else EMPTY, ())
        if told is None:
            return Missing(missing, self._missing_auth())
        state = told_state(self._rooms, self._transaction, self._room, told)
        if isinstance(state, UnusableState):
            return Missing(missing, (*state.missing, *self._missing_auth()))
        # What peers tell may leave out a ban: where prev events are here, their state has its say too.
        groups: list[StateAt | int] = [state, *(stored.state_group for stored in here if stored.state_group)]
        rules = self._room.rules
        return _Place(self._rooms.states.resolved(self._transaction, self._room.room_id, rules, groups), missing)

    def auth_events(self) -> dict[str, StoredEvent] | Missing:
        missing = self._missing_auth()
        if missing:
            return Missing((), missing)
        return self._rooms.events.get_many(self._transaction, self._event.auth_event_ids)

    def _missing_auth(self) -> tuple[str, ...]:
        found = self._rooms.events.get_many(self._transaction, self._event.auth_event_ids)
        return tuple(event_id for event_id in self._event.auth_event_ids if event_id not in found)

    def fault_by_auth_events(self, auth_events: Mapping[str, StoredEvent]) -> str | None:
        known, event, rules = self._known, self._event, self._room.rules
        if known is not None and known.rejected is not None:
            return known.rejected
        create = self._rooms.cache.create_event(self._transaction, self._room)
        return auth_events_fault(event, [auth_events[each] for each in event.auth_event_ids], create, rules)

    def fault_by_state(self, state: Mapping[StateKey, str], auth_events: Mapping[str, StoredEvent]) -> str | None:
        """Why the state does not authorise the event, or None. By the same events it need not be asked twice."""
        event, rules = self._event, self._room.rules
        keys = auth_types_for_event(event, rules)
        ids = {state[key] for key in keys if key in state}
        if ids == auth_events.keys():
            return None
        create = self._rooms.cache.create_event(self._transaction, self._room)
        verdict = check_auth(event, events_of_state(self._rooms, self._transaction, state, keys), rules, create=create)
        return verdict.reason if isinstance(verdict, auth_rules.Rejected) else None

    def reject(self, before: StateAt, reason: str) -> Rejected:
        """Keep it as rejected; the state after it is the one before it."""
        group = None if before.group is None else before.group.id
        known = self._known
        if known is not None and group is None:
            return Rejected(reason)
        self._keep(StoredEvent(self._event, None, rejected=reason, state_group=group))
        return Rejected(reason)

    def soft_fail(self, before: StateAt, reason: str) -> SoftFailed:
        """Keep it for the graph: no client sees it, and it is no forward extremity."""
        event = self._event
        after = self._rooms.states.after(self._transaction, before, event)
        stored = StoredEvent(
            event,
            None,
            state_group=None if after.group is None else after.group.id,
            replaces_state=before.entries.get((event.type, event.state_key)) if event.state_key is not None else None,
            soft_failed=True,
        )
        self._keep(stored)
        return SoftFailed(stored, reason)

    def _keep(self, stored: StoredEvent) -> None:
        if self._known is not None:
            stored = replace(stored, redacted_by=self._known.redacted_by)
        keep(self._rooms, self._transaction, stored, self._known)
        arrived(self._transaction, stored.event_id)


def auth_events_fault(
    event: Event, auth_events: Iterable[StoredEvent], create: Event | None, rules: RoomRules
) -> str | None:
    """Why the event fails by its own auth events (step 4), or None. `create`: the room's create event, if known."""
    stored = list(auth_events)
    rejected = {each.event_id for each in stored if each.rejected is not None}
    events = [each.event for each in stored]
    verdict = check_auth_events_list(event, events, rules, rejected_event_ids=rejected)
    if isinstance(verdict, auth_rules.Rejected):
        return verdict.reason
    by_place = {(each.type, each.state_key): each for each in events if each.state_key is not None}
    named = by_place.get(CREATE)
    if event.type == CREATE[0]:
        create = create or event
        named = event
    if create is None:
        create = named
    if create is None:
        return "the room's m.room.create event is not known"
    if named is not None and named.event_id != create.event_id:
        return "it rests on another m.room.create event than the room"
    verdict = check_auth(event, by_place, rules, create=create)
    return verdict.reason if isinstance(verdict, auth_rules.Rejected) else None


def told_state(
    rooms: Rooms, transaction: Transaction, room: Room, told: Mapping[StateKey, str]
) -> StateAt | UnusableState:
    """A state that peers tell, as a group: without what was rejected here. It must have the room's create event."""
    facts = check_told_state(transaction, room.room_id, told)
    if isinstance(facts, UnusableState):
        return facts
    if facts.get(CREATE) != room.state.get(CREATE):
        return UnusableState(())
    return rooms.states.from_entries(transaction, room.room_id, facts, current_state_of(room))
