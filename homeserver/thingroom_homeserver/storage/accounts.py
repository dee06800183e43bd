"""SQL of accounts, devices and access tokens.

May import storage. Called by accounts/accounts.py and accounts/authentication.py, which hold the rules.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.cross_signing import forget_key
from thingroom_homeserver.storage.device_keys import device_keys_text

TABLES_OF_DEVICES = (
    "access_tokens",
    "refresh_tokens",
    "devices",
    "device_keys",
    "one_time_keys",
    "fallback_keys",
    "to_device_messages",
    "pushers",
)


def find_account(connection: Reader, user_id: str) -> sqlite3.Row | None:
    """user_id, password_hash, is_admin, appservice_id, deactivated, is_guest, locked, suspended, erased."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM accounts WHERE user_id = ?", (user_id,)).fetchone()
    return row


def insert_account(
    transaction: Transaction,
    user_id: str,
    *,
    password_hash: str | None,
    created_ts: int,
    is_admin: bool,
    appservice_id: str | None,
    is_guest: bool = False,
) -> bool:
    """False when the user id is taken (a deactivated account keeps its id)."""
    done = transaction.execute(
        "INSERT INTO accounts (user_id, password_hash, created_ts, is_admin, appservice_id, is_guest)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (user_id, password_hash, created_ts, is_admin, appservice_id, is_guest),
    )
    return done.rowcount == 1


def set_password_hash(transaction: Transaction, user_id: str, password_hash: str | None) -> None:
    transaction.execute("UPDATE accounts SET password_hash = ? WHERE user_id = ?", (password_hash, user_id))


def mark_deactivated(transaction: Transaction, user_id: str) -> None:
    transaction.execute("UPDATE accounts SET deactivated = 1, password_hash = NULL WHERE user_id = ?", (user_id,))


def search_people(connection: Reader, term: str, limit: int) -> list[sqlite3.Row]:
    """user_id, display_name, avatar_url (JSON text or NULL) of people whose id or name contains `term`, ignoring case.

    People: active accounts that no application service made.
    """
    pattern = "%" + term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return connection.execute(
        "SELECT accounts.user_id AS user_id, names.value AS display_name, avatars.value AS avatar_url FROM accounts"
        " LEFT JOIN profiles AS names ON names.user_id = accounts.user_id AND names.field = 'displayname'"
        " LEFT JOIN profiles AS avatars ON avatars.user_id = accounts.user_id AND avatars.field = 'avatar_url'"
        " WHERE deactivated = 0 AND is_guest = 0 AND appservice_id IS NULL"
        " AND (accounts.user_id LIKE ? ESCAPE '\\' OR names.value LIKE ? ESCAPE '\\')"
        " ORDER BY accounts.user_id LIMIT ?",
        (pattern, pattern, limit),
    ).fetchall()


def find_session(connection: Reader, digest: bytes) -> sqlite3.Row | None:
    """user_id, device_id, expires_ts, replaces, and what the account is, of a token whose account is active."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT access_tokens.user_id AS user_id, device_id, expires_ts, replaces,"
        " is_admin, is_guest, locked, suspended FROM access_tokens"
        " JOIN accounts ON accounts.user_id = access_tokens.user_id WHERE digest = ? AND deactivated = 0",
        (digest,),
    ).fetchone()
    return row


def insert_session(
    transaction: Transaction,
    digest: bytes,
    user_id: str,
    device_id: str,
    display_name: str | None,
    now_ms: int,
    address: str,
    expires_ts: int | None = None,
) -> None:
    """A new token for the device, which loses the tokens it had and keeps its name where it has one."""
    delete_tokens(transaction, user_id, device_id)
    insert_device(transaction, user_id, device_id, display_name, now_ms)
    set_last_seen(transaction, [(now_ms, address, user_id, device_id)])
    transaction.execute(
        "INSERT INTO access_tokens (digest, user_id, device_id, created_ts, expires_ts) VALUES (?, ?, ?, ?, ?)",
        (digest, user_id, device_id, now_ms, expires_ts),
    )


def delete_tokens(transaction: Transaction, user_id: str, device_id: str) -> None:
    """Every access and refresh token of the device."""
    for table in ("access_tokens", "refresh_tokens"):
        transaction.execute(
            f"DELETE FROM {table} WHERE user_id = ? AND device_id = ?",  # noqa: S608 - names from the line above
            (user_id, device_id),
        )


def insert_device(
    transaction: Transaction, user_id: str, device_id: str, display_name: str | None, now_ms: int
) -> bool:
    """False when the device was there already."""
    done = transaction.execute(
        "INSERT INTO devices (user_id, device_id, display_name, created_ts) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (user_id, device_id, display_name, now_ms),
    )
    return done.rowcount == 1


def list_devices(connection: Reader, user_id: str) -> list[sqlite3.Row]:
    """device_id, display_name, last_seen_ts, last_seen_ip."""
    return connection.execute("SELECT * FROM devices WHERE user_id = ? ORDER BY created_ts", (user_id,)).fetchall()


def find_device(connection: Reader, user_id: str, device_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM devices WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    return row


def rename_device(transaction: Transaction, user_id: str, device_id: str, display_name: str | None) -> None:
    transaction.execute(
        "UPDATE devices SET display_name = ? WHERE user_id = ? AND device_id = ?", (display_name, user_id, device_id)
    )


def set_last_seen(transaction: Transaction, seen: Iterable[tuple[int, str, str, str]]) -> None:
    """`seen`: (milliseconds, address, user_id, device_id)."""
    transaction.executemany(
        "UPDATE devices SET last_seen_ts = ?, last_seen_ip = ? WHERE user_id = ? AND device_id = ?", seen
    )


def delete_devices(transaction: Transaction, user_id: str, device_ids: Iterable[str]) -> bool:
    """The devices with everything that hangs on them: tokens, encryption keys, messages that wait for them.

    True if one of them had keys that others could see.
    """
    had_keys = False
    for device_id in device_ids:
        had_keys |= device_keys_text(transaction, user_id, device_id) is not None
        forget_key(transaction, user_id, device_id)
        for table in TABLES_OF_DEVICES:
            transaction.execute(
                f"DELETE FROM {table} WHERE user_id = ? AND device_id = ?",  # noqa: S608 - names from the list above
                (user_id, device_id),
            )
        transaction.execute(
            "DELETE FROM to_device_transactions WHERE user_id = ? AND session = ?", (user_id, device_id)
        )
    return had_keys
