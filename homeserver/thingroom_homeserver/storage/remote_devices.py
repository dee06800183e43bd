"""SQL of what is known of the devices of other servers' users. Keys are JSON text.

A list is kept while the user shares a room with a local one, for so long the user's server tells of every change. A
list without a number was not numbered by that server; a stale one has missed something.
May import thingroom_common and storage.connection. Called by encryption/remote_devices.py and room_servers.py.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class KnownList:
    """stream_id: the number of the last change in it."""

    stream_id: int | None
    is_stale: bool


def known_list(connection: Reader, user_id: str) -> KnownList | None:
    """None for a user whose devices are not followed."""
    row = connection.execute(
        "SELECT stream_id, is_stale FROM remote_device_lists WHERE user_id = ?", (user_id,)
    ).fetchone()
    return None if row is None else KnownList(row[0], bool(row[1]))


def set_list(transaction: Transaction, user_id: str, stream_id: int | None) -> None:
    """The devices that are stored are all of them, as of that number."""
    transaction.execute("INSERT OR REPLACE INTO remote_device_lists VALUES (?, ?, 0)", (user_id, stream_id))


def mark_stale(transaction: Transaction, user_id: str) -> None:
    transaction.execute("UPDATE remote_device_lists SET is_stale = 1 WHERE user_id = ?", (user_id,))


def forget_unshared(transaction: Transaction, user_id: str, but: str) -> None:
    """Follow the user's devices no more if no room but `but` is shared with local users."""
    transaction.execute(
        "DELETE FROM remote_device_lists WHERE user_id = ?1 AND NOT EXISTS (SELECT 1 FROM room_members AS theirs "
        "JOIN room_members AS ours ON ours.room_id = theirs.room_id AND ours.is_local = 1 AND ours.membership = 'join' "
        "WHERE theirs.user_id = ?1 AND theirs.membership = 'join' AND theirs.room_id != ?2)",
        (user_id, but),
    )


def followed_users_in(connection: Reader, room_id: str) -> list[str]:
    """Users of other servers in the room whose devices are followed."""
    rows = connection.execute(
        "SELECT user_id FROM room_members JOIN remote_device_lists USING (user_id) "
        "WHERE room_id = ? AND membership = 'join' AND is_local = 0",
        (room_id,),
    )
    return [row[0] for row in rows]


def set_device(transaction: Transaction, user_id: str, device_id: str, keys: str, display_name: str | None) -> None:
    transaction.execute(
        "INSERT OR REPLACE INTO remote_devices VALUES (?, ?, ?, ?)", (user_id, device_id, keys, display_name)
    )


def delete_device(transaction: Transaction, user_id: str, device_id: str) -> None:
    transaction.execute("DELETE FROM remote_devices WHERE user_id = ? AND device_id = ?", (user_id, device_id))


def devices_of(connection: Reader, user_id: str) -> list[sqlite3.Row]:
    """device_id, keys, display_name."""
    return connection.execute(
        "SELECT device_id, keys, display_name FROM remote_devices WHERE user_id = ?", (user_id,)
    ).fetchall()
