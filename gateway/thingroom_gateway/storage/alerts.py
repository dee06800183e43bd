"""Rows of alerts: rules, their states, what was held back while it was quiet, quiet hours.

Statements only; may import thingroom_common and, for the shapes, alerts.rules. alerts/engine.py and the bot's commands
use it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from thingroom_common.database import Transaction
from thingroom_gateway.alerts.rules import Rule, State

KEEP_MESSAGES_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of a device. With a `preset` and no `rule` it is as the profile says. `asked_by` is empty for presets."""

    id: int
    device: int
    preset: str
    rule: Rule | None
    asked_by: str
    enabled: bool
    snoozed_until: int


class StoredReadings(NamedTuple):
    """An envelope as alerts look at it."""

    arrival: int
    received_at: int
    readings: str


class Held(NamedTuple):
    """Something that was not said."""

    id: int
    ts: int
    text: str
    mentions: list[str]


_RULES = "SELECT id, device, preset, definition, asked_by, enabled, snoozed_until FROM alert_rules"


def _rule_row(row: sqlite3.Row) -> RuleRow:
    rule = msgspec.json.decode(row[3], type=Rule) if row[3] else None
    return RuleRow(row[0], row[1], row[2], rule, row[4], bool(row[5]), row[6])


def all_rules(connection: sqlite3.Connection) -> list[RuleRow]:
    return [_rule_row(row) for row in connection.execute(f"{_RULES} ORDER BY id")]


def rules_of(connection: sqlite3.Connection, device: int) -> list[RuleRow]:
    return [_rule_row(row) for row in connection.execute(f"{_RULES} WHERE device = ? ORDER BY id", (device,))]


def rule_by_id(connection: sqlite3.Connection, rule: int) -> RuleRow | None:
    row = connection.execute(f"{_RULES} WHERE id = ?", (rule,)).fetchone()
    return None if row is None else _rule_row(row)


