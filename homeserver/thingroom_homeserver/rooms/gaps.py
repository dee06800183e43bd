"""Gaps: where a room's history is not here yet, and what is put into them later.

A gap is a reserve of positions below the event that opened it (docs/decisions/0023-positions-and-gaps.md).
May import core and storage. Source: Server-Server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import Rejected as Forbidden
from thingroom_homeserver.core.auth_rules import auth_types_for_event, check_auth
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.graph_order import in_topological_order
from thingroom_homeserver.rooms.accept_event import index_history, keep
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.receive_event import auth_events_fault, told_state
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.state_at import events_of_state
from thingroom_homeserver.rooms.states import EMPTY, StateAt
from thingroom_homeserver.storage import gaps as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.gaps import Gap, find_gap, gaps_between
from thingroom_homeserver.storage.state_facts import UnusableState
from thingroom_homeserver.storage.state_groups import StateKey

__all__ = [
    "Gap",
    "Imported",
    "find_gap",
    "gaps_between",
    "import_history",
    "missing_states",
    "split_gap",
]


@dataclass(frozen=True, slots=True)
class Imported:
    """`count` events became part of the history, `rejected` were refused. gap: what is left of it, None: closed."""

    count: int
    rejected: int
    gap: Gap | None


def import_history(
    rooms: Rooms,
    transaction: Transaction,
    room_id: str,
    gap: Gap,
    events: Sequence[Event],
    state_before: Mapping[str, Mapping[StateKey, str]],
) -> Imported:
    """Put backfilled events into the gap; clients find them by paging back, nobody is notified.

    `events` have passed steps 1 to 3 and their auth events are stored; those that do not lead to `gap.missing` by
    prev_events, or whose state before is neither known by their prev events nor in `state_before` (by event id; all
    of its events stored), are left out. Only steps 4 and 5 apply. Some hundred events at a time.
    """
    room, current = rooms.cache.get(transaction, room_id), find_gap(transaction, gap.number)
    if room is None or current is None:
        return Imported(0, 0, current)
    history = _History(rooms, transaction, room, state_before)
    leading = _leading_to(current.missing, [event for event in events if event.room_id == room_id])
    judged = history.judge(_oldest_first(leading))
    position = current.next
    accepted = 0
    for stored, known in reversed(judged):  # the newest one takes the highest position
        if stored.rejected is not None:
            keep(rooms, transaction, stored, known)
        elif position > current.floor:
            keep(rooms, transaction, history.at(stored, position), known)
            position -= 1
            accepted += 1
    storage.set_next(transaction, gap.number, position)
    placed = [rooms.events.get(transaction, stored.event_id) for stored, _ in judged]
    here = [stored for stored in placed if stored is not None and stored.state_group is not None]
    for stored in here:
        if stored.position is not None:
            index_history(rooms, transaction, stored)
    followed = {event_id for stored in here for event_id in stored.event.prev_event_ids}
    storage.add_missing(transaction, gap.number, _not_here(rooms, transaction, followed))
    for stored in here:
        storage.arrived(transaction, stored.event_id)
    return Imported(
        accepted, sum(stored.rejected is not None for stored, _ in judged), find_gap(transaction, gap.number)
    )


def split_gap(
    rooms: Rooms, transaction: Transaction, gap: Gap, event: Event, state_before: Mapping[StateKey, str]
) -> Imported:
    """Put one event of an unknown place into the middle of the gap, so that it and what is around it can be read.

    What is missing above it is filled as before; below it there is a gap of its own. Else as `import_history`.
    """
    room, current = rooms.cache.get(transaction, gap.room_id), find_gap(transaction, gap.number)
    if room is None or current is None or current.next - current.floor < 3:
        return Imported(0, 0, current)
    history = _History(rooms, transaction, room, {event.event_id: state_before})
    for stored, known in history.judge([event]):
        if stored.rejected is not None:
            keep(rooms, transaction, stored, known)
            return Imported(0, 1, current)
        middle = (current.floor + current.next) // 2
        placed = history.at(stored, middle)
        keep(rooms, transaction, placed, known)
        storage.raise_floor(transaction, gap.number, middle)
        missing = _not_here(rooms, transaction, event.prev_event_ids)
        if missing:
            storage.insert_gap(transaction, gap.room_id, current.floor, middle - 1, missing)
        index_history(rooms, transaction, placed)
        storage.arrived(transaction, event.event_id)
        return Imported(1, 0, find_gap(transaction, gap.number))
    return Imported(0, 0, current)


def missing_states(rooms: Rooms, connection: Reader, events: Sequence[Event]) -> list[str]:
    """Those of the events (by id) whose state before must be asked of peers before `import_history` of them all.

    They are the ones which do not follow others of them, or what is here; mostly the oldest alone.
    """
    ids = {event.event_id for event in events}
    followed = {event_id for event in events for event_id in event.prev_event_ids}
    absent = set(_not_here(rooms, connection, followed - ids))
    return [event.event_id for event in events if not absent.isdisjoint(event.prev_event_ids)]


class _History:
    """One batch of backfilled events: the state before each, and what the rules say of it."""

    def __init__(
        self, rooms: Rooms, transaction: Transaction, room: Room, told: Mapping[str, Mapping[StateKey, str]]
    ) -> None:
        self._rooms = rooms
        self._transaction = transaction
        self._room = room
        self._told = told
        self._groups: dict[str, int] = {}

    def judge(self, oldest_first: Iterable[Event]) -> list[tuple[StoredEvent, StoredEvent | None]]:
        """Each event that is new as it is to be stored, without its position, and the outlier that it was."""
        judged = []
        for event in oldest_first:
            known = self._rooms.events.get(self._transaction, event.event_id)
            if known is not None and (known.state_group is not None or known.event.room_id != event.room_id):
                continue
            if known is not None and known.redacted_by is not None:
                event = known.event
            before = self._state_before(event)
            if before is None:
                continue
            stored = self._judged(event, before, known)
            if stored is None:
                continue
            if stored.state_group is not None:
                self._groups[event.event_id] = stored.state_group
            judged.append((stored, known))
        return judged

    @staticmethod
    def at(stored: StoredEvent, position: int) -> StoredEvent:
        return replace(stored, position=position)

    def _judged(self, event: Event, before: StateAt, known: StoredEvent | None) -> StoredEvent | None:
        rooms, transaction, rules = self._rooms, self._transaction, self._room.rules
        auth_events = rooms.events.get_many(transaction, event.auth_event_ids)
        if len(auth_events) < len(set(event.auth_event_ids)):
            return None
        redacted_by = None if known is None else known.redacted_by
        create = rooms.cache.create_event(transaction, self._room)
        # 4. Passes authorisation rules based on the event's auth events, otherwise it is rejected.
        cited = [auth_events[event_id] for event_id in event.auth_event_ids]
        reason = None if known is None else known.rejected
        reason = reason or auth_events_fault(event, cited, create, rules)
        # 5. Passes authorisation rules based on the state before the event, otherwise it is rejected.
        if reason is None:
            state = events_of_state(rooms, transaction, before.entries, auth_types_for_event(event, rules))
            verdict = check_auth(event, state, rules, create=create)
            reason = verdict.reason if isinstance(verdict, Forbidden) else None
        if reason is not None:
            group = None if before.group is None else before.group.id
            return StoredEvent(event, None, rejected=reason, redacted_by=redacted_by, state_group=group)
        after = rooms.states.after(transaction, before, event)
        return StoredEvent(
            event,
            None,
            redacted_by=redacted_by,
            state_group=None if after.group is None else after.group.id,
            replaces_state=before.entries.get((event.type, event.state_key)) if event.state_key is not None else None,
            backfilled=True,
        )

    def _state_before(self, event: Event) -> StateAt | None:
        rooms, transaction, room = self._rooms, self._transaction, self._room
        if not event.prev_event_ids:
            return EMPTY
        groups: list[StateAt | int] = []
        elsewhere = [event_id for event_id in event.prev_event_ids if event_id not in self._groups]
        previous = rooms.events.get_many(transaction, elsewhere)
        for event_id in event.prev_event_ids:
            if event_id in self._groups:
                groups.append(self._groups[event_id])
            elif event_id in previous and previous[event_id].event.room_id == room.room_id:
                group = previous[event_id].state_group
                if group is not None:
                    groups.append(group)
        if len(groups) < len(event.prev_event_ids):
            told = self._told.get(event.event_id)
            state = None if told is None else told_state(rooms, transaction, room, told)
            if state is None or isinstance(state, UnusableState):
                return None
            groups.append(state)
        return rooms.states.resolved(transaction, room.room_id, room.rules, groups)


def _leading_to(missing: Iterable[str], events: Iterable[Event]) -> list[Event]:
    """Those of the events that can be reached from `missing` by prev_events."""
    by_id = {event.event_id: event for event in events}
    reached: dict[str, Event] = {}
    pending = list(missing)
    while pending:
        event_id = pending.pop()
        event = by_id.get(event_id)
        if event is not None and event_id not in reached:
            reached[event_id] = event
            pending += event.prev_event_ids
    return list(reached.values())


def _oldest_first(events: Sequence[Event]) -> list[Event]:
    """Each after those that it follows, otherwise by depth and time. What is in a cycle is left out."""
    return in_topological_order(
        events,
        lambda event: event.prev_event_ids,
        lambda event: (event.depth, event.origin_server_ts, event.event_id),
    )


def _not_here(rooms: Rooms, connection: Reader, event_ids: Iterable[str]) -> list[str]:
    """Those of the events that have no place in the graph here."""
    ids = sorted(set(event_ids))
    found = rooms.events.get_many(connection, ids)
    return [event_id for event_id in ids if event_id not in found or found[event_id].state_group is None]
