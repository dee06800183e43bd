"""SQL of pushers. `fields` is the JSON of what the client set besides; `position`: what is delivered or passed over.

May import storage.connection. Called by push/pushers.py and push/delivery.py.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

_COLUMNS = "id, user_id, app_id, pushkey, pushkey_ts, fields, position, badge"


@dataclass(frozen=True, slots=True)
class PusherRow:
    """One pusher. `pushkey_ts` in milliseconds; `badge`: the count of unread notifications that was sent last."""

    id: int
    user_id: str
    app_id: str
    pushkey: str
    pushkey_ts: int
    fields: str
    position: int
    badge: int


def set_pusher(
    transaction: Transaction,
    user_id: str,
    device_id: str,
    app_id: str,
    pushkey: str,
    *,
    fields: str,
    now_ms: int,
    position: int,
) -> int:
    """Make or update the pusher and return its id. An updated one goes on where it was."""
    row = transaction.execute(
        "INSERT INTO pushers (user_id, device_id, app_id, pushkey, pushkey_ts, fields, position) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (app_id, pushkey, user_id) DO UPDATE SET "
        "device_id = excluded.device_id, pushkey_ts = excluded.pushkey_ts, fields = excluded.fields RETURNING id",
        (user_id, device_id, app_id, pushkey, now_ms, fields, position),
    ).fetchone()
    return int(row[0])


def delete_pusher(transaction: Transaction, user_id: str, app_id: str, pushkey: str) -> None:
    transaction.execute(
        "DELETE FROM pushers WHERE app_id = ? AND pushkey = ? AND user_id = ?", (app_id, pushkey, user_id)
    )


def delete_others(transaction: Transaction, user_id: str, app_id: str, pushkey: str) -> None:
    """Remove the pushers of other users with that key."""
    transaction.execute(
        "DELETE FROM pushers WHERE app_id = ? AND pushkey = ? AND user_id != ?", (app_id, pushkey, user_id)
    )


def pushers_of(connection: Reader, user_id: str) -> list[PusherRow]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM pushers WHERE user_id = ? ORDER BY id", (user_id,))  # noqa: S608 - constant
    return [_pusher(row) for row in rows]


def find_pusher(connection: Reader, pusher_id: int) -> PusherRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM pushers WHERE id = ?", (pusher_id,)).fetchone()  # noqa: S608 - constant
    return None if row is None else _pusher(row)


def all_pushers(connection: Reader) -> list[tuple[int, str]]:
    """(id, user id) of every pusher: read once, at the start."""
    return [(row[0], row[1]) for row in connection.execute("SELECT id, user_id FROM pushers")]


def save_progress(transaction: Transaction, pusher_id: int, position: int, badge: int) -> None:
    transaction.execute("UPDATE pushers SET position = ?, badge = ? WHERE id = ?", (position, badge, pusher_id))


def _pusher(row: sqlite3.Row) -> PusherRow:
    return PusherRow(*row)
