"""Rows of the bot: what it heard and has not answered, whose chats there are, what waits for a yes, buttons.

Statements only; may import thingroom_common and storage.outbox. bot/ uses it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thingroom_common.database import Transaction
from thingroom_gateway.matrix_event import REACTION_TYPE, REDACTION_TYPE
from thingroom_gateway.storage import outbox

KEEP_HEARD_MS = 7 * 86_400_000
KEEP_BUTTONS_MS = 86_400_000
# So much of one person, and of all, waits for the bot at most; what is beyond is not kept.
WAITING_OF_PERSON = 50
WAITING = 2000


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that the bot keeps until it is answered. `event` has type, content, state_key, sender, event_id."""

    event_id: str
    room_id: str
    sender: str
    said_at: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the inbox; `at` is when it was taken in (Unix ms)."""

    id: int
    heard: Heard
    at: int


@dataclass(frozen=True, slots=True)
class Question:
    """What a person was asked. `request` is JSON of requests.Request."""

    txn_id: str
    room_id: str
    person: str
    request: str
    until: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the events of a transaction: `new` ones are kept, `crowded` ones found no room."""

    new: int
    crowded: int


def take_in(transaction: Transaction, txn_id: str, events: Sequence[Heard], now: int, keep: int) -> Taken | None:
    """Keep the events of one transaction of the homeserver; None if that was there before.

    An event that came in another transaction already is not new.
    """
    fresh = transaction.execute("INSERT OR IGNORE INTO transactions VALUES (?, ?)", (txn_id, now)).rowcount
    transaction.execute(
        "DELETE FROM transactions WHERE at < (SELECT at FROM transactions ORDER BY at DESC LIMIT 1 OFFSET ?)", (keep,)
    )
    if not fresh:
        return None
    new = crowded = 0
    waiting = transaction.execute("SELECT COUNT(*) FROM inbox").fetchone()[0] if events else 0
    of_person: dict[str, int] = {}
    for heard in events:
        if heard.sender not in of_person:
            crowd = transaction.execute("SELECT COUNT(*) FROM inbox WHERE sender = ?", (heard.sender,)).fetchone()
            of_person[heard.sender] = crowd[0]
        if waiting >= WAITING or of_person[heard.sender] >= WAITING_OF_PERSON:
            crowded += 1
            continue
        if not transaction.execute("INSERT OR IGNORE INTO heard VALUES (?, ?)", (heard.event_id, now)).rowcount:
            continue
        transaction.execute(
            "INSERT INTO inbox (event_id, room_id, sender, said_at, at, event) VALUES (?, ?, ?, ?, ?, ?)",
            (heard.event_id, heard.room_id, heard.sender, heard.said_at, now, json.dumps(heard.event)),
        )
        new, waiting = new + 1, waiting + 1
        of_person[heard.sender] += 1
    if events:
        transaction.execute("DELETE FROM heard WHERE at < ?", (now - KEEP_HEARD_MS,))
    return Taken(new, crowded)


def rooms_waiting(connection: sqlite3.Connection) -> list[str]:
    """Rooms in which something waits for the bot, the longest waiting first."""
    return [row[0] for row in connection.execute("SELECT room_id FROM inbox GROUP BY room_id ORDER BY MIN(id)")]


def waiting_in(connection: sqlite3.Connection, room_id: str, limit: int) -> list[Waiting]:
    """What waits in one room, oldest first."""
    rows = connection.execute(
        "SELECT id, event_id, room_id, sender, said_at, event, at FROM inbox WHERE room_id = ? ORDER BY id LIMIT ?",
        (room_id, limit),
    )
    return [Waiting(row[0], Heard(row[1], row[2], row[3], row[4], json.loads(row[5])), row[6]) for row in rows]


def answered(transaction: Transaction, rows: Sequence[Waiting]) -> None:
    """These need no answer any more."""
    transaction.executemany("DELETE FROM inbox WHERE id = ?", [(row.id,) for row in rows])


def chat_of(connection: sqlite3.Connection | Transaction, room_id: str) -> str | None:
    """Whose direct chat `room_id` is, None if it is none."""
    row = connection.execute("SELECT person FROM chats WHERE room_id = ?", (room_id,)).fetchone()
    return str(row[0]) if row is not None and row[0] else None


def chat_with(connection: sqlite3.Connection, person: str) -> str | None:
    """A direct chat with `person`."""
    row = connection.execute("SELECT room_id FROM chats WHERE person = ? LIMIT 1", (person,)).fetchone()
    return None if row is None else str(row[0])


def save_chat(transaction: Transaction, room_id: str, person: str) -> None:
    transaction.execute(
        "INSERT INTO chats (room_id, person) VALUES (?, ?) ON CONFLICT DO UPDATE SET person = excluded.person",
        (room_id, person),
    )


def forget_chat(transaction: Transaction, room_id: str) -> None:
    transaction.execute("DELETE FROM chats WHERE room_id = ?", (room_id,))


def explain_encryption_once(transaction: Transaction, room_id: str) -> bool:
    """Whether it is to be explained in `room_id` now; it will not be a second time."""
    transaction.execute("INSERT OR IGNORE INTO chats (room_id, person) VALUES (?, '')", (room_id,))
    changed = transaction.execute(
        "UPDATE chats SET explained_encryption = 1 WHERE room_id = ? AND explained_encryption = 0", (room_id,)
    )
    return changed.rowcount > 0


