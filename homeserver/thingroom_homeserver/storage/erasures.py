"""SQL of the users who were erased, and when.

May import storage.connection. Called by accounts/accounts.py and rooms/erasures.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import current_position


def note_erasure(transaction: Transaction, user_id: str) -> None:
    """Everything that the user sent up to now."""
    transaction.execute(
        "INSERT INTO erasures VALUES (?, ?) ON CONFLICT DO NOTHING", (user_id, current_position(transaction))
    )


def all_erasures(connection: Reader) -> list[tuple[str, int]]:
    """(user id, position)."""
    return [(row[0], row[1]) for row in connection.execute("SELECT user_id, position FROM erasures")]
