"""SQL of account data and filters. `room_id` is "" for data that belong to no room.

May import storage.connection. Called by accounts/account_data.py and accounts/filters.py.
"""

from __future__ import annotations

import sqlite3

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

INVITE_PERMISSION = "m.invite_permission_config"


def read_data(connection: Reader, user_id: str, room_id: str, kind: str) -> str | None:
    """The content as JSON text."""
    row = connection.execute(
        "SELECT content FROM account_data WHERE user_id = ? AND room_id = ? AND type = ?", (user_id, room_id, kind)
    ).fetchone()
    return None if row is None else row["content"]


def blocks_invites(connection: Reader, user_id: str) -> bool:
    """Whether the user wants no invites (client-server API, "Invite permission")."""
    text = read_data(connection, user_id, "", INVITE_PERMISSION)
    content = None if text is None else orjson.loads(text)
    return isinstance(content, dict) and content.get("default_action") == "block"


def set_data(transaction: Transaction, user_id: str, room_id: str, kind: str, content: str, position: int) -> None:
    transaction.execute(
        "INSERT INTO account_data VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, room_id, type)"
        " DO UPDATE SET content = excluded.content, position = excluded.position",
        (user_id, room_id, kind, content, position),
    )


def count_data(connection: Reader, user_id: str) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM account_data WHERE user_id = ?", (user_id,)).fetchone()[0])


def data_since(connection: Reader, user_id: str, since: int, upto: int) -> list[sqlite3.Row]:
    """room_id, type, content of what was set at since < position <= upto, oldest first."""
    return connection.execute(
        "SELECT room_id, type, content FROM account_data WHERE user_id = ? AND position > ? AND position <= ?"
        " ORDER BY position",
        (user_id, since, upto),
    ).fetchall()


def read_filter(connection: Reader, user_id: str, filter_id: int) -> str | None:
    row = connection.execute(
        "SELECT definition FROM filters WHERE user_id = ? AND filter_id = ?", (user_id, filter_id)
    ).fetchone()
    return None if row is None else row["definition"]


def add_filter(transaction: Transaction, user_id: str, digest: bytes, definition: str) -> int:
    """The id of the filter, an older one where the user stored the same before."""
    row = transaction.execute(
        "SELECT filter_id FROM filters WHERE user_id = ? AND digest = ?", (user_id, digest)
    ).fetchone()
    if row is not None:
        return int(row["filter_id"])
    last = transaction.execute("SELECT MAX(filter_id) AS last FROM filters WHERE user_id = ?", (user_id,)).fetchone()
    filter_id = (last["last"] or 0) + 1
    transaction.execute("INSERT INTO filters VALUES (?, ?, ?, ?)", (user_id, filter_id, digest, definition))
    return int(filter_id)


def count_filters(connection: Reader, user_id: str) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM filters WHERE user_id = ?", (user_id,)).fetchone()[0])
