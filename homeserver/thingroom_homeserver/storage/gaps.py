"""Gaps in the histories of rooms: runs of positions that wait for backfilled events, and which events those are.

Functions over a connection or a transaction. May import storage.connection. Next: rooms/gaps.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Gap:
    """Between floor and next (inclusive) there are no events yet; the next one put in takes the position `next`.

    missing: the prev events of what lies above that are not here in full: where to go on. They are never empty.
    """

    number: int
    room_id: str
    floor: int
    next: int
    missing: tuple[str, ...]


def insert_gap(transaction: Transaction, room_id: str, floor: int, upto: int, missing: Iterable[str]) -> None:
    """A new gap at floor < position <= upto."""
    row = transaction.execute(
        "INSERT INTO gaps (room_id, floor, next) VALUES (?, ?, ?) RETURNING number", (room_id, floor, upto)
    ).fetchone()
    add_missing(transaction, row[0], missing)


def add_missing(transaction: Transaction, number: int, event_ids: Iterable[str]) -> None:
    """The gap waits for these events too."""
    transaction.executemany(
        "INSERT OR IGNORE INTO gap_missing VALUES (?, ?)", [(event_id, number) for event_id in event_ids]
    )


def set_next(transaction: Transaction, number: int, position: int) -> None:
    """What is above `position` is taken."""
    transaction.execute("UPDATE gaps SET next = ? WHERE number = ?", (position, number))


def raise_floor(transaction: Transaction, number: int, position: int) -> None:
    """What is at `position` and below is no more of this gap."""
    transaction.execute("UPDATE gaps SET floor = ? WHERE number = ?", (position, number))


def arrived(transaction: Transaction, event_id: str) -> None:
    """No gap waits for the event any more; a gap that waits for none is closed."""
    gone = transaction.execute("DELETE FROM gap_missing WHERE event_id = ? RETURNING gap", (event_id,)).fetchall()
    for row in gone:
        transaction.execute(
            "DELETE FROM gaps WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM gap_missing WHERE gap = ?1)", (row[0],)
        )


def find_gap(connection: Reader, number: int) -> Gap | None:
    row = connection.execute("SELECT number, room_id, floor, next FROM gaps WHERE number = ?", (number,)).fetchone()
    return None if row is None else _gap(connection, row)


def gaps_between(connection: Reader, room_id: str, above: int, upto: int) -> list[Gap]:
    """The room's gaps whose free positions reach into above < position <= upto, newest first."""
    rows = connection.execute(
        "SELECT number, room_id, floor, next FROM gaps WHERE room_id = ? AND next > ? AND floor < ? ORDER BY next DESC",
        (room_id, above, upto),
    ).fetchall()
    return [_gap(connection, row) for row in rows]


def newest_gap_edge(connection: Reader, room_id: str, above: int, upto: int) -> int | None:
    """The highest free position of a gap at above < position <= upto; None if there is none."""
    row = connection.execute(
        "SELECT MAX(next) FROM gaps WHERE room_id = ? AND next > ? AND next <= ?", (room_id, above, upto)
    ).fetchone()
    return None if row[0] is None else int(row[0])


def _gap(connection: Reader, row: sqlite3.Row) -> Gap:
    missing = connection.execute("SELECT event_id FROM gap_missing WHERE gap = ? ORDER BY event_id", (row[0],))
    return Gap(row[0], row[1], row[2], row[3], tuple(each[0] for each in missing))
