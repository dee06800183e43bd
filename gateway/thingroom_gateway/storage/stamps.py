"""What is known of devices' boots, and between which times the envelopes lie whose clock was not right.

May import thingroom_common and stamps, which judges. ingest.py writes here with the envelopes; exports read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

from thingroom_common.database import Transaction
from thingroom_gateway.stamps import Boot, drift

# Boots that are kept of each device, the newest.
KEPT_BOOTS: Final = 16


class Moment(NamedTuple):
    """When an envelope was numbered, in Unix ms: at `base`, or within the two others (`earliest` None: not known)."""

    base: int
    earliest: int | None
    latest: int


class StampRow(NamedTuple):
    """A row of `stamps`. `uncounted` where the boot's start was not known when it came."""

    device: int
    sequence: int
    boot: int
    uptime: int
    uncounted: bool
    base: int
    earliest: int | None
    latest: int


def boot(connection: sqlite3.Connection, device: int, number: int) -> Boot:
    """What is known of the boot `number` of a device."""
    started = connection.execute("SELECT started FROM boots WHERE device = ? AND boot = ?", (device, number)).fetchone()
    latest = connection.execute(
        "SELECT latest FROM boot_limits WHERE device = ? AND boot = ?", (device, number)
    ).fetchone()
    after = connection.execute(
        "SELECT started FROM boots WHERE device = ? AND boot < ? ORDER BY boot DESC LIMIT 1", (device, number)
    ).fetchone()
    return Boot(number, *(None if row is None else int(row[0]) for row in (started, latest, after)))


def learn(transaction: Transaction, device: int, learnt: Boot) -> None:
    """Remember what was learnt of a boot. With its start, what came of it without a clock gets closer bounds."""
    if learnt.started is None:
        transaction.execute(
            "INSERT INTO boot_limits VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET latest = MIN(latest, excluded.latest)",
            (device, learnt.number, learnt.latest),
        )
    else:
        transaction.execute(
            "INSERT INTO boots VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (device, learnt.number, learnt.started)
        )
        waiting = transaction.execute(
            "SELECT sequence, uptime FROM stamps WHERE device = ? AND boot = ? AND uncounted", (device, learnt.number)
        ).fetchall()
        transaction.executemany(
            "UPDATE stamps SET earliest = ?, latest = ?, uncounted = 0 WHERE device = ? AND sequence = ?",
            [
                (moment - drift(uptime), moment + drift(uptime), device, sequence)
                for sequence, uptime in waiting
                for moment in (learnt.started + uptime,)
            ],
        )
    for table in ("boots", "boot_limits"):
        transaction.execute(
            f"DELETE FROM {table} WHERE device = ?1 AND boot NOT IN"  # noqa: S608
            f" (SELECT boot FROM {table} WHERE device = ?1 ORDER BY boot DESC LIMIT {KEPT_BOOTS})",
            (device,),
        )


def add(transaction: Transaction, rows: Iterable[StampRow]) -> None:
    """Keep the bounds of new envelopes."""
    transaction.executemany("INSERT OR IGNORE INTO stamps VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def moments(connection: sqlite3.Connection, device: int) -> dict[int, Moment]:
    """By sequence, of the device's envelopes whose clock was not right."""
    rows = connection.execute("SELECT sequence, base, earliest, latest FROM stamps WHERE device = ?", (device,))
    return {row[0]: Moment(row[1], row[2], row[3]) for row in rows}


def are_older(connection: sqlite3.Connection, before: int) -> bool:
    """Whether there is anything for `prune` to delete."""
    return connection.execute("SELECT 1 FROM stamps WHERE base < ? LIMIT 1", (before,)).fetchone() is not None


def prune(transaction: Transaction, before: int, limit: int) -> int:
    """Delete bounds of what is older than `before` (Unix ms), `limit` at most; returns how many."""
    return transaction.execute(
        "DELETE FROM stamps WHERE (device, sequence) IN (SELECT device, sequence FROM stamps WHERE base < ? LIMIT ?)",
        (before, limit),
    ).rowcount
