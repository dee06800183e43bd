"""The ledger and the envelopes in SQLite: what was received, exactly once.

May import thingroom_common and ledger. ingest.py writes through here; batching.py reads what is not yet taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_gateway.ledger import Interval, merge, runs


@dataclass(frozen=True, slots=True)
class Envelope:
    """A verified envelope on its way to disk. `received_at` and `ts` in Unix ms; `readings` as in Observation."""

    sequence: int
    predecessor: int | None
    received_at: int
    transport: str
    ts: int
    envelope: bytes
    readings: str


@dataclass(frozen=True, slots=True)
class StoredEnvelope:
    """A row of `envelopes`, as batching needs it."""

    arrival: int
    sequence: int
    ts: int
    envelope: bytes
    readings: str


def store(transaction: Transaction, device: int, envelopes: Sequence[Envelope]) -> set[int]:
    """Add `envelopes` of one device to the ledger and to disk; returns the sequences that were new.

    Of several envelopes with one sequence the first is stored. Cost: one indexed look-up and one changed interval per
    run of consecutive sequences, whatever the ledger's size.
    """
    first_of: dict[int, Envelope] = {}
    for envelope in envelopes:
        first_of.setdefault(envelope.sequence, envelope)
    new: set[int] = set()
    for first, last in runs(first_of):
        touching = _touching(transaction, device, first, last)
        if len(touching) == 1 and touching[0].first <= first and touching[0].last >= last:
            continue
        noticed = 0 if touching else _noticed(transaction, device, first_of[first])
        merged = merge(first, last, touching, first_of[first].predecessor, noticed)
        new.update(merged.new)
        _replace(transaction, device, touching, merged.interval)
    if new:
        _insert(transaction, device, [envelope for envelope in first_of.values() if envelope.sequence in new])
    return new


def _noticed(transaction: Transaction, device: int, envelope: Envelope) -> int:
    """When it was noticed that numbers are missing before `envelope`: with what came after it, or now."""
    row = transaction.execute(
        "SELECT noticed FROM received WHERE device = ? AND first > ? ORDER BY first LIMIT 1",
        (device, envelope.sequence),
    ).fetchone()
    return int(row[0]) if row is not None and row[0] else envelope.received_at


def _touching(transaction: Transaction, device: int, first: int, last: int) -> list[Interval]:
    found = []
    for row in transaction.execute(
        "SELECT first, last, predecessor, noticed FROM received WHERE device = ? AND first <= ? ORDER BY first DESC",
        (device, last + 1),
    ):
        if row[1] < first - 1:
            break
        found.append(Interval(*row))
    found.reverse()
    return found


def _replace(transaction: Transaction, device: int, touching: Sequence[Interval], interval: Interval) -> None:
    kept = bool(touching) and touching[0].first == interval.first
    if kept:
        transaction.execute(
            "UPDATE received SET last = ? WHERE device = ? AND first = ?", (interval.last, device, interval.first)
        )
    for gone in touching[1:] if kept else touching:
        transaction.execute("DELETE FROM received WHERE device = ? AND first = ?", (device, gone.first))
    if not kept:
        transaction.execute(
            "INSERT INTO received VALUES (?, ?, ?, ?, ?)",
            (device, interval.first, interval.last, interval.predecessor, interval.noticed),
        )


def _insert(transaction: Transaction, device: int, envelopes: Sequence[Envelope]) -> None:
    stored = transaction.execute(
        "UPDATE arrivals SET stored = stored + ? WHERE device = ? RETURNING stored", (len(envelopes), device)
    ).fetchone()[0]
    transaction.executemany(
        "INSERT INTO envelopes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (device, arrival, e.sequence, e.received_at, e.transport, e.ts, e.envelope, e.readings)
            for arrival, e in enumerate(envelopes, stored - len(envelopes) + 1)
        ],
    )


def intervals(connection: sqlite3.Connection, device: int, newest: int | None = None) -> list[Interval]:
    """The device's intervals, ascending; only the `newest` so many where given."""
    rows = connection.execute(
        "SELECT first, last, predecessor, noticed FROM received WHERE device = ? ORDER BY first DESC LIMIT ?",
        (device, -1 if newest is None else newest),
    ).fetchall()
    return [Interval(*row) for row in reversed(rows)]


def not_taken(connection: sqlite3.Connection, device: int, limit: int) -> list[StoredEnvelope]:
    """The oldest envelopes, in order of arrival, that no outbox row holds yet."""
    rows = connection.execute(
        "SELECT arrival, sequence, ts, envelope, readings FROM envelopes"
        " WHERE device = ?1 AND arrival > (SELECT taken FROM arrivals WHERE device = ?1) ORDER BY arrival LIMIT ?2",
        (device, limit),
    )
    return [StoredEnvelope(*row) for row in rows]


def newest_readings(connection: sqlite3.Connection, device: int, sequence: int) -> str:
    """The readings of `sequence` if it is among the device's newest 256 envelopes, else an empty text."""
    row = connection.execute(
        "SELECT readings FROM (SELECT sequence, readings FROM envelopes WHERE device = ? ORDER BY arrival DESC"
        " LIMIT 256) WHERE sequence = ?",
        (device, sequence),
    ).fetchone()
    return "" if row is None else str(row[0])


def untaken(connection: sqlite3.Connection) -> dict[int, int]:
    """Devices of which envelopes wait to be taken, and the newest arrival of each."""
    return {row[0]: row[1] for row in connection.execute("SELECT device, stored FROM arrivals WHERE stored > taken")}


def stored(connection: sqlite3.Connection, device: int) -> int:
    """The newest arrival of `device`."""
    return int(connection.execute("SELECT stored FROM arrivals WHERE device = ?", (device,)).fetchone()[0])


def may_prune(connection: sqlite3.Connection, before: int) -> bool:
    """Whether there is anything for `prune` to delete."""
    return connection.execute("SELECT 1 FROM in_room WHERE at < ? LIMIT 1", (before,)).fetchone() is not None


def prune(transaction: Transaction, before: int, limit: int) -> int:
    """Delete envelopes that were in the room before `before` (Unix ms), at most `limit` events' worth; returns rows."""
    rows = transaction.execute(
        "SELECT device, arrivals_first, arrivals_last FROM in_room WHERE at < ? LIMIT ?", (before, limit)
    ).fetchall()
    deleted = 0
    for device, first, last in rows:
        deleted += transaction.execute(
            "DELETE FROM envelopes WHERE device = ? AND arrival BETWEEN ? AND ?", (device, first, last)
        ).rowcount
        transaction.execute("DELETE FROM in_room WHERE device = ? AND arrivals_first = ?", (device, first))
    return deleted
