"""What the database knows of how things go: what waits, what is missing, how large it is.

Statements only, over whole tables: for a thread or a connection of one's own. status.py and metrics.py ask.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from thingroom_common.database import Transaction


@dataclass(frozen=True, slots=True)
class Figures:
    """One moment. `oldest_queued_at` in Unix ms, None if nothing waits; `bytes` without the write-ahead log."""

    outbox_waiting: int
    outbox_parked: int
    outbox_oldest_queued_at: int | None
    places: int
    gaps: int
    bytes: int


def figures(connection: sqlite3.Connection) -> Figures:
    """Everything in one go. Raises sqlite3.Error."""
    waiting, parked = _row(connection, "SELECT COUNT(*) - COUNT(parked), COUNT(parked) FROM outbox")
    # Of rows that were there before the column, and of none that wait: the time of what they tell.
    oldest = connection.execute(
        "SELECT CASE queued_at WHEN 0 THEN ts ELSE queued_at END FROM outbox WHERE parked IS NULL ORDER BY id LIMIT 1"
    ).fetchone()
    return Figures(
        outbox_waiting=waiting,
        outbox_parked=parked,
        outbox_oldest_queued_at=None if oldest is None else int(oldest[0]),
        places=_row(connection, "SELECT COUNT(*) FROM rooms WHERE place != ''")[0],
        gaps=_row(connection, "SELECT COUNT(*) - COUNT(DISTINCT device) FROM received")[0],
        bytes=_row(connection, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")[0],
    )


def _row(connection: sqlite3.Connection, sql: str) -> tuple[int, ...]:
    return tuple(int(value) for value in connection.execute(sql).fetchone())


def counters_read(connection: sqlite3.Connection) -> dict[str, int]:
    """The counts as a person saw them last."""
    return {row[0]: row[1] for row in connection.execute("SELECT name, value FROM counters_read")}


def read_counters(transaction: Transaction, counts: Mapping[str, int]) -> None:
    """A person has seen `counts`."""
    transaction.executemany("INSERT OR REPLACE INTO counters_read VALUES (?, ?)", counts.items())
