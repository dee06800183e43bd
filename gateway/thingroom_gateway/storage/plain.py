"""Rows of adopted plain MQTT devices: how each speaks, its next sequence, what was heard last of each topic.

Statements only; may import thingroom_common. plain/devices.py writes through here, in the same write as the readings.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction

# Of each device so many topics are remembered; a device that uses more is told twice after a reconnection at worst.
MAX_TOPICS = 256


@dataclass(frozen=True, slots=True)
class PlainRow:
    """An adopted device. `binding` is said.Described as JSON."""

    device: int
    base: str
    dialect: str
    binding: bytes


def load_plain(connection: sqlite3.Connection) -> list[PlainRow]:
    rows = connection.execute("SELECT device, base, dialect, binding FROM plain ORDER BY device")
    return [PlainRow(row[0], row[1], row[2], str(row[3]).encode()) for row in rows]


def insert_plain(transaction: Transaction, row: PlainRow) -> None:
    transaction.execute(
        "INSERT INTO plain VALUES (?, ?, ?, 0, ?)", (row.device, row.base, row.dialect, row.binding.decode())
    )


def save_binding(transaction: Transaction, device: int, binding: bytes) -> None:
    transaction.execute("UPDATE plain SET binding = ? WHERE device = ?", (binding.decode(), device))


def next_sequence(transaction: Transaction, device: int) -> int:
    """The device's next sequence number, from 1; it is taken with this write, or not at all."""
    row = transaction.execute(
        "UPDATE plain SET sequence = sequence + 1 WHERE device = ? RETURNING sequence", (device,)
    ).fetchone()
    return int(row[0])


def heard_already(transaction: Transaction, device: int, topic: str, digest: bytes) -> bool:
    """Whether the last message of `topic` was this one."""
    row = transaction.execute(
        "SELECT digest FROM plain_heard WHERE device = ? AND topic = ?", (device, topic)
    ).fetchone()
    return row is not None and bytes(row[0]) == digest


def stored_already(transaction: Transaction, packet: int, digest: bytes) -> bool:
    """Whether the message of this packet identifier was stored by an earlier write."""
    row = transaction.execute("SELECT digest FROM plain_packets WHERE packet = ?", (packet,)).fetchone()
    return row is not None and bytes(row[0]) == digest


def save_packet(transaction: Transaction, packet: int, digest: bytes) -> None:
    """Remember the message stored under a packet identifier; there are 65,535 of them."""
    transaction.execute(
        "INSERT INTO plain_packets VALUES (?, ?) ON CONFLICT DO UPDATE SET digest = excluded.digest", (packet, digest)
    )


def save_heard(transaction: Transaction, device: int, topic: str, digest: bytes, at: int) -> None:
    """Remember the last message of `topic`, heard at `at` (Unix ms)."""
    transaction.execute(
        "INSERT INTO plain_heard SELECT ?1, ?2, ?3, ?4"
        " WHERE (SELECT COUNT(*) FROM plain_heard WHERE device = ?1) < ?5"
        " OR EXISTS (SELECT 1 FROM plain_heard WHERE device = ?1 AND topic = ?2)"
        " ON CONFLICT DO UPDATE SET digest = excluded.digest, at = excluded.at",
        (device, topic, digest, at, MAX_TOPICS),
    )
