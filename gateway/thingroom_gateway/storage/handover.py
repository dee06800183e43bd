"""What is known of a device besides its own row, read and written as a whole: for another gateway.

Statements only; may import thingroom_common. handover.py puts it into a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from thingroom_common.database import Transaction

Interval = tuple[int, int, int | None, int]


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rows of the tables that are named as the fields are, without the device's number."""

    received: list[Interval]
    boots: list[tuple[int, int]]
    boot_limits: list[tuple[int, int]]
    held: list[tuple[int, int, int, int, str]]
    refused: list[tuple[int, int, str]]
    commanded: list[tuple[int, str]]
    alert_rules: list[tuple[str, str, str, int, int]]
    live_devices: list[tuple[int]]


_COLUMNS = {
    "received": "first, last, predecessor, noticed",
    "boots": "boot, started",
    "boot_limits": "boot, latest",
    "held": "at, boot, uptime, reach, waiting",
    "refused": "first, last, reason",
    "commanded": "counter, configuration",
    "alert_rules": "preset, definition, asked_by, enabled, snoozed_until",
    "live_devices": "live",
}


def read(transaction: Transaction, device: int) -> Known:
    """Everything of the device (row id)."""
    found = {
        table: [tuple(row) for row in transaction.execute(f"SELECT {columns} FROM {table} WHERE device = ?", (device,))]  # noqa: S608
        for table, columns in _COLUMNS.items()
    }
    return msgspec.convert(found, Known)


def write(transaction: Transaction, device: int, known: Known) -> None:
    """Replace what is known of the device (row id). Command counters only grow."""
    for table, columns in _COLUMNS.items():
        found = getattr(known, table)
        if table == "commanded":
            before = transaction.execute("SELECT counter FROM commanded WHERE device = ?", (device,)).fetchone()
            found = [(max(counter, before[0] if before else 0), text) for counter, text in found]
            if not found:
                continue
        transaction.execute(f"DELETE FROM {table} WHERE device = ?", (device,))  # noqa: S608
        marks = ", ".join("?" * (columns.count(",") + 2))
        transaction.executemany(
            f"INSERT INTO {table} (device, {columns}) VALUES ({marks})",  # noqa: S608
            [(device, *row) for row in found],
        )


def waiting(transaction: Transaction, device: int) -> int:
    """Envelopes of the device that are not on their way to a room yet, and events that are."""
    row = transaction.execute(
        "SELECT (SELECT stored - taken FROM arrivals WHERE device = ?1)"
        " + (SELECT COUNT(*) FROM outbox WHERE device = ?1 AND parked IS NULL)",
        (device,),
    ).fetchone()
    return int(row[0] or 0)


def keep_signers(transaction: Transaction, seeds: Mapping[bytes, bytes]) -> None:
    """Remember Ed25519 seeds of gateways by key id."""
    transaction.executemany("INSERT INTO signers VALUES (?, ?) ON CONFLICT DO NOTHING", list(seeds.items()))


def signing_seed(connection: sqlite3.Connection, kid: bytes) -> bytes | None:
    """The seed of the gateway `kid` whose devices were taken over."""
    row = connection.execute("SELECT seed FROM signers WHERE kid = ?", (kid,)).fetchone()
    return None if row is None else bytes(row[0])
