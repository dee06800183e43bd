"""SQL of notifications and of the marks up to which a user has read them (schema_push.py says what the tables mean).

May import storage.connection. Called by push/recording.py, push/unread.py and push/listing.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

MAIN = "main"
ALL_THREADS = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One event that notifies a user. `actions`: JSON text of the push rule's; `ts`: when it was stored, in ms."""

    room_id: str
    position: int
    thread_id: str
    highlight: bool
    actions: str
    ts: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The user has read (or the row counts) what is at or before `position`; what was counted is in the numbers."""

    position: int
    notifications: int
    highlights: int


def add_for_room(transaction: Transaction, notification: Notification, sender: str, but: Collection[str]) -> None:
    """The event notifies everybody who is joined, except its sender and `but`."""
    transaction.execute(
        "INSERT INTO room_notifications VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            notification.room_id,
            notification.position,
            notification.thread_id,
            sender,
            int(notification.highlight),
            notification.actions,
            orjson.dumps(sorted(but)).decode() if but else "",
            notification.ts,
        ),
    )


def add_for_users(transaction: Transaction, rows: Iterable[tuple[str, Notification]]) -> None:
    """(user id, what notifies them)."""
    transaction.executemany(
        "INSERT INTO user_notifications VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(user_id, n.room_id, n.position, n.thread_id, int(n.highlight), n.actions, n.ts) for user_id, n in rows],
    )


def drop_event(transaction: Transaction, room_id: str, position: int) -> None:
    """The event notifies nobody any more."""
    for table in ("room_notifications", "user_notifications"):
        transaction.execute(f"DELETE FROM {table} WHERE room_id = ? AND position = ?", (room_id, position))  # noqa: S608 - constants


def read_marks(connection: Reader, user_id: str, room_id: str) -> dict[str, Mark]:
    """By thread; ALL_THREADS is the mark of an unthreaded receipt."""
    rows = connection.execute(
        "SELECT thread_id, position, notifications, highlights FROM notification_marks WHERE user_id = ? "
        "AND room_id = ?",
        (user_id, room_id),
    )
    return {row[0]: Mark(row[1], row[2], row[3]) for row in rows}


def mark_read(transaction: Transaction, user_id: str, room_id: str, thread_id: str, position: int) -> None:
    """Move a mark forward. What was counted before it is read then."""
    transaction.execute(
        "INSERT INTO notification_marks VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT (user_id, room_id, thread_id) DO UPDATE "
        "SET position = excluded.position, notifications = 0, highlights = 0 WHERE excluded.position >= position",
        (user_id, room_id, thread_id, position),
    )
    if thread_id == ALL_THREADS:
        transaction.execute(
            "DELETE FROM notification_marks WHERE user_id = ? AND room_id = ? AND thread_id != ? AND position <= ?",
            (user_id, room_id, ALL_THREADS, position),
        )


def carry(
    transaction: Transaction, user_id: str, room_id: str, thread_id: str, position: int, counted: tuple[int, int]
) -> None:
    """Set a mark that stands for `counted` (notifications, highlights) unread ones at or before `position`."""
    transaction.execute(
        "INSERT INTO notification_marks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, room_id, thread_id) DO UPDATE "
        "SET position = excluded.position, notifications = excluded.notifications, highlights = excluded.highlights",
        (user_id, room_id, thread_id, position, *counted),
    )


def count_by_thread(
    connection: Reader, user_id: str, room_id: str, above: int, upto: int
) -> dict[str, tuple[int, int]]:
    """(notifications, highlights) at above < position <= upto and beyond the thread's own mark, by thread."""
    counts: dict[str, tuple[int, int]] = {}
    joined = (
        "LEFT JOIN notification_marks m ON m.user_id = ?1 AND m.room_id = ?2 AND m.thread_id = n.thread_id "
        "WHERE n.room_id = ?2 AND n.position > ?3 AND n.position <= ?4 AND n.position > COALESCE(m.position, 0) "
    )
    for query, parameters in (
        (
            f"SELECT n.thread_id, COUNT(*), SUM(n.highlight) FROM room_notifications n {joined}"  # noqa: S608 - constants
            "AND n.sender != ?1 AND instr(n.but, ?5) = 0 GROUP BY n.thread_id",
            (user_id, room_id, above, upto, _quoted(user_id)),
        ),
        (
            f"SELECT n.thread_id, COUNT(*), SUM(n.highlight) FROM user_notifications n {joined}"  # noqa: S608 - constants
            "AND n.user_id = ?1 GROUP BY n.thread_id",
            (user_id, room_id, above, upto),
        ),
    ):
        for thread_id, notifications, highlights in connection.execute(query, parameters):
            before = counts.get(thread_id, (0, 0))
            counts[thread_id] = (before[0] + notifications, before[1] + highlights)
    return counts


