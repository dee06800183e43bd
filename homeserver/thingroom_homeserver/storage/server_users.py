"""Which users of one server are, or were, in a room: what decides what that server may be told.

May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_homeserver.storage.connection import Reader

_OF_SERVER = "SUBSTR(user_id, INSTR(user_id, ':') + 1)"


def is_server_joined(connection: Reader, room_id: str, server: str) -> bool:
    """Whether a user of the server is joined to the room now."""
    row = connection.execute(
        f"SELECT 1 FROM room_members WHERE room_id = ? AND membership = 'join' AND {_OF_SERVER} = ? LIMIT 1",  # noqa: S608 - constant
        (room_id, server),
    ).fetchone()
    return row is not None


def users_of_server(connection: Reader, room_id: str, server: str) -> list[str]:
    """The users of the server who have, or had, any membership in the room."""
    rows = connection.execute(
        f"SELECT user_id FROM room_members WHERE room_id = ? AND {_OF_SERVER} = ?",  # noqa: S608 - constant
        (room_id, server),
    )
    return [row[0] for row in rows]


def joined_servers(connection: Reader, room_id: str) -> list[str]:
    """The servers with a user who is joined to the room, that with the most users first."""
    rows = connection.execute(
        f"SELECT {_OF_SERVER} AS server FROM room_members WHERE room_id = ? AND membership = 'join' "  # noqa: S608 - constant
        "GROUP BY server ORDER BY COUNT(*) DESC, server",
        (room_id,),
    )
    return [row[0] for row in rows]
