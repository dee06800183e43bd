"""What is known of each server that something is sent to: how far it got, what is under way, since when it fails.

May import thingroom_common and storage.connection. Called by federation/sender/.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Cursors:
    """Stream positions up to which the server has all events, receipts and presence that are for it."""

    events: int
    receipts: int
    presence: int


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """An event that is to be sent, by its place in the stream."""

    position: int
    event_id: str
    room_id: str
    sender: str


def add_destination(transaction: Transaction, server_name: str, position: int) -> None:
    """Know the server from `position` on; one that is known stays what it was."""
    transaction.execute(
        "INSERT INTO destinations (server_name, events_upto, receipts_upto, presence_upto) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (server_name, position, position, position),
    )


def load_destination(connection: Reader, server_name: str) -> tuple[Cursors, bytes | None] | None:
    """Its cursors and the transaction that was not acknowledged, as `save_transaction` got it."""
    row = connection.execute(
        "SELECT events_upto, receipts_upto, presence_upto, pending FROM destinations WHERE server_name = ?",
        (server_name,),
    ).fetchone()
    return None if row is None else (Cursors(row[0], row[1], row[2]), row[3])


def save_transaction(transaction: Transaction, server_name: str, cursors: Cursors, pending: bytes | None) -> None:
    """Everything up to `cursors` arrived there; `pending` is sent next."""
    transaction.execute(
        "INSERT INTO destinations (server_name, events_upto, receipts_upto, presence_upto, pending) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (server_name) DO UPDATE SET events_upto = excluded.events_upto, "
        "receipts_upto = excluded.receipts_upto, presence_upto = excluded.presence_upto, pending = excluded.pending",
        (server_name, cursors.events, cursors.receipts, cursors.presence, pending),
    )


def note_delivered(transaction: Transaction, server_name: str, now_ms: int) -> None:
    """The server took a transaction."""
    transaction.execute("UPDATE destinations SET delivered_ts = ? WHERE server_name = ?", (now_ms, server_name))


def save_failing(transaction: Transaction, server_name: str, since_ms: int, interval_ms: int, retry_at_ms: int) -> None:
    """The server fails. Of one that nothing is sent to nothing is written."""
    transaction.execute(
        "UPDATE destinations SET failing_since_ts = ?, retry_interval_ms = ?, retry_at_ts = ? WHERE server_name = ?",
        (since_ms, interval_ms, retry_at_ms, server_name),
    )


def save_recovered(transaction: Transaction, server_name: str) -> None:
    transaction.execute(
        "UPDATE destinations SET failing_since_ts = NULL, retry_interval_ms = NULL, retry_at_ts = NULL "
        "WHERE server_name = ?",
        (server_name,),
    )


def failing_destinations(connection: Reader) -> list[sqlite3.Row]:
    """server_name, failing_since_ts, retry_interval_ms, retry_at_ts."""
    return connection.execute(
        "SELECT server_name, failing_since_ts, retry_interval_ms, retry_at_ts FROM destinations "
        "WHERE failing_since_ts IS NOT NULL"
    ).fetchall()


def destinations_with_work(connection: Reader, upto: int) -> list[str]:
    """The servers that have something to get which must not be lost: O(rooms and servers), for the start."""
    rows = connection.execute(
        "SELECT server_name FROM destinations WHERE pending IS NOT NULL "
        "UNION SELECT destination FROM to_device_outbox UNION SELECT destination FROM device_list_outbox "
        "UNION SELECT server_name FROM destinations JOIN room_server_spans USING (server_name) "
        "WHERE until > events_upto AND EXISTS (SELECT 1 FROM events WHERE events.room_id = room_server_spans.room_id "
        "AND send_out = 1 AND position > MAX(events_upto, since) AND position <= MIN(until, ?))",
        (upto,),
    )
    return [row[0] for row in rows]


def events_after(connection: Reader, position: int, limit: int) -> list[QueuedEvent]:
    """The first `limit` events of all rooms after `position` that go to other servers."""
    rows = connection.execute(
        "SELECT position, event_id, room_id, sender FROM events WHERE send_out = 1 AND position > ? "
        "ORDER BY position LIMIT ?",
        (position, limit),
    )
    return [QueuedEvent(*row) for row in rows]


_SPANS_MISSED = "FROM room_server_spans AS span WHERE span.server_name = ?1 AND until > ?2 AND since < ?3"
_OF_SPAN = (
    "FROM events WHERE events.room_id = span.room_id AND send_out = 1 "
    "AND position > MAX(since, ?2) AND position <= MIN(until, ?3)"
)


def missed_count(connection: Reader, server_name: str, after: int, upto: int, limit: int) -> int:
    """How many events at after < position <= upto are for the server; of each room at most `limit` are counted."""
    row = connection.execute(
        f"SELECT SUM((SELECT COUNT(*) FROM (SELECT 1 {_OF_SPAN} LIMIT ?4))) {_SPANS_MISSED}",  # noqa: S608 - constants
        (server_name, after, upto, limit),
    ).fetchone()
    return row[0] or 0


def missed_events(connection: Reader, server_name: str, after: int, upto: int) -> list[QueuedEvent]:
    """The events at after < position <= upto that are for the server, in order."""
    rows = connection.execute(
        "SELECT position, event_id, events.room_id, sender FROM room_server_spans AS span "
        "JOIN events ON events.room_id = span.room_id AND send_out = 1 "
        "AND position > MAX(since, ?2) AND position <= MIN(until, ?3) "
        "WHERE span.server_name = ?1 AND until > ?2 AND substr(sender, instr(sender, ':') + 1) != ?1 ORDER BY position",
        (server_name, after, upto),
    )
    return [QueuedEvent(*row) for row in rows]


def rooms_missed(connection: Reader, server_name: str, after: int, upto: int, limit: int) -> list[tuple[int, str]]:
    """(position of the newest event that the server missed, room), the first `limit` rooms in the order of these."""
    rows = connection.execute(
        f"SELECT MAX((SELECT MAX(position) {_OF_SPAN})) AS newest, room_id {_SPANS_MISSED} "
        "GROUP BY room_id HAVING newest IS NOT NULL ORDER BY newest LIMIT ?4",
        (server_name, after, upto, limit),
    )
    return [(row[0], row[1]) for row in rows]


def event_at(connection: Reader, position: int) -> QueuedEvent:
    """The event at that place of the stream, which must be there."""
    row = connection.execute(
        "SELECT position, event_id, room_id, sender FROM events WHERE position = ?", (position,)
    ).fetchone()
    return QueuedEvent(*row)


def queue_to_device(transaction: Transaction, destination: str, content: str, now_ms: int) -> None:
    """`content`: that of an m.direct_to_device EDU, as JSON text."""
    transaction.execute(
        "INSERT INTO to_device_outbox (destination, content, queued_ts) VALUES (?, ?, ?)",
        (destination, content, now_ms),
    )


def drop_old_to_device(transaction: Transaction, before_ms: int) -> None:
    """Give up the messages that were queued before that time."""
    transaction.execute("DELETE FROM to_device_outbox WHERE queued_ts < ?", (before_ms,))


def to_device_waiting(connection: Reader, destination: str) -> int:
    row = connection.execute("SELECT COUNT(*) FROM to_device_outbox WHERE destination = ?", (destination,)).fetchone()
    return int(row[0])


def first_to_device(connection: Reader, destination: str, limit: int) -> list[tuple[int, str]]:
    """(number, content) of the oldest messages."""
    rows = connection.execute(
        "SELECT number, content FROM to_device_outbox WHERE destination = ? ORDER BY number LIMIT ?",
        (destination, limit),
    )
    return [(row[0], row[1]) for row in rows]


def delete_to_device(transaction: Transaction, destination: str, upto: int) -> None:
    transaction.execute("DELETE FROM to_device_outbox WHERE destination = ? AND number <= ?", (destination, upto))


def receipts_after(connection: Reader, position: int, limit: int) -> list[sqlite3.Row]:
    """position, room_id, user_id, type, thread_id, event_id, ts of the first `limit` receipts after `position`."""
    return connection.execute(
        "SELECT position, room_id, user_id, type, thread_id, event_id, ts FROM receipts WHERE position > ? "
        "ORDER BY position LIMIT ?",
        (position, limit),
    ).fetchall()


def presence_after(connection: Reader, position: int, limit: int) -> list[tuple[int, str]]:
    """(position, user) of the first `limit` changes of presence after `position`."""
    rows = connection.execute(
        "SELECT position, user_id FROM presence WHERE position > ? ORDER BY position LIMIT ?", (position, limit)
    )
    return [(row[0], row[1]) for row in rows]
