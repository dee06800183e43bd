"""SQL of room aliases.

May import storage.connection. Called by accounts/directory.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def find_alias(connection: Reader, alias: str) -> sqlite3.Row | None:
    """alias, room_id, creator."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM room_aliases WHERE alias = ?", (alias,)).fetchone()
    return row


def insert_alias(transaction: Transaction, alias: str, room_id: str, creator: str) -> bool:
    """False if the alias is taken."""
    done = transaction.execute(
        "INSERT INTO room_aliases VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (alias, room_id, creator)
    )
    return done.rowcount == 1


def delete_alias(transaction: Transaction, alias: str) -> None:
    transaction.execute("DELETE FROM room_aliases WHERE alias = ?", (alias,))


def move_aliases(transaction: Transaction, room_id: str, new_room_id: str) -> None:
    transaction.execute("UPDATE room_aliases SET room_id = ? WHERE room_id = ?", (new_room_id, room_id))


def aliases_of_room(connection: Reader, room_id: str) -> list[str]:
    rows = connection.execute("SELECT alias FROM room_aliases WHERE room_id = ? ORDER BY alias", (room_id,))
    return [row["alias"] for row in rows]
