"""Rows of the Matrix outbox, of what was said, and of the rooms and ghosts that exist.

Statements only; may import thingroom_common. batching.py fills the outbox, outbox.py empties it, rooms.py keeps rooms.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from thingroom_common.database import Transaction
from thingroom_gateway.notices import Said


@dataclass(frozen=True, slots=True)
class Span:
    """Which envelopes of a device an outbox row holds: arrivals and the smallest and largest sequence."""

    arrivals_first: int
    arrivals_last: int
    sequence_first: int
    sequence_last: int


@dataclass(frozen=True, slots=True)
class NewRow:
    """A request to put into the outbox. With a `state_key` it is state, sent by the bot; else by the device's ghost.

    `sender` "bot": the bot says it. With a `room_id` it goes there and not into the room of `place`, which then is
    `room_lane(room_id)`: what is in one lane arrives in order. `device` is None where it is about no device. `cause`
    tells two requests apart that are otherwise the same.
    """

    place: str
    device: int | None
    kid: str
    type: str
    content: str
    ts: int
    state_key: str | None = None
    span: Span | None = None
    room_id: str | None = None
    sender: Literal["ghost", "bot"] = "ghost"
    cause: str = ""

    @property
    def txn_id(self) -> str:
        """The same request always has the same transaction id: it is made of what is sent."""
        parts = [self.place, self.kid, self.type, self.state_key or "", str(self.ts), self.content]
        parts += [self.cause] if self.cause else []
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
        return f"thingroom-{self.kid or 'bot'}-{digest[:32]}"


def room_lane(room_id: str) -> str:
    """The lane of what goes to a room by its id; no place is called so, since names are printable."""
    return f"\x01{room_id}"


def to_room(room_id: str, type_: str, content: str, ts: int, cause: str = "") -> NewRow:
    """Something that the bot does in a room: a message, a reaction, a redaction (content: event_id, reason)."""
    return NewRow(room_lane(room_id), None, "", type_, content, ts, room_id=room_id, sender="bot", cause=cause)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A request that waits."""

    id: int
    txn_id: str
    place: str
    device: int | None
    type: str
    state_key: str | None
    content: str
    ts: int
    arrivals_first: int | None
    arrivals_last: int | None
    sequence_first: int | None
    sequence_last: int | None
    room_id: str | None
    sender: str


_COLUMNS = (
    "id, txn_id, place, device, type, state_key, content, ts,"
    " arrivals_first, arrivals_last, sequence_first, sequence_last, room_id, sender"
)
_NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def add(transaction: Transaction, row: NewRow) -> None:
    """Append `row`; with a span, mark its envelopes as taken. A row that already waits is left as it is."""
    span = row.span
    transaction.execute(
        "INSERT INTO outbox (txn_id, place, device, type, state_key, content, ts,"  # noqa: S608
        " arrivals_first, arrivals_last, sequence_first, sequence_last, room_id, sender, queued_at)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {_NOW_MS}) ON CONFLICT (txn_id) DO NOTHING",
        (
            row.txn_id,
            row.place,
            row.device,
            row.type,
            row.state_key,
            row.content,
            row.ts,
            span.arrivals_first if span else None,
            span.arrivals_last if span else None,
            span.sequence_first if span else None,
            span.sequence_last if span else None,
            row.room_id,
            row.sender,
        ),
    )
    if span is not None:
        transaction.execute("UPDATE arrivals SET taken = ? WHERE device = ?", (span.arrivals_last, row.device))


def waiting_places(connection: sqlite3.Connection) -> list[str]:
    """Places with requests that wait."""
    places: list[str] = []
    row = connection.execute("SELECT MIN(place) FROM outbox WHERE parked IS NULL").fetchone()
    while row[0] is not None:
        places.append(row[0])
        row = connection.execute("SELECT MIN(place) FROM outbox WHERE parked IS NULL AND place > ?", row[:1]).fetchone()
    return places


def waiting_count(connection: sqlite3.Connection, place: str, at_most: int) -> int:
    """How many requests of `place` wait, counted up to `at_most`."""
    row = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM outbox WHERE place = ? AND parked IS NULL LIMIT ?)", (place, at_most)
    ).fetchone()
    return int(row[0])


def head(connection: sqlite3.Connection, place: str, after: int) -> OutboxRow | None:
    """The oldest request of `place` that waits and whose id is beyond `after`."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE place = ? AND parked IS NULL AND id > ? ORDER BY id LIMIT 1",  # noqa: S608
        (place, after),
    ).fetchone()
    return None if row is None else OutboxRow(*row)


def sent(transaction: Transaction, row: OutboxRow, event_id: str, at: int) -> None:
    """`row` is in the room as `event_id` since `at` (Unix ms). What came in its place meanwhile still waits."""
    transaction.execute("DELETE FROM outbox WHERE id = ? AND txn_id = ?", (row.id, row.txn_id))
    if row.arrivals_first is not None:
        transaction.execute(
            "INSERT OR IGNORE INTO in_room VALUES (?, ?, ?, ?, ?)",
            (row.device, row.arrivals_first, row.arrivals_last, event_id, at),
        )


def drop(transaction: Transaction, row: OutboxRow) -> None:
    """The homeserver refused `row` for good, and nobody will miss it."""
    transaction.execute("DELETE FROM outbox WHERE id = ?", (row.id,))


def park(transaction: Transaction, row: OutboxRow, why: str) -> None:
    """The homeserver refused `row` for good: keep it aside."""
    transaction.execute("UPDATE outbox SET parked = ? WHERE id = ?", (why, row.id))


def unpark(transaction: Transaction) -> int:
    """Let all parked requests wait again; returns how many."""
    return transaction.execute("UPDATE outbox SET parked = NULL WHERE parked IS NOT NULL").rowcount


def sizes(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many requests wait and how many are parked."""
    row = connection.execute("SELECT COUNT(*) - COUNT(parked), COUNT(parked) FROM outbox").fetchone()
    return int(row[0]), int(row[1])


def load_said(transaction: Transaction, device: int) -> Said | None:
    row = transaction.execute("SELECT latest, ts FROM said WHERE device = ?", (device,)).fetchone()
    return None if row is None else Said(json.loads(row[0]), row[1])


def save_said(transaction: Transaction, device: int, said: Said) -> None:
    transaction.execute(
        "INSERT INTO said VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET latest = excluded.latest, ts = excluded.ts",
        (device, json.dumps(said.latest), said.ts),
    )
