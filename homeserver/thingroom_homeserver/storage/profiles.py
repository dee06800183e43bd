"""SQL of profiles: one row a field, its value as JSON text.

May import storage.connection. Called by accounts/profiles.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def read_fields(connection: Reader, user_id: str) -> dict[str, str]:
    """The profile's fields: name to JSON text."""
    rows = connection.execute("SELECT field, value FROM profiles WHERE user_id = ?", (user_id,))
    return {row["field"]: row["value"] for row in rows}


def set_field(transaction: Transaction, user_id: str, field: str, value: str) -> None:
    transaction.execute(
        "INSERT INTO profiles VALUES (?, ?, ?) ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value",
        (user_id, field, value),
    )


def delete_field(transaction: Transaction, user_id: str, field: str) -> None:
    transaction.execute("DELETE FROM profiles WHERE user_id = ? AND field = ?", (user_id, field))
