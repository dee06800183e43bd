"""Rows of what exists on the homeserver: the Space, rooms, ghosts.

Statements only; may import thingroom_common. rooms.py makes the things themselves.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction

SPACE = ""


@dataclass(frozen=True, slots=True)
class RoomRow:
    """The room of a place (SPACE for the Space); `linked` once it is a child of the Space.

    `secured`: people cannot write the state of devices there.
    """

    place: str
    room_id: str
    linked: bool
    secured: bool


@dataclass(frozen=True, slots=True)
class GhostRow:
    """A device's ghost: registered, named `display_name`, joined to `room_id`.

    `picture` is the one that it was given; empty: it had one already, or the homeserver would not have ours; None: it
    was not tried yet.
    """

    device: int
    display_name: str
    room_id: str
    picture: str | None


def load_room(connection: sqlite3.Connection, place: str) -> RoomRow | None:
    row = connection.execute("SELECT place, room_id, linked, secured FROM rooms WHERE place = ?", (place,)).fetchone()
    return None if row is None else RoomRow(row[0], row[1], bool(row[2]), bool(row[3]))


def all_rooms(connection: sqlite3.Connection) -> list[RoomRow]:
    """The Space and every place's room."""
    rows = connection.execute("SELECT place, room_id, linked, secured FROM rooms ORDER BY place")
    return [RoomRow(row[0], row[1], bool(row[2]), bool(row[3])) for row in rows]


def place_of_room(connection: sqlite3.Connection, room_id: str) -> str | None:
    """Which place's room `room_id` is (SPACE for the Space), None if it is none of ours."""
    row = connection.execute("SELECT place FROM rooms WHERE room_id = ?", (room_id,)).fetchone()
    return None if row is None else str(row[0])


def save_room(transaction: Transaction, room: RoomRow) -> None:
    transaction.execute(
        "INSERT INTO rooms VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET room_id = excluded.room_id, linked = excluded.linked, secured = excluded.secured",
        (room.place, room.room_id, room.linked, room.secured),
    )


def load_ghost(connection: sqlite3.Connection, device: int) -> GhostRow | None:
    row = connection.execute(
        "SELECT device, display_name, room_id, picture FROM ghosts WHERE device = ?", (device,)
    ).fetchone()
    return None if row is None else GhostRow(*row)


def save_ghost(transaction: Transaction, ghost: GhostRow) -> None:
    transaction.execute(
        "INSERT INTO ghosts (device, display_name, room_id, picture) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET display_name = excluded.display_name, room_id = excluded.room_id, picture = excluded.picture",
        (ghost.device, ghost.display_name, ghost.room_id, ghost.picture),
    )


def load_picture(connection: sqlite3.Connection, name: str) -> str | None:
    """Where the homeserver keeps the picture; empty: it would not have it; None: it was not asked."""
    row = connection.execute("SELECT uri FROM pictures WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def save_picture(transaction: Transaction, name: str, uri: str) -> None:
    transaction.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?)", (name, uri))


def forget_ghost(transaction: Transaction, device: int) -> None:
    """Its room refused it: make sure of it anew before the next send."""
    transaction.execute("UPDATE ghosts SET room_id = '' WHERE device = ?", (device,))
