"""SQL of email addresses: those of accounts, and those that are being verified; and of names at a single sign-on.

May import storage.connection. Called by accounts/addresses.py and accounts/external_ids.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def user_with_address(connection: Reader, medium: str, address: str) -> str | None:
    """The active account that has the address."""
    row = connection.execute(
        "SELECT third_party_ids.user_id AS user_id FROM third_party_ids"
        " JOIN accounts ON accounts.user_id = third_party_ids.user_id"
        " WHERE medium = ? AND address = ? AND deactivated = 0",
        (medium, address),
    ).fetchone()
    return None if row is None else row["user_id"]


def addresses_of(connection: Reader, user_id: str) -> list[sqlite3.Row]:
    """medium, address, validated_ts, added_ts."""
    return connection.execute(
        "SELECT * FROM third_party_ids WHERE user_id = ? ORDER BY added_ts, address", (user_id,)
    ).fetchall()


def insert_address(
    transaction: Transaction, medium: str, address: str, user_id: str, validated_ts: int, now_ms: int
) -> bool:
    """False when another account has it."""
    owner = user_with_address(transaction, medium, address)
    if owner is not None and owner != user_id:
        return False
    transaction.execute(
        "INSERT OR REPLACE INTO third_party_ids VALUES (?, ?, ?, ?, ?)",
        (medium, address, user_id, validated_ts, now_ms),
    )
    return True


def delete_address(transaction: Transaction, medium: str, address: str, user_id: str) -> None:
    """No mail goes there any more either."""
    transaction.execute(
        "DELETE FROM third_party_ids WHERE medium = ? AND address = ? AND user_id = ?", (medium, address, user_id)
    )
    if medium == "email":
        transaction.execute(
            "DELETE FROM pushers WHERE app_id = 'm.email' AND pushkey = ? AND user_id = ?", (address, user_id)
        )


def delete_everything_of(transaction: Transaction, user_id: str) -> None:
    for table in ("third_party_ids", "external_ids", "bound_addresses"):
        transaction.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,))  # noqa: S608 - names from above


def find_validation(connection: Reader, sid: str, now_ms: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM email_validations WHERE sid = ? AND expires_ts > ?", (sid, now_ms)
    ).fetchone()
    return row


def find_validation_of_secret(
    connection: Reader, purpose: str, address: str, client_secret: str, now_ms: int
) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM email_validations WHERE purpose = ? AND address = ? AND client_secret = ? AND expires_ts > ?",
        (purpose, address, client_secret, now_ms),
    ).fetchone()
    return row


def put_validation(
    transaction: Transaction,
    sid: str,
    purpose: str,
    address: str,
    client_secret: str,
    send_attempt: int,
    token_digest: bytes | None,
    next_link: str | None,
    expires_ts: int,
) -> None:
    """Replaces what the purpose, address and secret had."""
    transaction.execute(
        "INSERT OR REPLACE INTO email_validations VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (sid, purpose, address, client_secret, send_attempt, token_digest, next_link, expires_ts),
    )


def delete_expired_validations(transaction: Transaction, now_ms: int) -> None:
    transaction.execute("DELETE FROM email_validations WHERE expires_ts <= ?", (now_ms,))


def mark_validated(transaction: Transaction, sid: str, now_ms: int) -> None:
    """The token is used up."""
    transaction.execute(
        "UPDATE email_validations SET validated_ts = ?, token_digest = NULL WHERE sid = ?", (now_ms, sid)
    )


def take_validation(transaction: Transaction, sid: str) -> bool:
    """False when it is gone already."""
    return transaction.execute("DELETE FROM email_validations WHERE sid = ?", (sid,)).rowcount == 1


def user_with_external_id(connection: Reader, provider: str, external_id: str) -> str | None:
    row = connection.execute(
        "SELECT user_id FROM external_ids WHERE provider = ? AND external_id = ?", (provider, external_id)
    ).fetchone()
    return None if row is None else row["user_id"]


def insert_external_id(transaction: Transaction, provider: str, external_id: str, user_id: str) -> None:
    transaction.execute(
        "INSERT INTO external_ids VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (provider, external_id, user_id)
    )


def has_external_id(connection: Reader, user_id: str) -> bool:
    return connection.execute("SELECT 1 FROM external_ids WHERE user_id = ?", (user_id,)).fetchone() is not None
