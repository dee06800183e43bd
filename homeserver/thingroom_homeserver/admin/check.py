"""Whether a database is sound: SQLite's own checks, and what must hold between the tables of rooms.

Reads one moment of the database, also of a running server. May import storage. Used by commands.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import Connection

from thingroom_homeserver.admin.backup import integrity_problem, reading
from thingroom_homeserver.storage.current_state import load_current_state
from thingroom_homeserver.storage.state_groups import state_of_group

MOST_OF_A_KIND = 20


def problems_of(database: Path) -> list[str]:
    """What is wrong, a sentence each; none if all is well. Raises ConfigError, sqlite3.Error."""
    damage = integrity_problem(database) if database.is_file() else None
    if damage:
        return [f"SQLite finds damage: {damage}."]
    with reading(database) as connection:
        return [problem for check in CHECKS for problem in _at_most(check(connection))]


def _at_most(problems: Iterator[str]) -> Iterator[str]:
    for number, problem in enumerate(problems):
        if number == MOST_OF_A_KIND:
            yield "There is more of this kind."
            return
        yield problem


def _current_state(connection: Connection) -> Iterator[str]:
    for room_id, group in connection.execute("SELECT room_id, state_group FROM rooms ORDER BY room_id").fetchall():
        current = load_current_state(connection, room_id)
        of_group = {} if group is None else state_of_group(connection, group)
        for key in sorted(current.keys() | of_group.keys()):
            if current.get(key) != of_group.get(key):
                yield (
                    f"{room_id}: the current state has {current.get(key)} for {key},"
                    f" its state group {group} has {of_group.get(key)}."
                )


def _members(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT s.room_id, s.state_key, s.event_id, m.event_id FROM current_state s "
        "LEFT JOIN room_members m ON m.room_id = s.room_id AND m.user_id = s.state_key "
        "WHERE s.type = 'm.room.member' AND s.event_id IS NOT m.event_id AND (m.is_local IS NOT 1 OR EXISTS ("
        # Of a room that everybody here has left, local users hear of invites, which its state here does not show.
        "SELECT 1 FROM room_members l WHERE l.room_id = s.room_id AND l.membership = 'join' AND l.is_local = 1))"
    )
    for room_id, user_id, in_state, in_members in rows:
        yield f"{room_id}: {user_id} is a member by {in_state} in the state, by {in_members} in the list of members."


def _extremities(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT x.room_id, x.event_id FROM forward_extremities x "
        "LEFT JOIN events e ON e.event_id = x.event_id AND e.room_id = x.room_id AND e.rejected IS NULL "
        "WHERE e.nid IS NULL"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: the last event {event_id} is not in the database."
    rows = connection.execute(
        "SELECT room_id FROM rooms WHERE state_group IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM forward_extremities x WHERE x.room_id = rooms.room_id)"
    )
    for (room_id,) in rows:
        yield f"{room_id}: it has no last event."


def _graph(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT x.room_id, x.event_id FROM forward_extremities x JOIN events e USING (event_id) "
        "WHERE e.position IS NULL"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: the last event {event_id} has no place in the stream."
    rows = connection.execute(
        "SELECT x.room_id, x.event_id, n.event_id FROM forward_extremities x "
        "JOIN event_edges g ON g.prev_event_id = x.event_id JOIN events n ON n.event_id = g.event_id "
        "WHERE n.position IS NOT NULL AND n.state_group IS NOT NULL"
    )
    for room_id, event_id, follower in rows:
        yield f"{room_id}: {follower} follows {event_id}, which counts as a last event."
    rows = connection.execute(
        "SELECT room_id, event_id FROM events WHERE (rejected IS NOT NULL OR soft_failed) AND position IS NOT NULL"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: {event_id} was not accepted, but has a place in the stream."
    rows = connection.execute(
        "SELECT e.room_id, e.event_id FROM events e LEFT JOIN state_groups g ON g.id = e.state_group "
        "WHERE e.state_group IS NOT NULL AND g.room_id IS NOT e.room_id"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: the state after {event_id} is not there, or of another room."
    rows = connection.execute(
        "SELECT s.room_id, s.event_id FROM current_state s JOIN events e USING (event_id) WHERE e.rejected IS NOT NULL"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: the state names {event_id}, which was rejected."


def _gaps(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT g.room_id, g.number, e.event_id FROM gaps g "
        "JOIN events e ON e.room_id = g.room_id AND e.position > g.floor AND e.position <= g.next"
    )
    for room_id, number, event_id in rows:
        yield f"{room_id}: {event_id} is in gap {number}, where nothing should be yet."
    rows = connection.execute(
        "SELECT room_id, number FROM gaps WHERE NOT EXISTS (SELECT 1 FROM gap_missing m WHERE m.gap = number)"
    )
    for room_id, number in rows:
        yield f"{room_id}: nothing is missing in gap {number}."
    rows = connection.execute(
        "SELECT m.gap, m.event_id FROM gap_missing m JOIN events e USING (event_id) WHERE e.state_group IS NOT NULL"
    )
    for number, event_id in rows:
        yield f"Gap {number} waits for {event_id}, which is there."


def _positions(connection: Connection) -> Iterator[str]:
    row = connection.execute("SELECT max(position), (SELECT position FROM stream_position) FROM events").fetchone()
    if row[0] is not None and row[0] > row[1]:
        yield f"An event is at position {row[0]}, beyond the stream's end {row[1]}."


def _events_of_rooms(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT s.room_id, s.event_id FROM current_state s LEFT JOIN events e ON e.event_id = s.event_id "
        "WHERE e.nid IS NULL OR e.room_id != s.room_id OR e.state_key IS NOT s.state_key OR e.type != s.type"
    )
    for room_id, event_id in rows:
        yield f"{room_id}: the state names {event_id}, which is not a state event of that room."


def _foreign_keys(connection: Connection) -> Iterator[str]:
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"A row of {row[0]} names one of {row[2]} that is not there."


CHECKS: tuple[Callable[[Connection], Iterator[str]], ...] = (
    _foreign_keys,
    _current_state,
    _members,
    _extremities,
    _graph,
    _gaps,
    _positions,
    _events_of_rooms,
)
