"""State after an event, kept as chains of differences: a group is another group with some entries replaced or gone.

A chain ends in a full snapshot, after 64 steps or (in rooms with much state) a sixteenth of the state's size, so reads
stay bounded and a snapshot's cost is spread. Groups never change once written. May import thingroom_common only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

StateKey = tuple[str, str]

MIN_CHAIN = 64
MAX_CHAIN = 512

_WHOLE_STATE = """
WITH RECURSIVE chain (id, step) AS (
    SELECT ?, 0 UNION ALL
    SELECT previous, step + 1 FROM chain JOIN state_groups USING (id) WHERE previous IS NOT NULL
)
SELECT type, state_key, event_id FROM chain JOIN state_group_deltas ON state_group = id ORDER BY step DESC
"""
_REMOVED = ""
"""Stands in a difference for an entry that is taken away."""
_ONE_ENTRY = """
WITH RECURSIVE chain (id, step) AS (
    SELECT ?, 0 UNION ALL
    SELECT previous, step + 1 FROM chain JOIN state_groups USING (id) WHERE previous IS NOT NULL
)
SELECT event_id FROM chain JOIN state_group_deltas ON state_group = id
WHERE type = ? AND state_key = ? ORDER BY step LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class StateGroup:
    """A group and how many differences lie between it and its snapshot."""

    id: int
    distance: int


def load_group(connection: Reader, group_id: int) -> StateGroup:
    row = connection.execute("SELECT distance FROM state_groups WHERE id = ?", (group_id,)).fetchone()
    return StateGroup(group_id, row[0])


def add_group(
    transaction: Transaction,
    room_id: str,
    previous: StateGroup | None,
    changed: Mapping[StateKey, str],
    full_state: Mapping[StateKey, str],
    removed: Collection[StateKey] = (),
) -> StateGroup:
    """A new group: `previous` with `changed` replaced and `removed` taken away, which makes `full_state`."""
    limit = min(max(MIN_CHAIN, len(full_state) // 16), MAX_CHAIN)
    if previous is None or previous.distance + 1 >= limit:
        group = _insert_group(transaction, room_id, None, 0)
        add_entries(transaction, group, full_state)
        return group
    group = _insert_group(transaction, room_id, previous.id, previous.distance + 1)
    add_entries(transaction, group, changed)
    if removed:
        add_entries(transaction, group, dict.fromkeys(removed, _REMOVED))
    return group


def begin_snapshot(transaction: Transaction, room_id: str) -> StateGroup:
    """A new group without entries, to be filled by `add_entries` before anything refers to it."""
    return _insert_group(transaction, room_id, None, 0)


def add_entries(transaction: Transaction, group: StateGroup, entries: Mapping[StateKey, str]) -> None:
    """Write entries of a group that nothing refers to yet."""
    transaction.executemany(
        "INSERT INTO state_group_deltas VALUES (?, ?, ?, ?)",
        [(group.id, event_type, state_key, event_id) for (event_type, state_key), event_id in entries.items()],
    )


def _insert_group(transaction: Transaction, room_id: str, previous_id: int | None, distance: int) -> StateGroup:
    row = transaction.execute(
        "INSERT INTO state_groups (room_id, previous, distance) VALUES (?, ?, ?) RETURNING id",
        (room_id, previous_id, distance),
    ).fetchone()
    return StateGroup(row[0], distance)


def state_of_group(connection: Reader, group_id: int) -> dict[StateKey, str]:
    """The whole state: event id by (type, state key)."""
    rows = connection.execute(
        _WHOLE_STATE,
        (group_id,),
    )
    rows.row_factory = None  # plain tuples: there may be thousands
    state = {(event_type, state_key): event_id for event_type, state_key, event_id in rows}
    if _REMOVED in state.values():
        return {key: event_id for key, event_id in state.items() if event_id != _REMOVED}
    return state


def entries_of_group(connection: Reader, group_id: int, keys: Iterable[StateKey]) -> dict[StateKey, str]:
    """Those of `keys` that are set in the group's state."""
    found: dict[StateKey, str] = {}
    for event_type, state_key in keys:
        row = connection.execute(
            _ONE_ENTRY,
            (group_id, event_type, state_key),
        ).fetchone()
        if row is not None and row[0] != _REMOVED:
            found[event_type, state_key] = row[0]
    return found
