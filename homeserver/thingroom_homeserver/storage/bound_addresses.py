"""SQL of the addresses that identity servers were told of.

May import storage.connection. Called by accounts/bindings.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def note_bound(transaction: Transaction, user_id: str, medium: str, address: str, id_server: str) -> None:
    transaction.execute(
        "INSERT INTO bound_addresses VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (user_id, medium, address, id_server)
    )


def forget_bound(transaction: Transaction, user_id: str, medium: str, address: str, id_server: str) -> None:
    transaction.execute(
        "DELETE FROM bound_addresses WHERE user_id = ? AND medium = ? AND address = ? AND id_server = ?",
        (user_id, medium, address, id_server),
    )


def bound_of(connection: Reader, user_id: str) -> list[tuple[str, str, str]]:
    """(medium, address, id server) of everything that is bound to the user."""
    rows = connection.execute(
        "SELECT medium, address, id_server FROM bound_addresses WHERE user_id = ? ORDER BY 1, 2, 3", (user_id,)
    )
    return [(row[0], row[1], row[2]) for row in rows]
