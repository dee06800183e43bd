"""Which event a client's transaction id made: written with the event, so a retry gets the same answer, for a week.

The scope is one device and one endpoint with its path (Client-Server API, "Transaction identifiers").
May import thingroom_common only.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class ClientTransaction:
    """`session` names the device or the application service, `scope` the endpoint and its path."""

    user_id: str
    session: str
    scope: str
    transaction_id: str


def event_of_transaction(connection: Reader, key: ClientTransaction) -> str | None:
    """The event that this transaction made earlier."""
    row = connection.execute(
        "SELECT event_id FROM transaction_ids WHERE user_id = ? AND session = ? AND transaction_id = ? AND scope = ?",
        (key.user_id, key.session, key.transaction_id, key.scope),
    ).fetchone()
    return None if row is None else row[0]


def note_transaction(transaction: Transaction, key: ClientTransaction, event_id: str, now_ms: int) -> None:
    transaction.execute(
        "INSERT INTO transaction_ids VALUES (?, ?, ?, ?, ?, ?)",
        (key.user_id, key.session, key.transaction_id, key.scope, event_id, now_ms),
    )


def forget_before(transaction: Transaction, before_ms: int, limit: int) -> int:
    """Forget up to `limit` of those that were used before; how many those were."""
    return transaction.execute(
        "DELETE FROM transaction_ids WHERE (user_id, session, transaction_id, scope) IN ("
        "SELECT user_id, session, transaction_id, scope FROM transaction_ids WHERE used_ts < ? LIMIT ?)",
        (before_ms, limit),
    ).rowcount
