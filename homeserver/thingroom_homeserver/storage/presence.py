"""SQL of presence.

May import storage.connection. Called by accounts/presence.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

_COLUMNS = "user_id, state, status_msg, last_active_ts"


def set_presence(
    transaction: Transaction, user_id: str, state: str, status_msg: str | None, last_active_ms: int, position: int
) -> None:
    transaction.execute(
        "INSERT INTO presence VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET state = excluded.state, "
        "status_msg = excluded.status_msg, last_active_ts = excluded.last_active_ts, position = excluded.position",
        (user_id, state, status_msg, last_active_ms, position),
    )


def presence_of(connection: Reader, user_id: str) -> sqlite3.Row | None:
    """user_id, state, status_msg, last_active_ts."""
    row: sqlite3.Row | None = connection.execute(
        f"SELECT {_COLUMNS} FROM presence WHERE user_id = ?",  # noqa: S608 - constant columns
        (user_id,),
    ).fetchone()
    return row


def users_there(connection: Reader) -> list[sqlite3.Row]:
    """The same of everybody who is not offline."""
    return connection.execute(f"SELECT {_COLUMNS} FROM presence WHERE state != 'offline'").fetchall()  # noqa: S608 - constant


def changed_users(connection: Reader, since: int, upto: int) -> list[str]:
    """Whose presence changed last at since < position <= upto, newest first."""
    rows = connection.execute(
        "SELECT user_id FROM presence WHERE position > ? AND position <= ? ORDER BY position DESC", (since, upto)
    )
    return [row[0] for row in rows]
