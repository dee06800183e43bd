"""SQL of registration tokens, found by their SHA-256 digest.

May import storage.connection. Called by accounts/registration_tokens.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

_GOOD = "(uses_allowed IS NULL OR used < uses_allowed) AND (expires_ts IS NULL OR expires_ts > ?)"


def insert_registration_token(
    transaction: Transaction, digest: bytes, token: str, uses_allowed: int | None, expires_ts: int | None, now_ms: int
) -> bool:
    """False when there is one of that text."""
    done = transaction.execute(
        "INSERT INTO registration_tokens VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
        (digest, token, uses_allowed, expires_ts, now_ms),
    )
    return done.rowcount == 1


def is_good(connection: Reader, digest: bytes, now_ms: int) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM registration_tokens WHERE digest = ? AND {_GOOD}",  # noqa: S608 - a constant
        (digest, now_ms),
    ).fetchone()
    return row is not None


def use_registration_token(transaction: Transaction, digest: bytes, now_ms: int) -> bool:
    """Count one use; False when none is left."""
    done = transaction.execute(
        f"UPDATE registration_tokens SET used = used + 1 WHERE digest = ? AND {_GOOD}",  # noqa: S608 - a constant
        (digest, now_ms),
    )
    return done.rowcount == 1


def list_registration_tokens(connection: Reader) -> list[sqlite3.Row]:
    """token, uses_allowed, used, expires_ts."""
    return connection.execute("SELECT * FROM registration_tokens ORDER BY created_ts").fetchall()


def delete_registration_token(transaction: Transaction, digest: bytes) -> bool:
    return transaction.execute("DELETE FROM registration_tokens WHERE digest = ?", (digest,)).rowcount == 1
