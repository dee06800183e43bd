"""The rooms this server knows: version, creator, whether the directory lists them, current state group.

Functions over a connection or a transaction. May import thingroom_common only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class RoomRow:
    """One room; `state_group` is the group of its current state, None before the first event.

    It stays None for a room of which only outliers are known, such as one that a user here is invited to.
    """

    room_id: str
    version: str
    creator: str
    is_public: bool
    state_group: int | None


def insert_room(transaction: Transaction, room_id: str, version: str, creator: str) -> None:
    """A new room, not in the directory and without state."""
    transaction.execute("INSERT INTO rooms (room_id, version, creator) VALUES (?, ?, ?)", (room_id, version, creator))


def set_room_creator(transaction: Transaction, room_id: str, creator: str) -> None:
    transaction.execute("UPDATE rooms SET creator = ? WHERE room_id = ?", (creator, room_id))


def room_row(connection: Reader, room_id: str) -> RoomRow | None:
    row = connection.execute(
        "SELECT version, creator, is_public, state_group FROM rooms WHERE room_id = ?", (room_id,)
    ).fetchone()
    return None if row is None else RoomRow(room_id, row[0], row[1], bool(row[2]), row[3])


def is_known(connection: Reader, room_id: str) -> bool:
    """Whether this server has, or once had, the state of the room."""
    row = connection.execute("SELECT 1 FROM rooms WHERE room_id = ? AND state_group IS NOT NULL", (room_id,)).fetchone()
    return row is not None


def room_version(connection: Reader, room_id: str) -> str | None:
    row = connection.execute("SELECT version FROM rooms WHERE room_id = ?", (room_id,)).fetchone()
    return None if row is None else row[0]


def set_room_state_group(transaction: Transaction, room_id: str, state_group: int) -> None:
    transaction.execute("UPDATE rooms SET state_group = ? WHERE room_id = ?", (state_group, room_id))


def set_room_public(transaction: Transaction, room_id: str, is_public: bool) -> None:
    """List the room in the published directory, or take it out."""
    transaction.execute("UPDATE rooms SET is_public = ? WHERE room_id = ?", (int(is_public), room_id))


def public_room_ids(connection: Reader) -> list[str]:
    return [row[0] for row in connection.execute("SELECT room_id FROM rooms WHERE is_public = 1 ORDER BY room_id")]


def forward_extremities(connection: Reader, room_id: str) -> list[str]:
    """The events that no other event follows: what the next event names as prev_events."""
    rows = connection.execute("SELECT event_id FROM forward_extremities WHERE room_id = ?", (room_id,))
    return [row[0] for row in rows]


def advance_extremities(transaction: Transaction, room_id: str, event_id: str, replaced: tuple[str, ...]) -> None:
    """`event_id` is now a forward extremity; those of `replaced` that were, are no longer."""
    if len(replaced) == 1:
        changed = transaction.execute(
            "UPDATE forward_extremities SET event_id = ? WHERE room_id = ? AND event_id = ?",
            (event_id, room_id, replaced[0]),
        )
        if changed.rowcount:
            return
    elif replaced:
        transaction.executemany(
            "DELETE FROM forward_extremities WHERE room_id = ? AND event_id = ?",
            [(room_id, previous) for previous in replaced],
        )
    transaction.execute("INSERT INTO forward_extremities VALUES (?, ?)", (room_id, event_id))


def set_extremities(transaction: Transaction, room_id: str, gone: Iterable[str], added: Iterable[str]) -> None:
    """Some events are no longer forward extremities, others have become so."""
    transaction.executemany(
        "DELETE FROM forward_extremities WHERE room_id = ? AND event_id = ?", [(room_id, each) for each in gone]
    )
    transaction.executemany("INSERT INTO forward_extremities VALUES (?, ?)", [(room_id, each) for each in added])


def followers(connection: Reader, event_id: str) -> list[tuple[str, bool]]:
    """The events with a place in the graph that name this one as a prev event, and whether each is in the stream."""
    rows = connection.execute(
        "SELECT e.event_id, e.position IS NOT NULL FROM event_edges x JOIN events e ON e.event_id = x.event_id "
        "WHERE x.prev_event_id = ? AND e.state_group IS NOT NULL",
        (event_id,),
    )
    return [(row[0], bool(row[1])) for row in rows]
