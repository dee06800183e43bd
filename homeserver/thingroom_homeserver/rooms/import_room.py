"""Taking up a room by the state that another server tells: after a join over federation.

May import core and storage. Source: Server-Server API, "Joining Rooms". Next: gaps.py, since its history is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import Rejected as Forbidden
from thingroom_homeserver.core.auth_rules import auth_types_for_event, check_auth
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.rooms.accept_event import accept_on_top, open_gap
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.current_state import LocalChange, set_current, tell_after_commit
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Missing, Received, Rejected
from thingroom_homeserver.rooms.receive_event import CREATE, auth_events_fault, receive_event
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.state_at import current_state_of, events_of_state, state_after_all
from thingroom_homeserver.rooms.states import StateAt
from thingroom_homeserver.storage.current_state import MEMBER, fill_from_group
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import (
    MembershipChange,
    add_remote_members,
    enter_with_servers,
    has_joined_member,
    membership_of,
    set_membership,
)
from thingroom_homeserver.storage.positions import next_position
from thingroom_homeserver.storage.rooms import room_row, set_extremities, set_room_creator, set_room_state_group
from thingroom_homeserver.storage.state_facts import UnusableState, check_told_state
from thingroom_homeserver.storage.state_groups import StateGroup, StateKey, add_entries, begin_snapshot

ENTRIES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PreparedState:
    """A state that was checked and written ahead. `entries`: without what was rejected here."""

    group: StateGroup
    entries: Mapping[StateKey, str]


def import_joined_room(
    rooms: Rooms,
    transaction: Transaction,
    *,
    room_version: str,
    membership_event: Event,
    state: Mapping[StateKey, str],
    prepared: PreparedState | None = None,
) -> Received:
    """Begin the room (again) with the local user's membership event on top of `state`, the state before it.

    The events of `state` and their auth chain must be stored by `store_outliers` (else Missing). Its history begins
    with a gap. Of a room that this server was in before, the new state takes the place of the old; if local users are
    in it still, the event is received like any other. `prepared`: what `prepare_import` answered for this state.
    """
    event, room_id = membership_event, membership_event.room_id
    if has_joined_member(transaction, room_id, local=True):
        return receive_event(rooms, transaction, event, state_before=state)
    facts = check_told_state(transaction, room_id, state) if prepared is None else prepared.entries
    if isinstance(facts, UnusableState):
        return Missing((), facts.missing) if facts.missing else Rejected("what was told is no state of the room")
    fault = _fault(rooms, transaction, event, facts, room_version)
    if fault is not None:
        return fault
    room = rooms.cache.get(transaction, room_id)
    known = rooms.events.get(transaction, event.event_id)
    ends: list[StoredEvent] = []
    if room is None:
        room = _begin(rooms, transaction, room_version, event, facts, prepared)
    else:
        ends = _not_yet_known(rooms, transaction, room, event, facts)
        _begin_again(rooms, transaction, room, facts, prepared)
    previous = rooms.events.get_many(transaction, event.prev_event_ids)
    here = {event_id for event_id, stored in previous.items() if stored.state_group is not None}
    missing = [event_id for event_id in event.prev_event_ids if event_id not in here]
    if missing:
        open_gap(transaction, room_id, missing)
    stored = accept_on_top(rooms, transaction, room, event, is_ours=False, known=known)
    if ends:
        _keep_ends(rooms, transaction, room, ends)
    return Accepted(stored)


async def prepare_import(rooms: Rooms, room_id: str, state: Mapping[StateKey, str]) -> PreparedState | None:
    """Check and write what is large about `state` ahead, in small steps, so that `import_joined_room` of it is short.

    Worth its while from some hundred entries on. The events of the state must be stored and the room noted. None: it
    cannot be used; `import_joined_room` says why. What was written is harmless if the import never comes: nobody
    here is in the room.
    """

    def begin(transaction: Transaction) -> tuple[StateGroup, bool]:
        row = room_row(transaction, room_id)
        return begin_snapshot(transaction, room_id), row is None or row.state_group is None

    group, is_new = await rooms.database.write(begin)
    entries: dict[StateKey, str] = {}
    rest = iter(sorted(state.items()))

    def write(transaction: Transaction, some: dict[StateKey, str]) -> bool:
        facts = check_told_state(transaction, room_id, some)
        if isinstance(facts, UnusableState):
            return False
        add_entries(transaction, group, facts)
        if is_new:
            add_remote_members(transaction, room_id, _members_of(facts), rooms.server_name)
        entries.update(facts)
        return True

    while some := dict(islice(rest, ENTRIES_AT_ONCE)):
        if not await rooms.database.write(partial(write, some=some)):
            return None
        await asyncio.sleep(0)
    return PreparedState(group, entries)


def _fault(
    rooms: Rooms, transaction: Transaction, event: Event, state: Mapping[StateKey, str], room_version: str
) -> Rejected | Missing | None:
    """Why the membership event, or the room, cannot be taken."""
    rules = ROOM_RULES[room_version]
    row = room_row(transaction, event.room_id)
    if row is not None and row.version != room_version:
        return Rejected("the room has another version")
    create_id = state.get(CREATE)
    create = None if create_id is None else rooms.events.get(transaction, create_id)
    if create is None:
        return Rejected("the state has no m.room.create event")
    if create.event.content.get("room_version", "1") != room_version:
        return Rejected("the m.room.create event is of another room version")
    cited = rooms.events.get_many(transaction, event.auth_event_ids)
    missing = tuple(event_id for event_id in event.auth_event_ids if event_id not in cited)
    if missing:
        return Missing((), missing)
    # 4. Passes authorisation rules based on the event's auth events, otherwise it is rejected.
    auth_events = [cited[event_id] for event_id in event.auth_event_ids]
    reason = auth_events_fault(event, auth_events, create.event, rules)
    if reason is not None:
        return Rejected(reason)
    # 5. Passes authorisation rules based on the state before the event, otherwise it is rejected.
    authorising = events_of_state(rooms, transaction, state, auth_types_for_event(event, rules))
    verdict = check_auth(event, authorising, rules, create=create.event)
    return Rejected(verdict.reason) if isinstance(verdict, Forbidden) else None


def _begin(
    rooms: Rooms,
    transaction: Transaction,
    room_version: str,
    event: Event,
    state: Mapping[StateKey, str],
    prepared: PreparedState | None,
) -> Room:
    """The room as it was before the event, when nobody here was in it."""
    room_id = event.room_id
    create = rooms.events.get(transaction, state[CREATE])
    assert create is not None
    set_room_creator(transaction, room_id, create.event.sender)
    if prepared is None:
        group = begin_snapshot(transaction, room_id)
        add_entries(transaction, group, state)
        add_remote_members(transaction, room_id, _members_of(state), rooms.server_name)
    else:
        group = prepared.group
    set_room_state_group(transaction, room_id, group.id)
    fill_from_group(transaction, room_id, group.id)
    room = Room(room_id, ROOM_RULES[room_version], dict(state), group, {})
    rooms.cache.add(transaction, room)
    position = next_position(transaction)
    enter_with_servers(transaction, room_id, position)
    local = [key[1] for key in state if key[0] == MEMBER and rooms.is_local(key[1])]
    changes = [
        change for user_id in local if (change := _note_local(rooms, transaction, room, position, user_id)) is not None
    ]
    if rooms.watcher is not None:
        rooms.watcher.members_changed(transaction, room_id)
    tell_after_commit(rooms, transaction, room_id, position, changes)
    return room


def _note_local(rooms: Rooms, transaction: Transaction, room: Room, position: int, user_id: str) -> LocalChange | None:
    """What the state says of a local user, unless it is known already: an invite that came before."""
    event_id = room.state[MEMBER, user_id]
    held = membership_of(transaction, room.room_id, user_id)
    if held is not None and held.event_id == event_id:
        return None
    stored = rooms.events.get(transaction, event_id)
    assert stored is not None
    membership = str(stored.event.content.get("membership"))
    previous = None if held is None else held.membership
    change = MembershipChange(room.room_id, user_id, position, event_id, membership, previous)
    set_membership(transaction, change, is_local=True)
    return LocalChange(user_id, membership == "join")


def _begin_again(
    rooms: Rooms,
    transaction: Transaction,
    room: Room,
    state: Mapping[StateKey, str],
    prepared: PreparedState | None,
) -> None:
    """Put the new state in place of the one that this server knew when its last user left."""
    if prepared is None:
        after = rooms.states.from_entries(transaction, room.room_id, state, current_state_of(room))
    else:
        after = StateAt(prepared.group, prepared.entries)
    position = next_position(transaction)
    changes = set_current(rooms, transaction, room, position, after)
    set_extremities(transaction, room.room_id, list(room.extremities), ())
    room.extremities.clear()
    tell_after_commit(rooms, transaction, room.room_id, position, changes)


def _not_yet_known(
    rooms: Rooms, transaction: Transaction, room: Room, event: Event, told: Mapping[StateKey, str]
) -> list[StoredEvent]:
    """Member events of other local users that those who told the state had not heard of: it has what they replaced."""
    keys = [key for key in told if key[0] == MEMBER and rooms.is_local(key[1]) and key[1] != event.state_key]
    ours = {key: room.state[key] for key in keys if key in room.state and room.state[key] != told[key]}
    found = rooms.events.get_many(transaction, ours.values())
    stored = {key: found[event_id] for key, event_id in ours.items() if event_id in found}
    return [each for key, each in stored.items() if each.state_group is not None and each.replaces_state == told[key]]


def _keep_ends(rooms: Rooms, transaction: Transaction, room: Room, ends: Sequence[StoredEvent]) -> None:
    """These events are ends of the graph beside the join: a leave is not undone by a state that is older than it."""
    position = next_position(transaction)
    room.extremities.update((each.event_id, each.event.depth) for each in ends)
    set_extremities(transaction, room.room_id, (), [each.event_id for each in ends])
    found = rooms.events.get_many(transaction, room.extremities)
    now = state_after_all(rooms, transaction, room, [*found.values()])
    changes = set_current(rooms, transaction, room, position, now)
    tell_after_commit(rooms, transaction, room.room_id, position, changes)


def _members_of(state: Mapping[StateKey, str]) -> dict[str, str]:
    return {key[1]: event_id for key, event_id in state.items() if key[0] == MEMBER}
