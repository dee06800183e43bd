"""SQL of the stream of device list changes: whose keys changed after a position, and who came to and left a room.

May import storage. Called by encryption/device_lists.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def note_change(transaction: Transaction, user_id: str, position: int) -> None:
    """The user's devices or keys changed, for everyone to see."""
    transaction.execute(
        "INSERT INTO device_list_changes VALUES (?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET position = excluded.position",
        (user_id, position),
    )


def note_own_signature(transaction: Transaction, signer: str, user_id: str, position: int) -> None:
    """`signer` signed a key of `user_id`, for the signer alone to see."""
    transaction.execute(
        "INSERT INTO own_signature_changes VALUES (?, ?, ?) ON CONFLICT (signer, user_id)"
        " DO UPDATE SET position = excluded.position",
        (signer, user_id, position),
    )


def users_changed(connection: Reader, after: int, upto: int) -> list[str]:
    """Users whose last change is at after < position <= upto."""
    rows = connection.execute(
        "SELECT user_id FROM device_list_changes WHERE position > ? AND position <= ? ORDER BY position", (after, upto)
    )
    return [row["user_id"] for row in rows]


def users_signed_by(connection: Reader, signer: str, after: int, upto: int) -> list[str]:
    """Users of whom `signer` last signed a key at after < position <= upto."""
    rows = connection.execute(
        "SELECT user_id FROM own_signature_changes WHERE signer = ? AND position > ? AND position <= ?",
        (signer, after, upto),
    )
    return [row["user_id"] for row in rows]


def comings_and_goings(connection: Reader, room_id: str, after: int, upto: int) -> set[str]:
    """Users who joined or left the room at after < position <= upto."""
    rows = connection.execute(
        "SELECT user_id FROM membership_changes WHERE room_id = ? AND position > ? AND position <= ?"
        " AND (membership = 'join') != (COALESCE(previous, '') = 'join')",
        (room_id, after, upto),
    )
    return {row["user_id"] for row in rows}


def joined_members(connection: Reader, room_id: str) -> list[str]:
    rows = connection.execute("SELECT user_id FROM room_members WHERE room_id = ? AND membership = 'join'", (room_id,))
    return [row["user_id"] for row in rows]


def share_a_room(connection: Reader, user_id: str, other: str) -> bool:
    """Whether both are joined to some room."""
    row = connection.execute(
        "SELECT 1 FROM room_members AS theirs JOIN room_members AS mine ON mine.room_id = theirs.room_id"
        " AND mine.user_id = ? AND mine.membership = 'join'"
        " WHERE theirs.user_id = ? AND theirs.membership = 'join' LIMIT 1",
        (user_id, other),
    ).fetchone()
    return row is not None
