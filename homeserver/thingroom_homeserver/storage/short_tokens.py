"""SQL of tokens that live for minutes: login tokens and OpenID tokens, by purpose and SHA-256 digest.

May import storage.connection. Called by accounts/short_tokens.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def insert_short_token(transaction: Transaction, digest: bytes, purpose: str, user_id: str, expires_ts: int) -> None:
    transaction.execute("INSERT INTO short_tokens VALUES (?, ?, ?, ?)", (digest, purpose, user_id, expires_ts))


def delete_expired(transaction: Transaction, now_ms: int) -> None:
    transaction.execute("DELETE FROM short_tokens WHERE expires_ts <= ?", (now_ms,))


def find_short_token(connection: Reader, digest: bytes, purpose: str, now_ms: int) -> str | None:
    """The user id of a token that is good."""
    row = connection.execute(
        "SELECT user_id FROM short_tokens WHERE digest = ? AND purpose = ? AND expires_ts > ?",
        (digest, purpose, now_ms),
    ).fetchone()
    return None if row is None else row["user_id"]


def take_short_token(transaction: Transaction, digest: bytes, purpose: str, now_ms: int) -> str | None:
    """The same, and it is gone."""
    user_id = find_short_token(transaction, digest, purpose, now_ms)
    transaction.execute("DELETE FROM short_tokens WHERE digest = ? AND purpose = ?", (digest, purpose))
    return user_id


def delete_short_tokens_of(transaction: Transaction, user_id: str) -> None:
    transaction.execute("DELETE FROM short_tokens WHERE user_id = ?", (user_id,))