def add_rule(transaction: Transaction, device: int, preset: str, rule: Rule | None, asked_by: str, on: bool) -> int:
    """Returns the rule's number."""
    definition = msgspec.json.encode(rule).decode() if rule is not None else ""
    cursor = transaction.execute(
        "INSERT INTO alert_rules (device, preset, definition, asked_by, enabled) VALUES (?, ?, ?, ?, ?)",
        (device, preset, definition, asked_by, on),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def enable_rule(transaction: Transaction, rule: int, on: bool) -> None:
    """Turn a rule on or off; what it remembered is forgotten."""
    transaction.execute("UPDATE alert_rules SET enabled = ?, snoozed_until = 0 WHERE id = ?", (on, rule))
    transaction.execute("DELETE FROM alert_states WHERE rule = ?", (rule,))


def remove_rule(transaction: Transaction, rule: int) -> None:
    transaction.execute("DELETE FROM alert_rules WHERE id = ?", (rule,))


def snooze_rule(transaction: Transaction, rule: int, until: int) -> None:
    transaction.execute("UPDATE alert_rules SET snoozed_until = ? WHERE id = ?", (until, rule))


def move_rules(transaction: Transaction, old: int, new: int) -> None:
    """Alerts that people asked for watch the device `new` from now on."""
    transaction.execute(
        "DELETE FROM alert_states WHERE rule IN (SELECT id FROM alert_rules WHERE device = ? AND preset = '')", (old,)
    )
    transaction.execute("UPDATE alert_rules SET device = ? WHERE device = ? AND preset = ''", (new, old))


def all_states(connection: sqlite3.Connection) -> dict[int, State]:
    return {
        row[0]: msgspec.json.decode(row[1], type=State)
        for row in connection.execute("SELECT rule, state FROM alert_states")
    }


def save_states(transaction: Transaction, states: Iterable[tuple[int, State]]) -> None:
    """Rules that were removed meanwhile are left out."""
    transaction.executemany(
        "INSERT INTO alert_states SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM alert_rules WHERE id = ?1)"
        " ON CONFLICT DO UPDATE SET state = excluded.state",
        [(rule, msgspec.json.encode(state).decode()) for rule, state in states],
    )


def progress(connection: sqlite3.Connection) -> dict[int, int]:
    """Per device up to which arrival its readings were examined."""
    return dict(map(tuple, connection.execute("SELECT device, examined FROM alert_progress")))


def save_progress(transaction: Transaction, examined: Iterable[tuple[int, int]]) -> None:
    transaction.executemany(
        "INSERT INTO alert_progress VALUES (?, ?) ON CONFLICT DO UPDATE SET examined = excluded.examined", examined
    )


def arrived(connection: sqlite3.Connection) -> dict[int, int]:
    """Per device its newest arrival."""
    return dict(map(tuple, connection.execute("SELECT device, stored FROM arrivals")))


def last_heard(connection: sqlite3.Connection) -> dict[int, int]:
    """Per device when (Unix ms) its newest envelope that is still kept arrived."""
    rows = connection.execute(
        "SELECT a.device, e.received_at FROM arrivals a"
        " JOIN envelopes e ON e.device = a.device AND e.arrival = a.stored"
    )
    return dict(map(tuple, rows))


def readings_after(connection: sqlite3.Connection, device: int, arrival: int, limit: int) -> list[StoredReadings]:
    rows = connection.execute(
        "SELECT arrival, received_at, readings FROM envelopes WHERE device = ? AND arrival > ?"
        " ORDER BY arrival LIMIT ?",
        (device, arrival, limit),
    )
    return [StoredReadings(*row) for row in rows]


def add_message(transaction: Transaction, txn_id: str, rule: int, at: int) -> None:
    """The outbox row `txn_id` is an alert of `rule`; old ones are forgotten."""
    transaction.execute("INSERT OR IGNORE INTO alert_messages VALUES (?, NULL, ?, ?)", (txn_id, rule, at))
    transaction.execute("DELETE FROM alert_messages WHERE at < ?", (at - KEEP_MESSAGES_MS,))


def rule_of_message(connection: sqlite3.Connection, event_id: str) -> int | None:
    row = connection.execute("SELECT rule FROM alert_messages WHERE event_id = ?", (event_id,)).fetchone()
    return None if row is None else int(row[0])


def newest_message(connection: sqlite3.Connection, devices: Iterable[int]) -> int | None:
    """The rule of the newest alert about one of `devices`."""
    wanted = set(devices)
    for row in connection.execute(
        "SELECT m.rule, r.device FROM alert_messages m JOIN alert_rules r ON r.id = m.rule ORDER BY m.at DESC LIMIT 500"
    ):
        if row[1] in wanted:
            return int(row[0])
    return None


def hold(transaction: Transaction, place: str, ts: int, text: str, mentions: list[str]) -> None:
    transaction.execute(
        "INSERT INTO alerts_held (place, ts, text, mentions) VALUES (?, ?, ?, ?)",
        (place, ts, text, json.dumps(mentions)),
    )


def places_held(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT DISTINCT place FROM alerts_held")]


def take_held(transaction: Transaction, place: str) -> list[Held]:
    """What was held back for `place`; it is forgotten."""
    rows = transaction.execute("SELECT id, ts, text, mentions FROM alerts_held WHERE place = ? ORDER BY id", (place,))
    found = [Held(row[0], row[1], row[2], json.loads(row[3])) for row in rows]
    transaction.execute("DELETE FROM alerts_held WHERE place = ?", (place,))
    return found


def quiet_hours(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Quiet hours by place: minutes of the local day."""
    return {row[0]: (row[1], row[2]) for row in connection.execute("SELECT place, first, last FROM quiet_hours")}


def set_quiet_hours(transaction: Transaction, place: str, hours: tuple[int, int] | None) -> None:
    if hours is None:
        transaction.execute("DELETE FROM quiet_hours WHERE place = ?", (place,))
        return
    transaction.execute(
        "INSERT INTO quiet_hours VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET first = excluded.first, last = excluded.last",
        (place, *hours),
    )


def presences(connection: sqlite3.Connection) -> dict[int, str]:
    """What rooms were told of each device's presence."""
    return dict(map(tuple, connection.execute("SELECT device, presence FROM presence_told")))


def save_presence(transaction: Transaction, device: int, presence: str) -> None:
    transaction.execute(
        "INSERT INTO presence_told VALUES (?, ?) ON CONFLICT DO UPDATE SET presence = excluded.presence",
        (device, presence),
    )
