"""People of other servers whom a local user shares rooms with, for the user directory.

May import storage.connection. Their names are those of their member events. Called by client_api/user_directory.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_homeserver.storage.connection import Reader


def search_remote_people(connection: Reader, user_id: str, term: str, limit: int) -> list[sqlite3.Row]:
    """user_id, display_name, avatar_url (JSON values, or NULL) of those whose id or name contains `term`.

    O(members of other servers in the user's rooms): call it in a thread.
    """
    pattern = "%" + term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return connection.execute(
        "SELECT user_id, MAX(CAST(json AS TEXT) ->> '$.content.displayname') AS display_name,"
        " MAX(CAST(json AS TEXT) ->> '$.content.avatar_url') AS avatar_url FROM"
        " (SELECT other.user_id AS user_id, events.json AS json FROM room_members AS mine"
        " JOIN room_members AS other ON other.room_id = mine.room_id"
        " JOIN events ON events.event_id = other.event_id"
        " WHERE mine.user_id = ?1 AND mine.membership = 'join' AND other.membership = 'join' AND other.is_local = 0"
        " AND (other.user_id LIKE ?2 ESCAPE '\\'"
        " OR CAST(events.json AS TEXT) ->> '$.content.displayname' LIKE ?2 ESCAPE '\\'))"
        " GROUP BY user_id ORDER BY user_id LIMIT ?3",
        (user_id, pattern, limit),
    ).fetchall()
