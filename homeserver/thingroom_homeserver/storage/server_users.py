"""Which users of one server are, or were, in a room: what decides which of its events that server may be told.

May import thingroom_common only. Whether the server is in the room now is in room_servers.py.
"""

from __future__ import annotations

from thingroom_homeserver.storage.connection import Reader


def users_of_server(connection: Reader, room_id: str, server_name: str) -> list[str]:
    """The users of the server who have, or had, any membership in the room."""
    rows = connection.execute(
        "SELECT user_id FROM room_members WHERE room_id = ? AND SUBSTR(user_id, INSTR(user_id, ':') + 1) = ?",
        (room_id, server_name),
    )
    return [row[0] for row in rows]


def is_server_invited(connection: Reader, room_id: str, server_name: str) -> bool:
    """Whether a user of the server is invited to the room."""
    row = connection.execute(
        "SELECT 1 FROM room_members WHERE room_id = ? AND membership = 'invite' "
        "AND SUBSTR(user_id, INSTR(user_id, ':') + 1) = ? LIMIT 1",
        (room_id, server_name),
    ).fetchone()
    return row is not None
