"""What users reported: events, rooms, other users.

Functions over a connection or a transaction. May import thingroom_common only.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Report:
    """`ts` in milliseconds. Set are room_id and event_id for an event, room_id for a room, user_id for a user."""

    reporter: str
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str
    ts: int


def insert_report(transaction: Transaction, report: Report) -> None:
    transaction.execute(
        "INSERT INTO reports (reporter, room_id, event_id, user_id, reason, ts) VALUES (?, ?, ?, ?, ?, ?)",
        (report.reporter, report.room_id, report.event_id, report.user_id, report.reason, report.ts),
    )


def count_reports(connection: Reader, reporter: str) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM reports WHERE reporter = ?", (reporter,)).fetchone()[0])


def read_reports(connection: Reader, limit: int) -> list[Report]:
    """The last `limit` reports, newest first."""
    rows = connection.execute(
        "SELECT reporter, room_id, event_id, user_id, reason, ts FROM reports ORDER BY id DESC LIMIT ?", (limit,)
    )
    return [Report(*row) for row in rows]
