"""SQL of cross-signing keys and of the signatures that were put on keys after their upload. Keys are JSON text.

May import storage.connection. Called by encryption/cross_signing.py and encryption/device_keys.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class KeySignature:
    """`signer_key_id` of `signer` signed the key `key_name` (a device id or a public key) of `user_id`."""

    user_id: str
    key_name: str
    signer: str
    signer_key_id: str
    signature: str


def keys_of(connection: Reader, user_id: str) -> list[sqlite3.Row]:
    """usage, public_key, key of the user's cross-signing keys."""
    return connection.execute(
        "SELECT usage, public_key, key FROM cross_signing_keys WHERE user_id = ?", (user_id,)
    ).fetchall()


def is_public_key_of(connection: Reader, user_id: str, name: str) -> bool:
    """Whether `name` is the public part of one of the user's cross-signing keys."""
    row = connection.execute(
        "SELECT 1 FROM cross_signing_keys WHERE user_id = ? AND public_key = ?", (user_id, name)
    ).fetchone()
    return row is not None


def set_key(transaction: Transaction, user_id: str, usage: str, public_key: str, key: str) -> None:
    transaction.execute(
        "INSERT INTO cross_signing_keys VALUES (?, ?, ?, ?) ON CONFLICT (user_id, usage)"
        " DO UPDATE SET public_key = excluded.public_key, key = excluded.key",
        (user_id, usage, public_key, key),
    )


def delete_keys_of(transaction: Transaction, user_id: str) -> None:
    """The user's cross-signing keys, with all signatures by and on them."""
    for row in keys_of(transaction, user_id):
        forget_key(transaction, user_id, row["public_key"])
    transaction.execute("DELETE FROM cross_signing_keys WHERE user_id = ?", (user_id,))


def add_signatures(transaction: Transaction, signatures: Iterable[KeySignature]) -> None:
    transaction.executemany(
        "INSERT INTO key_signatures VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, key_name, signer, signer_key_id)"
        " DO UPDATE SET signature = excluded.signature",
        [(each.user_id, each.key_name, each.signer, each.signer_key_id, each.signature) for each in signatures],
    )


def signatures_on(connection: Reader, user_id: str, key_name: str, viewer: str) -> list[sqlite3.Row]:
    """signer, signer_key_id, signature by the key's owner and by `viewer`: what `viewer` may see."""
    return connection.execute(
        "SELECT signer, signer_key_id, signature FROM key_signatures WHERE user_id = ? AND key_name = ?"
        " AND signer IN (?, ?)",
        (user_id, key_name, user_id, viewer),
    ).fetchall()


def forget_signatures_on(transaction: Transaction, user_id: str, key_name: str) -> None:
    transaction.execute("DELETE FROM key_signatures WHERE user_id = ? AND key_name = ?", (user_id, key_name))


def forget_key(transaction: Transaction, user_id: str, key_name: str) -> None:
    """A device or cross-signing key is gone: drop the signatures on it and by it."""
    forget_signatures_on(transaction, user_id, key_name)
    transaction.execute(
        "DELETE FROM key_signatures WHERE signer = ? AND signer_key_id = ?", (user_id, f"ed25519:{key_name}")
    )
