"""Redactions that came before what they redact.

Functions over a transaction. May import thingroom_common only. Called by rooms/redactions.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction


def keep_early_redaction(transaction: Transaction, target_id: str, redaction_id: str, room_id: str) -> None:
    transaction.execute("INSERT OR IGNORE INTO early_redactions VALUES (?, ?, ?)", (target_id, redaction_id, room_id))


def take_early_redactions(transaction: Transaction, target_id: str) -> list[str]:
    """The redactions that wait for the event; they wait no more."""
    rows = transaction.execute(
        "DELETE FROM early_redactions WHERE target_id = ? RETURNING redaction_id", (target_id,)
    ).fetchall()
    return sorted(row[0] for row in rows)