def save_puzzle(transaction: Transaction, event_id: str, now: int) -> None:
    """The bot did not understand `event_id`."""
    transaction.execute("INSERT OR IGNORE INTO puzzles VALUES (?, ?)", (event_id, now))
    transaction.execute("DELETE FROM puzzles WHERE at < ?", (now - KEEP_BUTTONS_MS,))


def solve_puzzle(transaction: Transaction, event_id: str) -> None:
    transaction.execute("DELETE FROM puzzles WHERE event_id = ?", (event_id,))


def is_puzzle(connection: sqlite3.Connection, event_id: str) -> bool:
    return connection.execute("SELECT 1 FROM puzzles WHERE event_id = ?", (event_id,)).fetchone() is not None


def ask(transaction: Transaction, question: Question) -> None:
    """Remember a question; an older one to the same person in the same room is void."""
    transaction.execute(
        "DELETE FROM questions WHERE room_id = ? AND person = ? OR until < ?",
        (question.room_id, question.person, question.until - KEEP_BUTTONS_MS),
    )
    transaction.execute(
        "INSERT OR REPLACE INTO questions VALUES (?, NULL, ?, ?, ?, ?)",
        (question.txn_id, question.room_id, question.person, question.request, question.until),
    )


def question_to(connection: sqlite3.Connection, room_id: str, person: str) -> Question | None:
    row = connection.execute(
        "SELECT txn_id, room_id, person, request, until FROM questions WHERE room_id = ? AND person = ?",
        (room_id, person),
    ).fetchone()
    return None if row is None else Question(*row)


def question_of(connection: sqlite3.Connection, event_id: str) -> Question | None:
    """The question that the bot's message `event_id` is."""
    row = connection.execute(
        "SELECT txn_id, room_id, person, request, until FROM questions WHERE event_id = ?", (event_id,)
    ).fetchone()
    return None if row is None else Question(*row)


def drop_question(transaction: Transaction, txn_id: str) -> None:
    transaction.execute("DELETE FROM questions WHERE txn_id = ?", (txn_id,))


def add_buttons(transaction: Transaction, txn_id: str, buttons: Sequence[str], now: int) -> None:
    """The message `txn_id` gets these reactions of the bot once it is in its room."""
    transaction.execute("INSERT OR REPLACE INTO buttons VALUES (?, ?, ?)", (txn_id, json.dumps(list(buttons)), now))
    transaction.execute("DELETE FROM buttons WHERE at < ?", (now - KEEP_BUTTONS_MS,))


def add_secret(transaction: Transaction, txn_id: str, room_id: str, until: int) -> None:
    """The message `txn_id` is taken back at `until` (Unix ms)."""
    transaction.execute("INSERT OR REPLACE INTO secrets_told VALUES (?, NULL, ?, ?)", (txn_id, room_id, until))


def take_back_secrets(transaction: Transaction, now: int) -> None:
    """Put the redaction of secrets whose time is over into the outbox."""
    rows = transaction.execute(
        "SELECT txn_id, event_id, room_id FROM secrets_told WHERE until <= ? AND event_id IS NOT NULL", (now,)
    ).fetchall()
    for txn_id, event_id, room_id in rows:
        content = json.dumps({"event_id": event_id, "reason": "The code is void."})
        outbox.add(transaction, outbox.to_room(room_id, REDACTION_TYPE, content, now))
        transaction.execute("DELETE FROM secrets_told WHERE txn_id = ?", (txn_id,))


def secrets_due(connection: sqlite3.Connection, now: int) -> bool:
    return connection.execute("SELECT 1 FROM secrets_told WHERE until <= ? LIMIT 1", (now,)).fetchone() is not None


def chats_with_secrets(connection: sqlite3.Connection) -> list[str]:
    """Rooms in which a secret stands just now."""
    return [row[0] for row in connection.execute("SELECT DISTINCT room_id FROM secrets_told")]


def end_secrets(transaction: Transaction, now: int) -> None:
    """What was told as a secret is void now."""
    transaction.execute("UPDATE secrets_told SET until = MIN(until, ?)", (now,))


def arrived(transaction: Transaction, txn_id: str, room_id: str, event_id: str, now: int) -> None:
    """The message `txn_id` is in `room_id` as `event_id`: remember it where it matters, and give it its buttons."""
    transaction.execute("UPDATE questions SET event_id = ? WHERE txn_id = ?", (event_id, txn_id))
    transaction.execute("UPDATE secrets_told SET event_id = ? WHERE txn_id = ?", (event_id, txn_id))
    transaction.execute("UPDATE alert_messages SET event_id = ? WHERE txn_id = ?", (event_id, txn_id))
    row = transaction.execute("DELETE FROM buttons WHERE txn_id = ? RETURNING buttons", (txn_id,)).fetchone()
    for button in json.loads(row[0]) if row is not None else ():
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": button}
        content = json.dumps({"m.relates_to": relation}, ensure_ascii=False)
        outbox.add(transaction, outbox.to_room(room_id, REACTION_TYPE, content, now))