def last_position(connection: Reader, room_id: str) -> int:
    """Of the last event that notified anybody in the room; 0 if there is none."""
    row = connection.execute(
        "SELECT MAX((SELECT COALESCE(MAX(position), 0) FROM room_notifications WHERE room_id = ?1), "
        "(SELECT COALESCE(MAX(position), 0) FROM user_notifications WHERE room_id = ?1))",
        (room_id,),
    ).fetchone()
    return int(row[0])


def in_room(
    connection: Reader,
    user_id: str,
    room_id: str,
    *,
    above: int,
    below: int,
    limit: int,
    backwards: bool,
    only_highlights: bool = False,
) -> list[Notification]:
    """Up to `limit` of the user's notifications in a room at above < position < below."""
    order = "DESC" if backwards else "ASC"
    highlight = "AND highlight = 1" if only_highlights else ""
    rows = connection.execute(
        f"SELECT room_id, position, thread_id, highlight, actions, ts FROM room_notifications WHERE room_id = ? "  # noqa: S608 - constants
        f"AND position > ? AND position < ? AND sender != ? AND instr(but, ?) = 0 {highlight} "
        f"ORDER BY position {order} LIMIT ?",
        (room_id, above, below, user_id, _quoted(user_id), limit),
    ).fetchall()
    rows += connection.execute(
        f"SELECT room_id, position, thread_id, highlight, actions, ts FROM user_notifications WHERE user_id = ? "  # noqa: S608 - constants
        f"AND room_id = ? AND position > ? AND position < ? {highlight} ORDER BY position {order} LIMIT ?",
        (user_id, room_id, above, below, limit),
    ).fetchall()
    found = [_notification(row) for row in rows]
    return sorted(found, key=lambda one: one.position, reverse=backwards)[:limit]


def rooms_with_own(connection: Reader, user_id: str, above: int) -> list[str]:
    """Rooms with a row for this user alone after `above`."""
    rows = connection.execute(
        "SELECT DISTINCT room_id FROM user_notifications WHERE user_id = ? AND position > ?", (user_id, above)
    )
    return [row[0] for row in rows]


def next_room(connection: Reader, after: str) -> str | None:
    """The first room id after `after` that has rows for a whole room or for single users."""
    row = connection.execute(
        "SELECT MIN(room_id) FROM (SELECT MIN(room_id) AS room_id FROM room_notifications WHERE room_id > ?1 "
        "UNION ALL SELECT MIN(room_id) FROM user_notifications WHERE room_id > ?1)",
        (after,),
    ).fetchone()
    return None if row[0] is None else str(row[0])


def position_to_drop(connection: Reader, room_id: str, older_than_ms: int, keep: int) -> int:
    """The last position whose rows are older than that, or beyond the newest `keep` rows of the room; 0: none."""
    found = 0
    for table in ("room_notifications", "user_notifications"):
        newest = f"SELECT position FROM {table} WHERE room_id = ?"  # noqa: S608 - constants
        for query, limit in (
            (f"{newest} ORDER BY position DESC LIMIT 1 OFFSET ?", keep),
            (f"{newest} AND ts < ? ORDER BY position DESC LIMIT 1", older_than_ms),
        ):
            row = connection.execute(query, (room_id, limit)).fetchone()
            found = max(found, 0 if row is None else int(row[0]))
    return found


def drop_upto(transaction: Transaction, room_id: str, position: int) -> None:
    for table in ("room_notifications", "user_notifications"):
        transaction.execute(f"DELETE FROM {table} WHERE room_id = ? AND position <= ?", (room_id, position))  # noqa: S608 - constants


def event_id_at(connection: Reader, position: int) -> str | None:
    """The event with that place in the stream."""
    row = connection.execute("SELECT event_id FROM events WHERE position = ?", (position,)).fetchone()
    return None if row is None else str(row[0])


def _quoted(user_id: str) -> str:
    """The user id as it stands in `but`."""
    return orjson.dumps(user_id).decode()


def _notification(row: sqlite3.Row) -> Notification:
    return Notification(row[0], row[1], row[2], bool(row[3]), row[4], row[5])
