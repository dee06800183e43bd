"""SQL of refresh tokens and of the access tokens they give. Tokens come as SHA-256 digests.

May import storage.connection. Called by accounts/refreshing.py, which holds the rules.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction

KEEP_REVOKED_MS = 24 * 3600 * 1000


def insert_refresh_token(
    transaction: Transaction, digest: bytes, user_id: str, device_id: str, now_ms: int, expires_ts: int | None
) -> None:
    transaction.execute(
        "INSERT INTO refresh_tokens (digest, user_id, device_id, created_ts, expires_ts) VALUES (?, ?, ?, ?, ?)",
        (digest, user_id, device_id, now_ms, expires_ts),
    )


def find_refresh_token(transaction: Transaction, digest: bytes) -> sqlite3.Row | None:
    """Its row, with deactivated and locked of the account."""
    row: sqlite3.Row | None = transaction.execute(
        "SELECT refresh_tokens.*, deactivated, locked FROM refresh_tokens"
        " JOIN accounts ON accounts.user_id = refresh_tokens.user_id WHERE digest = ?",
        (digest,),
    ).fetchone()
    return row


def succeed(
    transaction: Transaction, old: sqlite3.Row, digest: bytes, access: bytes, now_ms: int, expires_ts: int | None
) -> None:
    """New tokens in the place of `old`, which stays good until one of them is used. Earlier unused ones go."""
    transaction.execute("DELETE FROM refresh_tokens WHERE digest = ?", (old["successor"],))
    transaction.execute("DELETE FROM access_tokens WHERE digest = ?", (old["successor_access"],))
    transaction.execute(
        "UPDATE refresh_tokens SET successor = ?, successor_access = ? WHERE digest = ?",
        (digest, access, old["digest"]),
    )
    transaction.execute(
        "INSERT INTO access_tokens (digest, user_id, device_id, created_ts, expires_ts, replaces)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (access, old["user_id"], old["device_id"], now_ms, expires_ts, old["digest"]),
    )


def revoke_predecessor(transaction: Transaction, digest: bytes) -> None:
    """The refresh token `digest` is used, so the one it came from is not good any more."""
    transaction.execute(
        "UPDATE access_tokens SET replaces = NULL WHERE replaces IN (SELECT digest FROM refresh_tokens"
        " WHERE successor = ?)",
        (digest,),
    )
    transaction.execute("UPDATE refresh_tokens SET revoked = 1 WHERE successor = ?", (digest,))


def note_first_use(transaction: Transaction, access: bytes, now_ms: int) -> list[bytes]:
    """An access token from a refresh is used: what came before it is revoked. Answers the access tokens that go."""
    row = transaction.execute(
        "SELECT user_id, device_id, replaces FROM access_tokens WHERE digest = ?", (access,)
    ).fetchone()
    if row is None or row["replaces"] is None:
        return []
    of_device = (row["user_id"], row["device_id"])
    transaction.execute("UPDATE refresh_tokens SET revoked = 1 WHERE digest = ?", (row["replaces"],))
    transaction.execute("UPDATE access_tokens SET replaces = NULL WHERE digest = ?", (access,))
    transaction.execute(
        "DELETE FROM refresh_tokens WHERE user_id = ? AND device_id = ? AND revoked = 1 AND created_ts < ?",
        (*of_device, now_ms - KEEP_REVOKED_MS),
    )
    gone = transaction.execute(
        "DELETE FROM access_tokens WHERE user_id = ? AND device_id = ? AND digest != ? AND replaces IS NULL"
        " RETURNING digest",
        (*of_device, access),
    ).fetchall()
    return [old["digest"] for old in gone]
