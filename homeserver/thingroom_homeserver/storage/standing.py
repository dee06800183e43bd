"""SQL of an account's standing, and of what commands changed in the database of a running server.

May import storage.connection. Called by accounts/standing.py and the commands.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

COLUMNS = {"locked": "locked", "suspended": "suspended"}
TRY_AGAIN = "try again"
"""The change of a server, whose name stands where others have a user: it is up again, says an administrator."""


def set_standing(transaction: Transaction, user_id: str, column: str, value: bool) -> None:
    transaction.execute(
        f"UPDATE accounts SET {COLUMNS[column]} = ? WHERE user_id = ?",  # noqa: S608 - from the table above
        (value, user_id),
    )


def list_accounts(connection: Reader, *, with_deactivated: bool) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT * FROM accounts WHERE deactivated <= ? ORDER BY user_id", (int(with_deactivated),)
    ).fetchall()


def note_outside_change(transaction: Transaction, user_id: str, what: str) -> None:
    transaction.execute("INSERT INTO outside_changes (user_id, what) VALUES (?, ?)", (user_id, what))


def outside_changes(connection: Reader) -> list[sqlite3.Row]:
    """number, user_id, what, in order."""
    return connection.execute("SELECT * FROM outside_changes ORDER BY number LIMIT 100").fetchall()


def delete_outside_changes(transaction: Transaction, up_to: int) -> None:
    transaction.execute("DELETE FROM outside_changes WHERE number <= ?", (up_to,))
