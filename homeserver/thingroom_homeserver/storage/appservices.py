"""SQL of what is on its way to application services: how far the stream was read, the transaction under way, and
which of their users are in which rooms at that point of the stream. Besides their own room directories.

May import storage.connection. Called by appservice_api/delivery.py and extras.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class SavedStream:
    """`position`: of the last event that was looked at. `pending`: the body of transaction `last_transaction`, until
    it is acknowledged. `extras_position`: of the last change that is no event (a receipt, say) that was looked at."""

    namespaces_digest: bytes
    position: int
    last_transaction: int
    pending: bytes | None
    extras_position: int


def load_stream(connection: Reader, appservice_id: str) -> SavedStream | None:
    row = connection.execute(
        "SELECT namespaces_digest, position, last_transaction, pending, extras_position FROM appservice_streams"
        " WHERE appservice_id = ?",
        (appservice_id,),
    ).fetchone()
    return None if row is None else SavedStream(*row)


def save_stream(transaction: Transaction, appservice_id: str, stream: SavedStream) -> None:
    transaction.execute(
        "INSERT INTO appservice_streams"
        " (appservice_id, namespaces_digest, position, last_transaction, pending, extras_position)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (appservice_id) DO UPDATE SET"
        " namespaces_digest = excluded.namespaces_digest, position = excluded.position,"
        " last_transaction = excluded.last_transaction, pending = excluded.pending,"
        " extras_position = excluded.extras_position",
        (
            appservice_id,
            stream.namespaces_digest,
            stream.position,
            stream.last_transaction,
            stream.pending,
            stream.extras_position,
        ),
    )


def load_members(connection: Reader, appservice_id: str) -> list[tuple[str, str]]:
    """(room id, user id) of the application service's users that were joined at the saved position."""
    rows = connection.execute(
        "SELECT room_id, user_id FROM appservice_members WHERE appservice_id = ?", (appservice_id,)
    )
    return [(row["room_id"], row["user_id"]) for row in rows]


def replace_members(transaction: Transaction, appservice_id: str, members: Iterable[tuple[str, str]]) -> None:
    transaction.execute("DELETE FROM appservice_members WHERE appservice_id = ?", (appservice_id,))
    transaction.executemany(
        "INSERT INTO appservice_members VALUES (?, ?, ?)",
        [(appservice_id, room_id, user_id) for room_id, user_id in members],
    )


def set_member(transaction: Transaction, appservice_id: str, room_id: str, user_id: str, *, joined: bool) -> None:
    if joined:
        transaction.execute(
            "INSERT INTO appservice_members VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (appservice_id, room_id, user_id)
        )
    else:
        transaction.execute(
            "DELETE FROM appservice_members WHERE appservice_id = ? AND room_id = ? AND user_id = ?",
            (appservice_id, room_id, user_id),
        )


def receipts_after(connection: Reader, after: int, upto: int, limit: int) -> list[sqlite3.Row]:
    """room_id, user_id, type, thread_id, event_id, ts, position of receipts at after < position <= upto, in order."""
    return connection.execute(
        "SELECT * FROM receipts WHERE position > ? AND position <= ? ORDER BY position LIMIT ?", (after, upto, limit)
    ).fetchall()


def to_device_after(connection: Reader, after: int, upto: int) -> Iterator[sqlite3.Row]:
    """user_id, device_id, position, sender, type, content of messages to any device, in order. One position may have
    several, all of the same sending."""
    yield from connection.execute(
        "SELECT * FROM to_device_messages WHERE position > ? AND position <= ? ORDER BY position", (after, upto)
    )


def rooms_joined_by(connection: Reader, user_id: str) -> list[str]:
    rows = connection.execute("SELECT room_id FROM room_members WHERE user_id = ? AND membership = 'join'", (user_id,))
    return [row["room_id"] for row in rows]


def devices_with_keys(connection: Reader, user_id: str) -> list[str]:
    rows = connection.execute("SELECT device_id FROM device_keys WHERE user_id = ?", (user_id,))
    return [row["device_id"] for row in rows]


def set_listed(transaction: Transaction, instance_id: str, room_id: str, *, listed: bool) -> None:
    """Put a room into the directory of one network of an application service, or take it out."""
    statement = (
        "INSERT INTO appservice_room_lists VALUES (?, ?) ON CONFLICT DO NOTHING"
        if listed
        else "DELETE FROM appservice_room_lists WHERE instance_id = ? AND room_id = ?"
    )
    transaction.execute(statement, (instance_id, room_id))


def listed_rooms(connection: Reader, instance_id: str | None) -> list[str]:
    """The rooms in the directory of one network, or of all networks (None)."""
    rows = connection.execute(
        "SELECT DISTINCT room_id FROM appservice_room_lists WHERE ? IS NULL OR instance_id = ?",
        (instance_id, instance_id),
    )
    return [row["room_id"] for row in rows]
