"""The full-text index over bodies, names and topics: SQLite's FTS5, one row an event, keyed by stream position.

An event waits for the index in a table of its own: many in one transaction cost a tenth of what each alone does.
Functions over a connection or a transaction. May import thingroom_common only. Next: ../rooms/search_indexing.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

COLUMNS = ("body", "name", "topic")


@dataclass(frozen=True, slots=True)
class Hit:
    """`rank` grows with relevance."""

    event_id: str
    position: int
    rank: float


def await_index(transaction: Transaction, position: int) -> None:
    """The event at `position` has something to search for."""
    transaction.execute("INSERT INTO search_waiting VALUES (?)", (position,))


def take_waiting(transaction: Transaction, limit: int) -> dict[int, str | None]:
    """The first `limit` positions that wait, with their events' ids; they wait no longer."""
    rows = transaction.execute(
        "SELECT search_waiting.position, event_id FROM search_waiting LEFT JOIN events USING (position) "
        "ORDER BY search_waiting.position LIMIT ?",
        (limit,),
    ).fetchall()
    transaction.executemany("DELETE FROM search_waiting WHERE position = ?", [(row[0],) for row in rows])
    return {row[0]: row[1] for row in rows}


def index_event(transaction: Transaction, position: int, column: str, text: str) -> None:
    """Make the event at `position` be found by `text`. `column` is one of COLUMNS."""
    assert column in COLUMNS
    transaction.execute(f"INSERT INTO event_search (rowid, {column}) VALUES (?, ?)", (position, text))  # noqa: S608 - constants


def unindex_event(transaction: Transaction, position: int) -> None:
    """Take the event out; nothing if it is not in."""
    if transaction.execute("DELETE FROM search_waiting WHERE position = ?", (position,)).rowcount:
        return
    transaction.execute("DELETE FROM event_search WHERE rowid = ?", (position,))


def match_expression(words: Collection[str], columns: Collection[str]) -> str:
    """The FTS5 query for events that hold all words in one of the columns, in whatever order."""
    quoted = " AND ".join('"' + word.replace('"', '""') + '"' for word in words)
    return f"{{{' '.join(columns)}}} : ({quoted})"


def find_events(
    connection: Reader, expression: str, room_ids: Collection[str], *, by_rank: bool, limit: int
) -> list[Hit]:
    """The first `limit` matches in these rooms, the best or the newest first. Looks at all matches: run in a thread."""
    marks = ",".join("?" * len(room_ids))
    order = "rank, position DESC" if by_rank else "event_search.rowid DESC"
    rows = connection.execute(
        "SELECT event_id, position, rank FROM event_search JOIN events ON position = event_search.rowid "  # noqa: S608 - constants
        f"WHERE event_search MATCH ? AND room_id IN ({marks}) ORDER BY {order} LIMIT ?",
        (expression, *room_ids, limit),
    )
    return [Hit(row[0], row[1], -row[2]) for row in rows]
