"""Rows that only the dashboard asks for: sessions, the newest commands of a device, what is in rooms.

Statements only; may import thingroom_common, commands.command. dashboard/ uses it.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from thingroom_common.database import Transaction
from thingroom_gateway.commands.command import Command

PER_PERSON = 20


class SessionRow(NamedTuple):
    """Somebody who is signed in; times in Unix ms."""

    digest: bytes
    person: str
    made_at: int
    expires_at: int


class PastCommand(NamedTuple):
    """A command as the page lists it; `outcome` is None while it waits, `settled_at` Unix ms."""

    command: Command
    outcome: str | None
    reason: str
    settled_at: int | None


def add_session(transaction: Transaction, row: SessionRow) -> None:
    """Store a session; those that ended go, and of each person the newest twenty stay."""
    transaction.execute("DELETE FROM dashboard_sessions WHERE expires_at <= ?", (row.made_at,))
    transaction.execute("INSERT INTO dashboard_sessions VALUES (?, ?, ?, ?)", row)
    transaction.execute(
        "DELETE FROM dashboard_sessions WHERE person = ?1 AND digest NOT IN"
        " (SELECT digest FROM dashboard_sessions WHERE person = ?1 ORDER BY made_at DESC LIMIT ?2)",
        (row.person, PER_PERSON),
    )


def load_session(connection: sqlite3.Connection, digest: bytes, now: int) -> SessionRow | None:
    """The session of that digest, unless it has ended at `now` (Unix ms)."""
    row = connection.execute(
        "SELECT digest, person, made_at, expires_at FROM dashboard_sessions WHERE digest = ? AND expires_at > ?",
        (digest, now),
    ).fetchone()
    return None if row is None else SessionRow(*row)


def end_session(transaction: Transaction, digest: bytes) -> None:
    transaction.execute("DELETE FROM dashboard_sessions WHERE digest = ?", (digest,))


def end_sessions_of(transaction: Transaction, person: str) -> None:
    """Sign `person` out everywhere."""
    transaction.execute("DELETE FROM dashboard_sessions WHERE person = ?", (person,))


def newest_commands(connection: sqlite3.Connection, device: int, limit: int) -> list[PastCommand]:
    """The newest commands to a device, newest first."""
    rows = connection.execute(
        "SELECT id, device, counter, actuator, value, requested_by, room_id, event_id, requested_at, expires_at,"
        " outcome, reason, settled_at FROM commands WHERE device = ? ORDER BY id DESC LIMIT ?",
        (device, limit),
    )
    return [PastCommand(Command(*tuple(row)[:10]), row[10], row[11], row[12]) for row in rows]


def last_in_room(connection: sqlite3.Connection) -> int | None:
    """When (Unix ms) readings last arrived in a room, None if they never did or it is long ago."""
    row = connection.execute("SELECT MAX(at) FROM in_room").fetchone()
    return None if row[0] is None else int(row[0])


def parked(connection: sqlite3.Connection, limit: int) -> list[tuple[str, str, str]]:
    """Place, type and reason of requests that the homeserver refused for good."""
    rows = connection.execute(
        "SELECT place, type, parked FROM outbox WHERE parked IS NOT NULL ORDER BY id LIMIT ?", (limit,)
    )
    return [(row[0] or "the Space", row[1], row[2]) for row in rows]
