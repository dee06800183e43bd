"""Events of other servers that wait for what came before them: on disk, in the order in which they arrived.

May import thingroom_common only. Written by federation/intake.py inside the write that found an ancestor missing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

_COLUMNS = "number, event_id, room_id, origin, received_ms, attempts, next_try_ms, json"


@dataclass(frozen=True, slots=True)
class StagedEvent:
    """One waiting event. `origin`: the server that sent it here. `json`: the PDU, past the checks of its signatures.

    attempts: how often its ancestors were asked for in vain; next_try_ms: when they will be again.
    """

    number: int
    event_id: str
    room_id: str
    origin: str
    received_ms: int
    attempts: int
    next_try_ms: int
    json: bytes


@dataclass(frozen=True, slots=True)
class StagedLoad:
    """What waits in one room from one server: how many events, how many bytes, and when the first is due."""

    room_id: str
    origin: str
    events: int
    size: int
    next_try_ms: int


def stage_event(
    transaction: Transaction,
    event_id: str,
    room_id: str,
    origin: str,
    now_ms: int,
    json: bytes,
    missing: Collection[str],
) -> bool:
    """Keep the event until `missing` are there. False if it waits already."""
    changed = transaction.execute(
        "INSERT OR IGNORE INTO staged_events (event_id, room_id, origin, received_ms, next_try_ms, json) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (event_id, room_id, origin, now_ms, now_ms, json),
    )
    transaction.executemany(
        "INSERT OR IGNORE INTO staged_edges VALUES (?, ?)", [(missing_id, event_id) for missing_id in missing]
    )
    return changed.rowcount == 1


def unstage_event(transaction: Transaction, event_id: str) -> bool:
    """The event waits no longer, for good or ill. False if it did not wait."""
    removed = transaction.execute("DELETE FROM staged_events WHERE event_id = ?", (event_id,)).rowcount == 1
    if removed:
        transaction.execute("DELETE FROM staged_edges WHERE event_id = ?", (event_id,))
    return removed


def postpone_event(transaction: Transaction, event_id: str, next_try_ms: int) -> None:
    """An attempt was in vain."""
    transaction.execute(
        "UPDATE staged_events SET attempts = attempts + 1, next_try_ms = ? WHERE event_id = ?", (next_try_ms, event_id)
    )


def hurry_event(transaction: Transaction, event_id: str, now_ms: int) -> None:
    """Try the event again now."""
    transaction.execute("UPDATE staged_events SET next_try_ms = ? WHERE event_id = ?", (now_ms, event_id))


def waiting_for(connection: Reader, event_id: str) -> list[StagedEvent]:
    """The events that wait for this one, oldest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM staged_events WHERE event_id IN "  # noqa: S608 - constant columns
        "(SELECT event_id FROM staged_edges WHERE prev_event_id = ?) ORDER BY number",
        (event_id,),
    )
    return [StagedEvent(*row) for row in rows]


def due_events(connection: Reader, room_id: str, origin: str, now_ms: int, limit: int) -> list[StagedEvent]:
    """The first `limit` events of the room from the server whose ancestors are to be asked for now."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM staged_events WHERE room_id = ? AND origin = ? AND next_try_ms <= ? "  # noqa: S608 - constant columns
        "ORDER BY number LIMIT ?",
        (room_id, origin, now_ms, limit),
    )
    return [StagedEvent(*row) for row in rows]


def staged_loads(connection: Reader) -> list[StagedLoad]:
    """What waits, by room and server: read at the start."""
    rows = connection.execute(
        "SELECT room_id, origin, COUNT(*), SUM(LENGTH(json)), MIN(next_try_ms) FROM staged_events "
        "GROUP BY room_id, origin"
    )
    return [StagedLoad(*row) for row in rows]


def staged_load(connection: Reader, room_id: str, origin: str) -> StagedLoad | None:
    """What waits in the room from the server; None if nothing does."""
    row = connection.execute(
        "SELECT room_id, origin, COUNT(*), SUM(LENGTH(json)), MIN(next_try_ms) FROM staged_events "
        "WHERE room_id = ? AND origin = ?",
        (room_id, origin),
    ).fetchone()
    return StagedLoad(*row) if row[2] else None


def count_staged(connection: Reader) -> int:
    """How many events wait in all."""
    return int(connection.execute("SELECT COUNT(*) FROM staged_events").fetchone()[0])
