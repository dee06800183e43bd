"""What is missing of each device: the ledger's holes, what the device says of its outbox, and what was refused.

May import thingroom_common and ledger, which judges. ingest.py writes through here; people ask `gaps_of`: the bot, the
dashboard, the command line.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from thingroom_common.database import Transaction
from thingroom_gateway.ledger import Gap, Held, Range, gaps
from thingroom_gateway.storage import received

# Of a device with more intervals, or more refused ranges, than these only the newest are looked at.
MAX_INTERVALS: Final = 1000
MAX_REFUSED: Final = 64


def gaps_of(connection: sqlite3.Connection, device_id: int) -> Sequence[Gap]:
    """What did not come of a device (by row id), in the order of the numbers. See ledger.Gap."""
    found = received.intervals(connection, device_id, MAX_INTERVALS)
    refused = [
        (row[0], row[1], row[2])
        for row in connection.execute("SELECT first, last, reason FROM refused WHERE device = ?", (device_id,))
    ]
    return gaps(found, held_by(connection, device_id), refused, whole=len(found) < MAX_INTERVALS)


def held_by(connection: sqlite3.Connection, device_id: int) -> Held | None:
    """What the device said last of its outbox; None if it never did."""
    row = connection.execute("SELECT at, reach, waiting FROM held WHERE device = ?", (device_id,)).fetchone()
    if row is None:
        return None
    return Held(row[0], row[1], tuple((first, last) for first, last in json.loads(row[2])))


def hold(transaction: Transaction, device_id: int, boot: int, uptime: int, held: Held) -> bool:
    """Note what a device said at `uptime` (ms) of `boot`. False, and nothing changes, if it has said a later word."""
    cursor = transaction.execute(
        "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, boot = excluded.boot,"
        " uptime = excluded.uptime, reach = excluded.reach, waiting = excluded.waiting"
        " WHERE (excluded.boot, excluded.uptime) > (boot, uptime)",
        (device_id, held.at, boot, uptime, held.reach, json.dumps(held.waiting, separators=(",", ":"))),
    )
    return cursor.rowcount > 0


def refuse(transaction: Transaction, device_id: int, sequence: int, reason: str) -> None:
    """Note that the envelope `sequence` came and could not be used."""
    before = transaction.execute(
        "SELECT first, last, reason FROM refused WHERE device = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        (device_id, sequence),
    ).fetchone()
    if before is not None and before[1] >= sequence:
        return
    if before is not None and before[1] == sequence - 1 and before[2] == reason:
        _widen(transaction, device_id, (before[0], sequence))
        return
    transaction.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", (device_id, sequence, sequence, reason))
    transaction.execute(
        "DELETE FROM refused WHERE device = ?1 AND first <"
        " (SELECT first FROM refused WHERE device = ?1 ORDER BY first DESC LIMIT 1 OFFSET ?2)",
        (device_id, MAX_REFUSED - 1),
    )


def _widen(transaction: Transaction, device_id: int, to: Range) -> None:
    transaction.execute("UPDATE refused SET last = ? WHERE device = ? AND first = ?", (to[1], device_id, to[0]))


def with_holes(connection: sqlite3.Connection, among: Iterable[int] | None) -> list[int]:
    """The devices (row ids) of which something may be missing; only those `among` others where given."""
    if among is None:
        rows = connection.execute(
            "SELECT device FROM received GROUP BY device HAVING COUNT(*) > 1 OR MIN(first) > 1"
            " UNION SELECT device FROM held WHERE waiting <> '[]'"
        )
        return [int(row[0]) for row in rows]
    return [
        device
        for device in among
        if connection.execute(
            "SELECT 1 FROM received WHERE device = ?1 AND first > 1"
            " UNION ALL SELECT 1 FROM held WHERE device = ?1 AND waiting <> '[]' LIMIT 1",
            (device,),
        ).fetchone()
    ]
