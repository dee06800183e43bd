"""Rooms as an administrator sees them: a list, and the removal of one that nobody here is in any more.

May import thingroom_common and storage. Used by commands.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, Transaction
from thingroom_homeserver.admin.backup import locked, reading
from thingroom_homeserver.server import DATABASE_NAME
from thingroom_homeserver.storage.schema import MIGRATIONS

PRESENT = ("join", "invite", "knock")
OF_EVENTS = {
    "event_edges": "event_id IN gone OR prev_event_id IN gone",
    "gap_missing": "gap IN (SELECT number FROM gaps WHERE room_id = ?1)",
    "event_relations": "event_id IN gone OR parent_id IN gone",
    "event_search": "rowid IN (SELECT position FROM events WHERE room_id = ?1)",
    "search_waiting": "position IN (SELECT position FROM events WHERE room_id = ?1)",
    "state_group_deltas": "state_group IN (SELECT id FROM state_groups WHERE room_id = ?1)",
    "transaction_ids": "event_id IN gone",
    "staged_edges": "event_id IN (SELECT event_id FROM staged_events WHERE room_id = ?1)",
}
"""Tables that belong to a room without naming it. Whatever has a column room_id is found by that."""


@dataclass(frozen=True)
class RoomLine:
    """One room of the list; `name` is empty where it has none."""

    room_id: str
    version: str
    is_public: bool
    joined: int
    local: int
    events: int
    name: str


def list_rooms(data: Path) -> list[RoomLine]:
    """All rooms, those with the most events first. Raises ConfigError, sqlite3.Error."""
    with reading(data / DATABASE_NAME) as connection:
        return [_line(*row) for row in connection.execute(_LIST)]


async def purge_room(data: Path, room_id: str) -> int:
    """Remove a room and all of its events; how many those were.

    Raises ConfigError while the server runs, and for a room that is not there or that somebody of this server is in.
    """
    with locked(data):
        database = await Database.open(data / DATABASE_NAME, MIGRATIONS)
        try:
            return await database.write(lambda transaction: _purge(transaction, room_id))
        finally:
            await database.close()


_LIST = """
SELECT r.room_id, r.version, r.is_public,
    (SELECT COUNT(*) FROM room_members m WHERE m.room_id = r.room_id AND membership = 'join') AS joined,
    (SELECT COUNT(*) FROM room_members m WHERE m.room_id = r.room_id AND membership = 'join' AND is_local) AS local,
    (SELECT COUNT(*) FROM events e WHERE e.room_id = r.room_id) AS events,
    (SELECT CAST(e.json AS TEXT) ->> '$.content.name' FROM current_state s JOIN events e USING (event_id)
        WHERE s.room_id = r.room_id AND s.type = 'm.room.name' AND s.state_key = '') AS name
FROM rooms r ORDER BY events DESC, r.room_id
"""


def _line(room_id: str, version: str, is_public: int, joined: int, local: int, events: int, name: object) -> RoomLine:
    words = name if isinstance(name, str) else ""
    printable = "".join(character for character in words if character.isprintable())
    return RoomLine(room_id, version, bool(is_public), joined, local, events, printable)


def _purge(transaction: Transaction, room_id: str) -> int:
    if transaction.execute("SELECT 1 FROM rooms WHERE room_id = ?", (room_id,)).fetchone() is None:
        raise ConfigError(f"There is no room {room_id}.")
    inside = transaction.execute(
        f"SELECT COUNT(*) FROM room_members WHERE room_id = ? AND is_local AND membership IN {PRESENT}",  # noqa: S608
        (room_id,),
    ).fetchone()[0]
    if inside:
        raise ConfigError(f"{inside} of this server's users are in {room_id}, or invited; they must leave it first.")
    gone = "WITH gone AS (SELECT event_id FROM events WHERE room_id = ?1)"
    for table, condition in OF_EVENTS.items():
        transaction.execute(f"{gone} DELETE FROM {table} WHERE {condition}", (room_id,))  # noqa: S608
    removed = transaction.execute("SELECT COUNT(*) FROM events WHERE room_id = ?", (room_id,)).fetchone()[0]
    for table in _tables_of_rooms(transaction):
        transaction.execute(f'DELETE FROM "{table}" WHERE room_id = ?', (room_id,))  # noqa: S608
    return int(removed)


def _tables_of_rooms(transaction: Transaction | Connection) -> list[str]:
    """Every table with a column room_id."""
    rows = transaction.execute(
        "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type = 'table' AND c.name = 'room_id' ORDER BY m.name"
    )
    return [row[0] for row in rows.fetchall()]
