"""The table of leaves that no server of their room was told of yet: rejected invites, knocks that were taken back.

May import thingroom_common and storage.connection. Called by federation/leaving.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class UntoldLeave:
    """A local user's leave of a room that this server is not in. `attempts`: how often it was told in vain."""

    room_id: str
    user_id: str
    room_version: str
    servers: tuple[str, ...]
    content: dict[str, Any]
    attempts: int = 0
    next_try_ms: int = 0


def next_untold_leave(connection: Reader) -> UntoldLeave | None:
    """The one whose turn is first."""
    row = connection.execute("SELECT * FROM untold_leaves ORDER BY next_try_ms LIMIT 1").fetchone()
    if row is None:
        return None
    return UntoldLeave(
        row["room_id"],
        row["user_id"],
        row["room_version"],
        tuple(json.loads(row["servers"])),
        json.loads(row["content"]),
        row["attempts"],
        row["next_try_ms"],
    )


def put_untold_leave(transaction: Transaction, leave: UntoldLeave) -> None:
    """Keep it in the place of an earlier one."""
    transaction.execute(
        "INSERT OR REPLACE INTO untold_leaves VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            leave.room_id,
            leave.user_id,
            leave.room_version,
            json.dumps(leave.servers),
            json.dumps(leave.content),
            leave.attempts,
            leave.next_try_ms,
        ),
    )


def postpone_untold_leave(transaction: Transaction, leave: UntoldLeave, next_try_ms: int) -> None:
    """It was told in vain once more. Nothing happens if it is gone meanwhile."""
    transaction.execute(
        "UPDATE untold_leaves SET attempts = attempts + 1, next_try_ms = ? WHERE room_id = ? AND user_id = ?",
        (next_try_ms, leave.room_id, leave.user_id),
    )


def drop_untold_leave(transaction: Transaction, room_id: str, user_id: str) -> None:
    transaction.execute("DELETE FROM untold_leaves WHERE room_id = ? AND user_id = ?", (room_id, user_id))
