"""States of rooms by group: read once, resolved where the graph forks, and remembered.

A group never changes, so whole states and resolutions may be kept in memory; what an undone write made is taken out.
May import core and storage. Source: room versions, "State resolution". Next: state_at.py, which asks for events.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import RoomRules
from thingroom_homeserver.core.state_resolution import StateMap, resolve
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.event_auth import AuthGraph
from thingroom_homeserver.storage.events import EventStore
from thingroom_homeserver.storage.state_groups import (
    StateGroup,
    StateKey,
    add_group,
    load_group,
    state_of_group,
)

CACHED_ENTRIES = 60_000
CACHED_RESOLUTIONS = 2_000


@dataclass(frozen=True, slots=True)
class StateAt:
    """One state of a room. The empty one, before the create event, has no group. `entries` must not be changed."""

    group: StateGroup | None
    entries: Mapping[StateKey, str]


EMPTY = StateAt(None, {})


class States:
    """The states of all rooms. Used on the event loop only."""

    def __init__(self, events: EventStore) -> None:
        self.auth_graph = AuthGraph()
        self._events = events
        self._states: OrderedDict[int, StateAt] = OrderedDict()
        self._entries = 0
        self._resolutions: OrderedDict[frozenset[int], int] = OrderedDict()

    def of_group(self, connection: Reader, group_id: int) -> StateAt:
        """The state of a group."""
        found = self._states.get(group_id)
        if found is None:
            found = StateAt(load_group(connection, group_id), state_of_group(connection, group_id))
            self._remember(group_id, found)
        else:
            self._states.move_to_end(group_id)
        return found

    def after(self, transaction: Transaction, before: StateAt, event: Event) -> StateAt:
        """The state after an accepted event."""
        if event.state_key is None:
            return before
        key = (event.type, event.state_key)
        return self.changed(transaction, event.room_id, before, {key: event.event_id}, ())

    def changed(
        self,
        transaction: Transaction,
        room_id: str,
        base: StateAt,
        changed: Mapping[StateKey, str],
        removed: Collection[StateKey],
    ) -> StateAt:
        """A new group for `base` with `changed` replaced and `removed` taken away."""
        entries = {**base.entries, **changed}
        for key in removed:
            del entries[key]
        return self.noted(transaction, add_group(transaction, room_id, base.group, changed, entries, removed), entries)

    def noted(self, transaction: Transaction, group: StateGroup, entries: Mapping[StateKey, str]) -> StateAt:
        """Remember a group that this write made."""
        state = StateAt(group, entries)
        self._remember(group.id, state)
        transaction.after_rollback(lambda: self._forget(group.id))
        return state

    def from_entries(
        self, transaction: Transaction, room_id: str, entries: Mapping[StateKey, str], near: StateAt
    ) -> StateAt:
        """A group with these entries, kept as the difference from a similar state `near`."""
        changed, removed = difference(near.entries, entries)
        if not changed and not removed and near.group is not None:
            return near
        return self.changed(transaction, room_id, near, changed, removed)

    def resolved(
        self, transaction: Transaction, room_id: str, rules: RoomRules, groups: Iterable[StateAt | int]
    ) -> StateAt:
        """The resolution of the states of several groups; a state may be given where it is at hand."""
        given: dict[int, StateAt] = {}
        plain: set[int] = set()
        for each in groups:
            if isinstance(each, int):
                plain.add(each)
            elif each.group is not None:
                given[each.group.id] = each
        ids = frozenset(plain | given.keys())
        if not ids:
            return EMPTY
        if len(ids) == 1:
            only = next(iter(ids))
            return given[only] if only in given else self.of_group(transaction, only)
        known = self._resolutions.get(ids)
        if known is not None:
            self._resolutions.move_to_end(ids)
            return self.of_group(transaction, known)
        states = [given[each] if each in given else self.of_group(transaction, each) for each in sorted(ids)]
        told = [state.entries for state in states]
        entries = resolve_states(self._events, transaction, rules, told, self.auth_graph)
        state = self._kept_resolution(transaction, room_id, states, entries)
        assert state.group is not None
        self._resolutions[ids] = state.group.id
        transaction.after_rollback(lambda: self._forget_resolution(ids))
        if len(self._resolutions) > CACHED_RESOLUTIONS:
            self._resolutions.popitem(last=False)
        return state

    def _kept_resolution(
        self, transaction: Transaction, room_id: str, states: list[StateAt], entries: dict[StateKey, str]
    ) -> StateAt:
        """The group of a resolution: one of those resolved if it is the same, else the smallest difference from one."""
        best: tuple[int, StateAt, dict[StateKey, str], list[StateKey]] | None = None
        for state in states:
            changed, removed = difference(state.entries, entries)
            size = len(changed) + len(removed)
            if size == 0:
                return state
            if best is None or size < best[0]:
                best = (size, state, changed, removed)
        assert best is not None
        _, base, changed, removed = best
        return self.noted(transaction, add_group(transaction, room_id, base.group, changed, entries, removed), entries)

    def _remember(self, group_id: int, state: StateAt) -> None:
        self._forget(group_id)
        self._states[group_id] = state
        self._entries += len(state.entries)
        while self._entries > CACHED_ENTRIES and len(self._states) > 1:
            _, oldest = self._states.popitem(last=False)
            self._entries -= len(oldest.entries)

    def _forget_resolution(self, ids: frozenset[int]) -> None:
        self._resolutions.pop(ids, None)

    def _forget(self, group_id: int) -> None:
        gone = self._states.pop(group_id, None)
        if gone is not None:
            self._entries -= len(gone.entries)


def resolve_states(
    events: EventStore,
    connection: Reader,
    rules: RoomRules,
    states: Sequence[Mapping[StateKey, str]],
    auth_graph: AuthGraph | None = None,
) -> dict[StateKey, str]:
    """State resolution over what is stored."""
    graph = auth_graph or AuthGraph()
    rejected: set[str] = set()

    def fetch(event_id: str) -> Event | None:
        stored = events.get(connection, event_id)
        if stored is None:
            return None
        if stored.rejected is not None:
            rejected.add(event_id)
        return stored.event

    return resolve(
        rules,
        states,
        fetch,
        lambda event_ids: graph.chain(connection, event_ids),
        is_rejected=lambda event_id: event_id in rejected,
    )


def difference(before: StateMap, after: StateMap) -> tuple[dict[StateKey, str], list[StateKey]]:
    """What must be set in `before`, and what taken away, to make it `after`."""
    changed = {key: event_id for key, event_id in after.items() if before.get(key) != event_id}
    if len(before) + sum(key not in before for key in changed) == len(after):
        return changed, []
    return changed, [key for key in before if key not in after]
