"""SQL of devices' encryption keys: identity keys, one-time keys, fallback keys. Keys are JSON text.

May import storage. Called by encryption/device_keys.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.cross_signing import delete_keys_of


def set_device_keys(transaction: Transaction, user_id: str, device_id: str, keys: str) -> None:
    transaction.execute(
        "INSERT INTO device_keys VALUES (?, ?, ?) ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
        (user_id, device_id, keys),
    )


def device_keys_text(connection: Reader, user_id: str, device_id: str) -> str | None:
    """The identity keys of one device."""
    row = connection.execute(
        "SELECT keys FROM device_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    return None if row is None else row["keys"]


def forget_encryption(transaction: Transaction, user_id: str) -> None:
    """What the user has beyond devices: cross-signing keys and backups."""
    delete_keys_of(transaction, user_id)
    transaction.execute("DELETE FROM backed_up_keys WHERE user_id = ?", (user_id,))
    transaction.execute("DELETE FROM key_backups WHERE user_id = ?", (user_id,))


def device_keys_of(connection: Reader, user_id: str) -> list[sqlite3.Row]:
    """device_id, keys, display_name of the user's devices that have keys."""
    return connection.execute(
        "SELECT device_keys.device_id AS device_id, keys, display_name FROM device_keys"
        " LEFT JOIN devices ON devices.user_id = device_keys.user_id AND devices.device_id = device_keys.device_id"
        " WHERE device_keys.user_id = ?",
        (user_id,),
    ).fetchall()


def find_one_time_key(connection: Reader, user_id: str, device_id: str, algorithm: str, key_id: str) -> str | None:
    row = connection.execute(
        "SELECT key FROM one_time_keys WHERE user_id = ? AND device_id = ? AND algorithm = ? AND key_id = ?",
        (user_id, device_id, algorithm, key_id),
    ).fetchone()
    return None if row is None else row["key"]


def add_one_time_keys(
    transaction: Transaction, user_id: str, device_id: str, keys: Iterable[tuple[str, str, str]]
) -> None:
    """`keys`: (algorithm, key id, key). Keys of one call get one number: they are given out in order of calls."""
    row = transaction.execute(
        "SELECT MAX(number) AS last FROM one_time_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    ).fetchone()
    number = (row["last"] or 0) + 1
    transaction.executemany(
        "INSERT INTO one_time_keys VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(user_id, device_id, algorithm, key_id, key, number) for algorithm, key_id, key in keys],
    )


def count_one_time_keys(connection: Reader, user_id: str, device_id: str) -> dict[str, int]:
    rows = connection.execute(
        "SELECT algorithm, COUNT(*) AS number FROM one_time_keys WHERE user_id = ? AND device_id = ?"
        " GROUP BY algorithm",
        (user_id, device_id),
    )
    return {row["algorithm"]: row["number"] for row in rows}


def take_one_time_key(transaction: Transaction, user_id: str, device_id: str, algorithm: str) -> tuple[str, str] | None:
    """(key id, key) of the oldest one-time key, which is gone then."""
    row = transaction.execute(
        "SELECT key_id, key FROM one_time_keys WHERE user_id = ? AND device_id = ? AND algorithm = ?"
        " ORDER BY number, key_id LIMIT 1",
        (user_id, device_id, algorithm),
    ).fetchone()
    if row is None:
        return None
    transaction.execute(
        "DELETE FROM one_time_keys WHERE user_id = ? AND device_id = ? AND algorithm = ? AND key_id = ?",
        (user_id, device_id, algorithm, row["key_id"]),
    )
    return row["key_id"], row["key"]


def set_fallback_key(
    transaction: Transaction, user_id: str, device_id: str, algorithm: str, key_id: str, key: str
) -> None:
    """A new fallback key is unused; the same one again stays what it was."""
    transaction.execute(
        "INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET"
        " used = CASE WHEN key_id = excluded.key_id AND key = excluded.key THEN used ELSE 0 END,"
        " key_id = excluded.key_id, key = excluded.key",
        (user_id, device_id, algorithm, key_id, key),
    )


def use_fallback_key(transaction: Transaction, user_id: str, device_id: str, algorithm: str) -> tuple[str, str] | None:
    """(key id, key) of the fallback key, which is marked as used."""
    row = transaction.execute(
        "UPDATE fallback_keys SET used = 1 WHERE user_id = ? AND device_id = ? AND algorithm = ? RETURNING key_id, key",
        (user_id, device_id, algorithm),
    ).fetchone()
    return None if row is None else (row["key_id"], row["key"])


def fallback_algorithms(connection: Reader, user_id: str, device_id: str) -> set[str]:
    """Algorithms for which there is a fallback key, used or not."""
    rows = connection.execute(
        "SELECT algorithm FROM fallback_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    )
    return {row["algorithm"] for row in rows}


def unused_fallback_algorithms(connection: Reader, user_id: str, device_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT algorithm FROM fallback_keys WHERE user_id = ? AND device_id = ? AND used = 0 ORDER BY algorithm",
        (user_id, device_id),
    )
    return [row["algorithm"] for row in rows]
