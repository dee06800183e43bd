"""The current state of each room, and when each entry of it changed.

`current_state` is the state after all forward extremities (resolved where they differ). `state_changes` numbers every
change of it by stream position, so the state at any position is the current one with later changes undone.
May import thingroom_common only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

StateKey = tuple[str, str]

MEMBER = "m.room.member"


@dataclass(frozen=True, slots=True)
class StateChange:
    """One entry of a room's state over a span: what it was before the span and after it. None: not set."""

    before: str | None
    after: str | None


def load_current_state(connection: Reader, room_id: str) -> dict[StateKey, str]:
    """All of it: event id by (type, state key)."""
    rows = connection.execute("SELECT type, state_key, event_id FROM current_state WHERE room_id = ?", (room_id,))
    return {(row[0], row[1]): row[2] for row in rows}


def load_state_without_members(connection: Reader, room_id: str) -> dict[StateKey, str]:
    """The current state but m.room.member, however many members there are."""
    rows = connection.execute(
        "SELECT type, state_key, event_id FROM current_state WHERE room_id = ? AND type < ? UNION ALL "
        "SELECT type, state_key, event_id FROM current_state WHERE room_id = ? AND type > ?",
        (room_id, MEMBER, room_id, MEMBER),
    )
    return {(row[0], row[1]): row[2] for row in rows}


def current_entry(connection: Reader, room_id: str, event_type: str, state_key: str) -> str | None:
    row = connection.execute(
        "SELECT event_id FROM current_state WHERE room_id = ? AND type = ? AND state_key = ?",
        (room_id, event_type, state_key),
    ).fetchone()
    return None if row is None else row[0]


def entries_of_type(connection: Reader, room_id: str, event_type: str) -> list[str]:
    """The event ids of all current entries of one type."""
    rows = connection.execute(
        "SELECT event_id FROM current_state WHERE room_id = ? AND type = ?", (room_id, event_type)
    )
    return [row[0] for row in rows]


def set_entry(
    transaction: Transaction, room_id: str, position: int, key: StateKey, event_id: str, previous: str | None
) -> None:
    """From `position` on, `key` is `event_id` instead of `previous`."""
    transaction.execute("INSERT OR REPLACE INTO current_state VALUES (?, ?, ?, ?)", (room_id, *key, event_id))
    transaction.execute(
        "INSERT INTO state_changes VALUES (?, ?, ?, ?, ?, ?)", (room_id, position, *key, event_id, previous)
    )


def remove_entry(transaction: Transaction, room_id: str, position: int, key: StateKey, previous: str) -> None:
    """From `position` on, `key` is not set any more."""
    transaction.execute("DELETE FROM current_state WHERE room_id = ? AND type = ? AND state_key = ?", (room_id, *key))
    transaction.execute("INSERT INTO state_changes VALUES (?, ?, ?, ?, NULL, ?)", (room_id, position, *key, previous))


def fill_from_group(transaction: Transaction, room_id: str, state_group: int) -> None:
    """Make a snapshot group the current state of a room that has none. No change is noted: it began so."""
    transaction.execute(
        "INSERT INTO current_state SELECT ?1, type, state_key, event_id FROM state_group_deltas WHERE state_group = ?2",
        (room_id, state_group),
    )


def changes_between(connection: Reader, room_id: str, after: int, upto: int) -> dict[StateKey, StateChange]:
    """The entries that changed at after < position <= upto: what each was at `after` and is at `upto`."""
    rows = connection.execute(
        "SELECT type, state_key, event_id, previous_event_id FROM state_changes "
        "WHERE room_id = ? AND position > ? AND position <= ? ORDER BY position",
        (room_id, after, upto),
    )
    changes: dict[StateKey, StateChange] = {}
    for row in rows:
        key = (row[0], row[1])
        earlier = changes.get(key)
        changes[key] = StateChange(row[3] if earlier is None else earlier.before, row[2])
    return changes


def members_changed_at(connection: Reader, room_id: str, position: int) -> dict[str, str | None]:
    """By user, the member event that became current with the change at `position`; None: the entry was taken away."""
    rows = connection.execute(
        "SELECT state_key, event_id FROM state_changes WHERE room_id = ? AND position = ? AND type = ?",
        (room_id, position, MEMBER),
    )
    return {row[0]: row[1] for row in rows}


def rewind(state: dict[StateKey, str], changes: Mapping[StateKey, StateChange]) -> dict[StateKey, str]:
    """`state` as it was before `changes`."""
    result = dict(state)
    for key, change in changes.items():
        if change.before is None:
            result.pop(key, None)
        else:
            result[key] = change.before
    return result


def changes_after(connection: Reader, room_id: str, position: int) -> dict[StateKey, StateChange]:
    """The entries that changed after `position`, each with its first change only, however many there were."""
    rows = connection.execute(
        "SELECT type, state_key, event_id, previous_event_id, MIN(position) FROM state_changes "
        "WHERE room_id = ? AND position > ? GROUP BY type, state_key",
        (room_id, position),
    )
    return {(row[0], row[1]): StateChange(row[3], row[2]) for row in rows}
