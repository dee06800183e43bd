"""SQL of messages to devices: a queue for each device, and the transaction ids that were used.

May import storage.connection. Called by encryption/to_device.py.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Message:
    """`content` is JSON text."""

    sender: str
    type: str
    content: str


def device_ids_of(connection: Reader, user_id: str) -> set[str]:
    rows = connection.execute("SELECT device_id FROM devices WHERE user_id = ?", (user_id,))
    return {row["device_id"] for row in rows}


def add_message(
    transaction: Transaction, user_id: str, device_id: str, message: Message, position: int, most: int
) -> bool:
    """Queue a message for the device; False where `most` wait already. At most one message a position and device."""
    of_device = "SELECT number FROM to_device_messages WHERE user_id = ? AND device_id = ? ORDER BY position"
    first = transaction.execute(f"{of_device} LIMIT 1", (user_id, device_id)).fetchone()
    last = transaction.execute(f"{of_device} DESC LIMIT 1", (user_id, device_id)).fetchone()
    number = 1 if last is None else last["number"] + 1
    if first is not None and number - first["number"] >= most:
        return False
    transaction.execute(
        "INSERT INTO to_device_messages VALUES (?, ?, ?, ?, ?, ?, ?)",
        (user_id, device_id, position, number, message.sender, message.type, message.content),
    )
    return True


def waiting(connection: Reader, user_id: str, device_id: str, after: int, upto: int, limit: int) -> list[sqlite3.Row]:
    """position, sender, type, content of the first `limit` messages at after < position <= upto, in order."""
    return connection.execute(
        "SELECT position, sender, type, content FROM to_device_messages WHERE user_id = ? AND device_id = ?"
        " AND position > ? AND position <= ? ORDER BY position LIMIT ?",
        (user_id, device_id, after, upto, limit),
    ).fetchall()


def has_waiting(connection: Reader, user_id: str, device_id: str, upto: int) -> bool:
    """Whether a message at position <= upto is kept."""
    return bool(waiting(connection, user_id, device_id, 0, upto, 1))


def delete_messages(transaction: Transaction, user_id: str, device_id: str, upto: int) -> None:
    transaction.execute(
        "DELETE FROM to_device_messages WHERE user_id = ? AND device_id = ? AND position <= ?",
        (user_id, device_id, upto),
    )


def use_transaction_id(
    transaction: Transaction, user_id: str, session: str, kind: str, transaction_id: str, now_ms: int, keep_ms: int
) -> bool:
    """Note a transaction id; False if it was used before. The session's ids older than `keep_ms` are forgotten."""
    transaction.execute(
        "DELETE FROM to_device_transactions WHERE user_id = ? AND session = ? AND sent_ts < ?",
        (user_id, session, now_ms - keep_ms),
    )
    done = transaction.execute(
        "INSERT INTO to_device_transactions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (user_id, session, kind, transaction_id, now_ms),
    )
    return done.rowcount == 1
