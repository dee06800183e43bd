"""Rows of commands to devices, and the counters that they get.

Statements only; may import thingroom_common, commands.command. commands/queue.py uses them.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

from thingroom_common.database import Transaction
from thingroom_gateway.commands.command import Command, Outcome, Settings, Told

KEPT = 1000
_COLUMNS = "id, device, counter, actuator, value, requested_by, room_id, event_id, requested_at, expires_at"


def waiting(connection: sqlite3.Connection) -> list[Command]:
    """All commands without an outcome, in the order of asking."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM commands WHERE outcome IS NULL ORDER BY id")  # noqa: S608
    return [Command(*row) for row in rows]


def asked_by(transaction: Transaction, command: Command) -> int | None:
    """The id of the command that the same message asked for before, None if there is none."""
    if not command.event_id:
        return None
    row = transaction.execute(
        "SELECT id FROM commands WHERE event_id = ? AND device = ? AND actuator = ?",
        (command.event_id, command.device, command.actuator),
    ).fetchone()
    return None if row is None else int(row[0])


def next_counter(transaction: Transaction, device: int, now_ms: int) -> int:
    """The next counter of `device`, greater than each before.

    It is the time where that is greater: so counters grow also after the database was set back.
    """
    row = transaction.execute("SELECT counter FROM commanded WHERE device = ?", (device,)).fetchone()
    counter = max((row[0] if row else 0) + 1, now_ms)
    raise_counter(transaction, device, counter)
    return counter


def raise_counter(transaction: Transaction, device: int, counter: int) -> None:
    """The device has taken `counter`, or is about to: later ones are greater."""
    transaction.execute(
        "INSERT INTO commanded VALUES (?, ?, '') ON CONFLICT DO UPDATE SET counter = MAX(counter, excluded.counter)",
        (device, counter),
    )


def counter(connection: sqlite3.Connection, device: int) -> int:
    """The greatest counter that `device` was given, 0 for none."""
    row = connection.execute("SELECT counter FROM commanded WHERE device = ?", (device,)).fetchone()
    return 0 if row is None else int(row[0])


def configuration(transaction: Transaction, device: int) -> tuple[int, Settings]:
    """The version (0: none) and content of the newest configuration of `device`."""
    row = transaction.execute("SELECT configuration FROM commanded WHERE device = ?", (device,)).fetchone()
    if row is None or not row[0]:
        return 0, Settings()
    return json.loads(row[0])["version"], Settings.from_json(row[0])


def save_configuration(transaction: Transaction, device: int, text: str) -> None:
    transaction.execute("UPDATE commanded SET configuration = ? WHERE device = ?", (text, device))


def insert(transaction: Transaction, command: Command) -> Command:
    """Store a new command (its `id` is ignored); of each device the newest 1000 are kept. Returns it with its id."""
    cursor = transaction.execute(
        "INSERT INTO commands (device, counter, actuator, value, requested_by, room_id, event_id, requested_at,"
        " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            command.device,
            command.counter,
            command.actuator,
            command.value,
            command.requested_by,
            command.room_id,
            command.event_id,
            command.requested_at,
            command.expires_at,
        ),
    )
    transaction.execute(
        "DELETE FROM commands WHERE device = ?1 AND outcome IS NOT NULL AND id <="
        " (SELECT id FROM commands WHERE device = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (command.device, KEPT),
    )
    assert cursor.lastrowid is not None
    return replace(command, id=cursor.lastrowid)


def report(
    transaction: Transaction, device: int, counter: int, outcome: Outcome, reason: str, sequence: int, now_ms: int
) -> Told | None:
    """The device reported what came of `counter`. None if that is no news.

    It is news also of a command that had expired here: the device knows better.
    """
    row = transaction.execute(
        f"SELECT {_COLUMNS} FROM commands WHERE device = ? AND counter = ? AND counter > 0"  # noqa: S608
        " AND (outcome IS NULL OR outcome = 'expired')",
        (device, counter),
    ).fetchone()
    if row is None:
        return None
    told = Told(Command(*row), outcome, reason)
    settle(transaction, told, now_ms, sequence)
    return told


def is_waiting(transaction: Transaction, command: int) -> bool:
    """Whether a command has no outcome yet."""
    return transaction.execute("SELECT outcome FROM commands WHERE id = ?", (command,)).fetchone()[0] is None


def settle(transaction: Transaction, told: Told, now_ms: int, sequence: int | None = None) -> None:
    transaction.execute(
        "UPDATE commands SET outcome = ?, reason = ?, settled_at = ?, sequence = ? WHERE id = ?",
        (told.outcome, told.reason, now_ms, sequence, told.command.id),
    )


def outcome_of(connection: sqlite3.Connection, command: int) -> Told | None:
    """What came of a command by its id; None while it waits, or if there is none."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, outcome, reason FROM commands WHERE id = ? AND outcome IS NOT NULL",  # noqa: S608
        (command,),
    ).fetchone()
    return None if row is None else Told(Command(*tuple(row)[:10]), row[10], row[11])
