"""What other servers' last transactions were answered with, so that one which is sent again gets the same answer.

May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

KEPT_FOR_EACH_SERVER = 20
"""A server sends one transaction at a time and repeats only that one."""


def answer_of_transaction(connection: Reader, origin: str, transaction_id: str) -> bytes | None:
    """The JSON that this transaction was answered with."""
    row = connection.execute(
        "SELECT answer FROM received_transactions WHERE origin = ? AND transaction_id = ?", (origin, transaction_id)
    ).fetchone()
    return None if row is None else row[0]


def note_received_transaction(transaction: Transaction, origin: str, transaction_id: str, answer: bytes) -> None:
    """Keep the answer of the server's newest transaction, and forget that of an old one."""
    row = transaction.execute("SELECT MAX(number) FROM received_transactions WHERE origin = ?", (origin,)).fetchone()
    number = (row[0] or 0) + 1
    transaction.execute(
        "INSERT OR REPLACE INTO received_transactions VALUES (?, ?, ?, ?)", (origin, transaction_id, number, answer)
    )
    transaction.execute(
        "DELETE FROM received_transactions WHERE origin = ? AND number <= ?", (origin, number - KEPT_FOR_EACH_SERVER)
    )
