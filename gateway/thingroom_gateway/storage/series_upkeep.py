"""Statements that look after the series: what is too old goes, what was stored before there were series comes in.

May import thingroom_common and storage.series. series/upkeep.py decides when.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_gateway.series.reading import readings_from_json
from thingroom_gateway.storage.series import RAW, Level, Recorder


@dataclass(frozen=True, slots=True)
class Fill:
    """Envelopes of a device that are not in its series yet: those after `done` up to `goal` (arrivals)."""

    device: int
    done: int
    goal: int


def database_bytes(connection: sqlite3.Connection) -> int:
    """What the database uses of its file: free pages do not count, they are used again."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return (pages - free) * size


def oldest(connection: sqlite3.Connection, level: Level) -> int | None:
    """The time (Unix ms) of the oldest row of a level, or of the raw readings, that `delete_older` would delete."""
    column = _column(level)
    found = connection.execute(
        f"SELECT MIN((SELECT MIN({column}) FROM {level.table} WHERE series = s.id{_spared(level)})) FROM series s"  # noqa: S608
    ).fetchone()[0]
    return None if found is None else int(found)


def with_older(connection: sqlite3.Connection, level: Level, before: int) -> list[int]:
    """The series of which `delete_older` would delete rows older than `before` (Unix ms)."""
    found = connection.execute(
        f"SELECT s.id FROM series s WHERE EXISTS (SELECT 1 FROM {level.table}"  # noqa: S608
        f" WHERE series = s.id AND {_column(level)} < ?{_spared(level)})",
        (before,),
    )
    return [int(row[0]) for row in found]


def delete_older(transaction: Transaction, level: Level, series: int, before: int, limit: int) -> int:
    """Delete the oldest rows of a series, about `limit` at most; of raw readings the newest stays, however old."""
    column = _column(level)
    last = transaction.execute(
        f"SELECT {column} FROM {level.table} WHERE series = ?1 AND {column} < ?2"  # noqa: S608
        f" ORDER BY {column} LIMIT 1 OFFSET ?3",
        (series, before, limit),
    ).fetchone()
    until = before if last is None else last[0]
    if level is RAW:
        newest = transaction.execute("SELECT MAX(time) FROM samples WHERE series = ?", (series,)).fetchone()[0]
        until = min(until, newest) if newest is not None else until
    return transaction.execute(
        f"DELETE FROM {level.table} WHERE series = ? AND {column} < ?",  # noqa: S608
        (series, until),
    ).rowcount


def is_behind(connection: sqlite3.Connection, until: int) -> bool:
    """Whether hours and days of some series lack what the five minutes hold before `until` (Unix ms)."""
    return connection.execute("SELECT 1 FROM series WHERE merged < ? LIMIT 1", (until,)).fetchone() is not None


def next_fill(connection: sqlite3.Connection) -> Fill | None:
    """A device of which older envelopes are not in the series yet."""
    row = connection.execute("SELECT device, done, goal FROM series_to_fill LIMIT 1").fetchone()
    return None if row is None else Fill(row[0], row[1], row[2])


def fill(transaction: Transaction, recorder: Recorder, work: Fill, limit: int) -> int:
    """Put up to `limit` older envelopes into the series; returns how many."""
    rows = transaction.execute(
        "SELECT arrival, readings FROM envelopes WHERE device = ? AND arrival > ? AND arrival <= ?"
        " ORDER BY arrival LIMIT ?",
        (work.device, work.done, work.goal, limit),
    ).fetchall()
    recorder.add(transaction, work.device, [reading for row in rows for reading in readings_from_json(row[1])])
    if len(rows) < limit:
        transaction.execute("DELETE FROM series_to_fill WHERE device = ?", (work.device,))
    else:
        transaction.execute("UPDATE series_to_fill SET done = ? WHERE device = ?", (rows[-1][0], work.device))
    return len(rows)


def _spared(level: Level) -> str:
    """The newest raw reading of a series stays: it is what is known of a device that fell silent."""
    return " AND time < (SELECT MAX(time) FROM samples WHERE series = s.id)" if level is RAW else ""


def _column(level: Level) -> str:
    return "time" if level is RAW else "start"
