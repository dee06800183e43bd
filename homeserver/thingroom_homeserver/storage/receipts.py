"""SQL of receipts. `thread_id` is "" for an unthreaded receipt.

May import storage.connection. Called by accounts/receipts.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

ROOMS_A_QUERY = 500


def find_receipt(connection: Reader, room_id: str, user_id: str, kind: str, thread_id: str) -> str | None:
    """The event id of the receipt."""
    row = connection.execute(
        "SELECT event_id FROM receipts WHERE room_id = ? AND user_id = ? AND type = ? AND thread_id = ?",
        (room_id, user_id, kind, thread_id),
    ).fetchone()
    return None if row is None else row["event_id"]


def set_receipt(
    transaction: Transaction,
    *,
    room_id: str,
    user_id: str,
    kind: str,
    thread_id: str,
    event_id: str,
    ts: int,
    position: int,
) -> None:
    transaction.execute(
        "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (room_id, user_id, type, thread_id)"
        " DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, position = excluded.position",
        (room_id, user_id, kind, thread_id, event_id, ts, position),
    )


def receipts_since(connection: Reader, room_ids: Collection[str], since: int, upto: int) -> Iterator[sqlite3.Row]:
    """room_id, user_id, type, thread_id, event_id, ts of what was set at since < position <= upto."""
    wanted = list(room_ids)
    for start in range(0, len(wanted), ROOMS_A_QUERY):
        some = wanted[start : start + ROOMS_A_QUERY]
        query = f"SELECT * FROM receipts WHERE room_id IN ({','.join('?' * len(some))})"  # noqa: S608 - placeholders
        bounds = "AND position > ? AND position <= ? ORDER BY position"
        yield from connection.execute(f"{query} {bounds}", (*some, since, upto))


def place_of_event(connection: Reader, room_id: str, event_id: str) -> int | None:
    """The position of an event of that room; None if there is none such in the stream."""
    row = connection.execute(
        "SELECT position FROM events WHERE event_id = ? AND room_id = ? AND position IS NOT NULL", (event_id, room_id)
    ).fetchone()
    return None if row is None else int(row["position"])
