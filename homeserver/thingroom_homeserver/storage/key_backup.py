"""SQL of backups of room keys. A deleted backup's row stays, so its version is never given out again.

May import storage.connection. Called by encryption/key_backup.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

Where = tuple[str, int, str | None, str | None]
"""User id, version, room id (None: every room), session id (None: every session)."""


def create_backup(transaction: Transaction, user_id: str, algorithm: str, auth_data: str) -> int:
    """The version of the new backup."""
    row = transaction.execute("SELECT MAX(version) AS last FROM key_backups WHERE user_id = ?", (user_id,)).fetchone()
    version = (row["last"] or 0) + 1
    transaction.execute(
        "INSERT INTO key_backups (user_id, version, algorithm, auth_data) VALUES (?, ?, ?, ?)",
        (user_id, version, algorithm, auth_data),
    )
    return version


def find_backup(connection: Reader, user_id: str, version: int) -> sqlite3.Row | None:
    """version, algorithm, auth_data, etag, key_count, deleted; deleted ones included."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM key_backups WHERE user_id = ? AND version = ?", (user_id, version)
    ).fetchone()
    return row


def current_backup(connection: Reader, user_id: str) -> sqlite3.Row | None:
    """The newest that is not deleted."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM key_backups WHERE user_id = ? AND deleted = 0 ORDER BY version DESC LIMIT 1", (user_id,)
    ).fetchone()
    return row


def set_auth_data(transaction: Transaction, user_id: str, version: int, auth_data: str) -> None:
    transaction.execute(
        "UPDATE key_backups SET auth_data = ? WHERE user_id = ? AND version = ?", (auth_data, user_id, version)
    )


def mark_deleted(transaction: Transaction, user_id: str, version: int) -> None:
    transaction.execute(
        "UPDATE key_backups SET deleted = 1, auth_data = '{}', key_count = 0 WHERE user_id = ? AND version = ?",
        (user_id, version),
    )
    delete_keys(transaction, (user_id, version, None, None))


def count_change(transaction: Transaction, user_id: str, version: int, by: int) -> None:
    """The stored keys changed, and there are `by` more of them."""
    transaction.execute(
        "UPDATE key_backups SET etag = etag + 1, key_count = key_count + ? WHERE user_id = ? AND version = ?",
        (by, user_id, version),
    )


def find_key(connection: Reader, user_id: str, version: int, room_id: str, session_id: str) -> sqlite3.Row | None:
    """is_verified, first_message_index, forwarded_count, session_data."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM backed_up_keys WHERE user_id = ? AND version = ? AND room_id = ? AND session_id = ?",
        (user_id, version, room_id, session_id),
    ).fetchone()
    return row


def set_key(
    transaction: Transaction, user_id: str, version: int, room_id: str, session_id: str, key: tuple[bool, int, int, str]
) -> None:
    """`key`: is_verified, first_message_index, forwarded_count, session_data as JSON text."""
    transaction.execute(
        "INSERT OR REPLACE INTO backed_up_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (user_id, version, room_id, session_id, *key),
    )


def keys_in(connection: Reader, where: Where) -> Iterator[sqlite3.Row]:
    """room_id, session_id and the columns of `find_key`."""
    condition, parameters = _condition(where)
    return iter(connection.execute(f"SELECT * FROM backed_up_keys WHERE {condition}", parameters))  # noqa: S608


def delete_keys(transaction: Transaction, where: Where) -> int:
    """How many there were."""
    condition, parameters = _condition(where)
    return transaction.execute(f"DELETE FROM backed_up_keys WHERE {condition}", parameters).rowcount  # noqa: S608


def _condition(where: Where) -> tuple[str, list[str | int]]:
    columns = ("user_id", "version", "room_id", "session_id")
    given = [(column, value) for column, value in zip(columns, where, strict=True) if value is not None]
    return " AND ".join(f"{column} = ?" for column, _ in given), [value for _, value in given]
