"""Rows of live messages: where people want them, and which message of a device is edited.

Statements only; may import thingroom_common, notices, storage.outbox. announce.py writes them with the rows of the
outbox, outbox.py reads what an edit is of.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from thingroom_common.database import Transaction
from thingroom_gateway.matrix_event import EDIT_TYPE
from thingroom_gateway.notices import Live, Said
from thingroom_gateway.storage import outbox


def load_unsaid(connection: sqlite3.Connection | Transaction, device: int) -> Said | None:
    """What the device has still to say."""
    row = connection.execute("SELECT latest, ts FROM unsaid WHERE device = ?", (device,)).fetchone()
    return None if row is None else Said(json.loads(row[0]), row[1])


def devices_with_unsaid(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT device FROM unsaid")]


def save_unsaid(transaction: Transaction, device: int, said: Said) -> None:
    transaction.execute(
        "INSERT INTO unsaid VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET latest = excluded.latest, ts = excluded.ts",
        (device, json.dumps(said.latest), said.ts),
    )


def drop_unsaid(transaction: Transaction, device: int) -> None:
    transaction.execute("DELETE FROM unsaid WHERE device = ?", (device,))


def choice_of(connection: sqlite3.Connection | Transaction, device: int, place: str) -> bool | None:
    """What people chose for the device, else for its place; None if nothing."""
    row = connection.execute("SELECT live FROM live_devices WHERE device = ?", (device,)).fetchone()
    row = row or connection.execute("SELECT live FROM live_places WHERE place = ?", (place,)).fetchone()
    return None if row is None else bool(row[0])


def choose_for_place(transaction: Transaction, place: str, live: bool) -> None:
    """What people choose for a place counts for each device in it, whatever was chosen for one alone."""
    transaction.execute("DELETE FROM live_devices WHERE device IN (SELECT id FROM devices WHERE place = ?)", (place,))
    transaction.execute(
        "INSERT INTO live_places VALUES (?, ?) ON CONFLICT DO UPDATE SET live = excluded.live", (place, live)
    )


def choose_for_device(transaction: Transaction, device: int, live: bool) -> None:
    transaction.execute(
        "INSERT INTO live_devices VALUES (?, ?) ON CONFLICT DO UPDATE SET live = excluded.live", (device, live)
    )


def load(transaction: Transaction, device: int) -> Live | None:
    """The device's message that can still be edited."""
    row = transaction.execute(
        "SELECT place, opening, opened_at, edits FROM live_messages WHERE device = ? AND over = 0", (device,)
    ).fetchone()
    return None if row is None else Live(*row)


def opened(transaction: Transaction, device: int, live: Live) -> None:
    """The outbox row `live.opening` is the device's message from now on; edits of the one before need not go out."""
    transaction.execute("DELETE FROM outbox WHERE device = ? AND type = ?", (device, EDIT_TYPE))
    transaction.execute(
        "INSERT INTO live_messages VALUES (?, ?, ?, NULL, ?, 0, 0) ON CONFLICT DO UPDATE SET place = excluded.place,"
        " opening = excluded.opening, event_id = NULL, opened_at = excluded.opened_at, edits = 0, over = 0",
        (device, live.place, live.opening, live.opened_at),
    )


def edited(transaction: Transaction, device: int, edit: outbox.NewRow) -> None:
    """Put `edit`, of the device's message, into the outbox; in the place of one that still waits there."""
    # One that is under way just now is not taken for this one when it arrives: it has another transaction id.
    waiting = transaction.execute(
        "UPDATE outbox SET txn_id = ?, content = ?, ts = ? WHERE device = ? AND type = ? AND parked IS NULL",
        (edit.txn_id, edit.content, edit.ts, device, EDIT_TYPE),
    )
    if not waiting.rowcount:
        outbox.add(transaction, edit)
        transaction.execute("UPDATE live_messages SET edits = edits + 1 WHERE device = ?", (device,))


def over(transaction: Transaction, device: int) -> None:
    """The device's next notice is a new message."""
    transaction.execute("DELETE FROM outbox WHERE device = ? AND type = ?", (device, EDIT_TYPE))
    transaction.execute("UPDATE live_messages SET over = 1 WHERE device = ?", (device,))


def arrived(transaction: Transaction, opening: str, event_id: str) -> None:
    """The outbox row `opening` is in its room."""
    transaction.execute("UPDATE live_messages SET event_id = ? WHERE opening = ?", (event_id, opening))


def redacted(transaction: Transaction, event_ids: Iterable[str]) -> None:
    """These events were taken out of their rooms: what was a live message is edited no more."""
    transaction.executemany("UPDATE live_messages SET over = 1 WHERE event_id = ?", [(one,) for one in event_ids])


def event_of(connection: sqlite3.Connection, opening: str) -> str | None:
    """The event that the row `opening` became, None if it is none, or is edited no more."""
    row = connection.execute("SELECT event_id FROM live_messages WHERE opening = ? AND over = 0", (opening,)).fetchone()
    return None if row is None else row[0]
