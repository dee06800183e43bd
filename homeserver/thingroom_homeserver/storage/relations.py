"""Which events relate to which (m.relates_to), and the threads of each room.

Functions over a connection or a transaction. May import thingroom_common only. A relation counts only within a room,
so every question names one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

THREAD = "m.thread"


@dataclass(frozen=True, slots=True)
class Relation:
    """An event that relates to `parent_id`."""

    parent_id: str
    event_id: str
    rel_type: str
    room_id: str
    sender: str
    position: int


def insert_relation(transaction: Transaction, relation: Relation) -> None:
    """Note the relation, and the thread that it makes or continues."""
    transaction.execute(
        "INSERT INTO event_relations (parent_id, event_id, rel_type, position, room_id, sender) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            relation.parent_id,
            relation.event_id,
            relation.rel_type,
            relation.position,
            relation.room_id,
            relation.sender,
        ),
    )
    if relation.rel_type == THREAD:
        transaction.execute(
            "INSERT INTO threads VALUES (?, ?, ?) ON CONFLICT (room_id, root_id) "
            "DO UPDATE SET latest = MAX(latest, excluded.latest)",
            (relation.room_id, relation.parent_id, relation.position),
        )


def delete_relation(transaction: Transaction, relation: Relation) -> None:
    """Forget the relation: its event was redacted. A thread without events is none."""
    transaction.execute(
        "DELETE FROM event_relations WHERE parent_id = ? AND position = ?", (relation.parent_id, relation.position)
    )
    if relation.rel_type != THREAD:
        return
    row = transaction.execute(
        "SELECT MAX(position) FROM event_relations WHERE parent_id = ? AND room_id = ? AND rel_type = ?",
        (relation.parent_id, relation.room_id, THREAD),
    ).fetchone()
    key = (relation.room_id, relation.parent_id)
    if row[0] is None:
        transaction.execute("DELETE FROM threads WHERE room_id = ? AND root_id = ?", key)
    else:
        transaction.execute("UPDATE threads SET latest = ? WHERE room_id = ? AND root_id = ?", (row[0], *key))


def related_event_ids(
    connection: Reader, parent_id: str, room_id: str, *, above: int, upto: int, limit: int, backwards: bool
) -> list[str]:
    """Events of the room that relate to `parent_id` at above < position <= upto, newest first if `backwards`."""
    order = "DESC" if backwards else "ASC"
    rows = connection.execute(
        f"SELECT event_id FROM event_relations WHERE parent_id = ? AND position > ? AND position <= ? "  # noqa: S608 - constant
        f"AND room_id = ? ORDER BY position {order} LIMIT ?",
        (parent_id, above, upto, room_id, limit),
    )
    return [row[0] for row in rows]


def parents_of_type(connection: Reader, parents: Collection[tuple[str, str]], rel_types: Collection[str]) -> set[str]:
    """Those of the events, given as (event id, room id), that others of their room relate to in one of these ways.

    One look-up for each, however many relations it has.
    """
    rows = connection.execute(
        "SELECT value ->> 0 FROM json_each(?) WHERE EXISTS (SELECT 1 FROM event_relations "  # noqa: S608 - placeholders
        "WHERE parent_id = value ->> 0 AND room_id = value ->> 1 "
        f"AND rel_type IN ({','.join('?' * len(rel_types))}))",
        (orjson.dumps(list(parents)).decode(), *rel_types),
    )
    return {row[0] for row in rows}


def children(
    connection: Reader, parent_id: str, room_id: str, rel_type: str, *, upto: int, limit: int, sender: str | None = None
) -> list[Relation]:
    """The last `limit` relations of that type at position <= upto, newest first; of one sender only if given."""
    of_sender = "" if sender is None else "AND sender = ? "
    values = (parent_id, room_id, rel_type, upto, *(() if sender is None else (sender,)), limit)
    rows = connection.execute(
        "SELECT parent_id, event_id, rel_type, room_id, sender, position FROM event_relations "  # noqa: S608 - constants
        f"WHERE parent_id = ? AND room_id = ? AND rel_type = ? AND position <= ? {of_sender}"
        "ORDER BY position DESC LIMIT ?",
        values,
    )
    return [Relation(*row) for row in rows]


def count_children(connection: Reader, parent_id: str, room_id: str, rel_type: str, upto: int) -> dict[str, int]:
    """How many relations of that type there are, by sender."""
    rows = connection.execute(
        "SELECT sender, COUNT(*) FROM event_relations WHERE parent_id = ? AND room_id = ? AND rel_type = ? "
        "AND position <= ? GROUP BY sender",
        (parent_id, room_id, rel_type, upto),
    )
    return {row[0]: row[1] for row in rows}


def threads_of_room(connection: Reader, room_id: str, *, upto: int, limit: int) -> list[tuple[str, int]]:
    """(root, position of its last event) of the threads whose last event is at or before `upto`, newest first."""
    rows = connection.execute(
        "SELECT root_id, latest FROM threads WHERE room_id = ? AND latest <= ? ORDER BY latest DESC LIMIT ?",
        (room_id, upto, limit),
    )
    return [(row[0], row[1]) for row in rows]
