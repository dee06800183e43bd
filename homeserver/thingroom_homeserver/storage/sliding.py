"""SQL of sliding sync: its connections, and the two numbers a room is sorted by.

May import storage.connection. Called by sliding/connections.py, sliding/user_rooms.py and sliding/room_result.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

# The same text as in the index events_room_bump, which SQLite would not use otherwise.
_BUMPS = (
    "type IN ('m.room.create', 'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start', "
    "'org.matrix.msc3381.poll.start', 'm.beacon_info', 'org.matrix.msc3672.beacon_info')"
)


def last_event_position(connection: Reader, room_id: str, upto: int) -> int:
    """The position of the room's last event at or before `upto`; 0 if there is none."""
    row = connection.execute(
        "SELECT MAX(position) FROM events WHERE room_id = ? AND position <= ?", (room_id, upto)
    ).fetchone()
    return int(row[0] or 0)


def last_bump_position(connection: Reader, room_id: str, upto: int) -> int | None:
    """The position of the last event at or before `upto` whose type moves a room up in clients' lists."""
    row = connection.execute(
        f"SELECT MAX(position) FROM events WHERE room_id = ? AND position <= ? AND position IS NOT NULL AND {_BUMPS}",  # noqa: S608 - constants
        (room_id, upto),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def was_away(connection: Reader, room_id: str, user_id: str, after: int, upto: int) -> bool:
    """Whether the user was not joined at some time of after < position <= upto."""
    row = connection.execute(
        "SELECT 1 FROM membership_changes WHERE room_id = ? AND user_id = ? AND position > ? AND position <= ? "
        "AND (membership != 'join' OR previous IS NOT 'join') LIMIT 1",
        (room_id, user_id, after, upto),
    ).fetchone()
    return row is not None


def find_connection(connection: Reader, number: int) -> sqlite3.Row | None:
    """user_id, device_id, conn_id, base_state, last_state, used_ts of a connection."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT user_id, device_id, conn_id, base_state, last_state, used_ts FROM sliding_connections "
        "WHERE connection = ?",
        (number,),
    ).fetchone()
    return row


def rows_of_connection(connection: Reader, number: int) -> list[tuple[str, int, str]]:
    """(room id, state, data), by room and state."""
    rows = connection.execute(
        "SELECT room_id, state, data FROM sliding_rooms WHERE connection = ? ORDER BY room_id, state", (number,)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def add_connection(
    transaction: Transaction, user_id: str, device_id: str, conn_id: str, now_ms: int, keep: int, oldest_ms: int
) -> int:
    """The number of a new connection, in place of an older one of that name.

    The device keeps its `keep` last used ones; what nobody used since `oldest_ms` goes.
    """
    gone = transaction.execute(
        "SELECT connection FROM sliding_connections WHERE user_id = ?1 AND device_id = ?2 AND conn_id = ?3 UNION "
        "SELECT * FROM (SELECT connection FROM sliding_connections WHERE user_id = ?1 AND device_id = ?2 "
        "ORDER BY used_ts DESC, connection DESC LIMIT -1 OFFSET ?4) UNION "
        "SELECT * FROM (SELECT connection FROM sliding_connections WHERE used_ts < ?5 LIMIT 20)",
        (user_id, device_id, conn_id, keep - 1, oldest_ms),
    ).fetchall()
    for row in gone:
        transaction.execute("DELETE FROM sliding_rooms WHERE connection = ?", (row[0],))
        transaction.execute("DELETE FROM sliding_connections WHERE connection = ?", (row[0],))
    added = transaction.execute(
        "INSERT INTO sliding_connections (user_id, device_id, conn_id, base_state, last_state, used_ts) "
        "VALUES (?, ?, ?, 0, 0, ?) RETURNING connection",
        (user_id, device_id, conn_id, now_ms),
    ).fetchone()
    return int(added[0])


def touch_connection(transaction: Transaction, number: int, now_ms: int) -> None:
    transaction.execute("UPDATE sliding_connections SET used_ts = ? WHERE connection = ?", (now_ms, number))


def add_state(
    transaction: Transaction, number: int, good: Sequence[int], state: int, data: Mapping[str, str], now_ms: int
) -> bool:
    """Write `state`, which is the last of `good`: the acknowledged one and what may follow it.

    States after the one that was acknowledged at the last write, and not in `good`, are void. False: the connection is
    gone.
    """
    row = transaction.execute("SELECT base_state FROM sliding_connections WHERE connection = ?", (number,)).fetchone()
    if row is None:
        return False
    base = good[0]
    transaction.execute(
        "UPDATE sliding_connections SET base_state = ?, last_state = ?, used_ts = ? WHERE connection = ?",
        (base, state, now_ms, number),
    )
    transaction.execute(
        f"DELETE FROM sliding_rooms WHERE connection = ? AND state > ? AND state NOT IN ({','.join('?' * len(good))})",  # noqa: S608 - placeholders
        (number, row[0], *good),
    )
    for room_id, text in data.items():
        transaction.execute(
            "DELETE FROM sliding_rooms WHERE connection = ?1 AND room_id = ?2 AND state < "
            "(SELECT MAX(state) FROM sliding_rooms WHERE connection = ?1 AND room_id = ?2 AND state <= ?3)",
            (number, room_id, base),
        )
        transaction.execute("INSERT INTO sliding_rooms VALUES (?, ?, ?, ?)", (number, room_id, state, text))
    return True
