"""The table of invites to and knocks at rooms that this server is not in.

May import thingroom_common only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class OutOfBand:
    """A local user's invite or knock (`event_id`). `servers` know the room; `stripped_state` is what clients see."""

    room_id: str
    user_id: str
    event_id: str
    room_version: str
    servers: tuple[str, ...]
    stripped_state: tuple[dict[str, Any], ...]


def out_of_band_of(connection: Reader, room_id: str, user_id: str) -> OutOfBand | None:
    row = connection.execute(
        "SELECT event_id, room_version, servers, stripped_state FROM out_of_band_memberships "
        "WHERE room_id = ? AND user_id = ?",
        (room_id, user_id),
    ).fetchone()
    if row is None:
        return None
    return OutOfBand(room_id, user_id, row[0], row[1], tuple(json.loads(row[2])), tuple(json.loads(row[3])))


def version_out_of_band(connection: Reader, room_id: str) -> str | None:
    """The version of a room that is known by an invite or a knock only."""
    row = connection.execute(
        "SELECT room_version FROM out_of_band_memberships WHERE room_id = ? LIMIT 1", (room_id,)
    ).fetchone()
    return None if row is None else row[0]


def put_out_of_band(transaction: Transaction, entry: OutOfBand) -> None:
    """Keep it in the place of an earlier one."""
    transaction.execute(
        "INSERT OR REPLACE INTO out_of_band_memberships VALUES (?, ?, ?, ?, ?, ?)",
        (
            entry.room_id,
            entry.user_id,
            entry.event_id,
            entry.room_version,
            json.dumps(entry.servers),
            json.dumps(entry.stripped_state),
        ),
    )


def drop_out_of_band(transaction: Transaction, room_id: str, user_id: str) -> None:
    transaction.execute("DELETE FROM out_of_band_memberships WHERE room_id = ? AND user_id = ?", (room_id, user_id))
