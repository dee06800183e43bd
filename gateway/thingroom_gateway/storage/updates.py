"""Rows of updates, and the bundles that they bring.

Statements only; may import thingroom_common, updates.update. updates/queue.py uses them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from thingroom_common.database import Transaction
from thingroom_common.firmware_image import Image, release_number
from thingroom_gateway.updates.update import State, Update

KEPT = 100
_COLUMNS = (
    "id, device, counter, version, folder, digest, size, number, architecture, state, reason, campaign, before,"
    " requested_by, requested_at"
)


def open_updates(connection: sqlite3.Connection) -> list[Update]:
    """All that are not over, in the order of asking."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM updates WHERE settled_at IS NULL ORDER BY id")  # noqa: S608
    return [Update(*row) for row in rows]


def latest(connection: sqlite3.Connection, device: int) -> Update | None:
    """The newest update of a device, over or not."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM updates WHERE device = ? ORDER BY id DESC LIMIT 1",  # noqa: S608
        (device,),
    ).fetchone()
    return None if row is None else Update(*row)


def by_id(connection: sqlite3.Connection, update: int) -> Update | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM updates WHERE id = ?",  # noqa: S608
        (update,),
    ).fetchone()
    return None if row is None else Update(*row)


def insert(transaction: Transaction, update: Update) -> Update:
    """Store a new one; its `id` is ignored, its `counter` is the least it may be. Returns it with both."""
    last = transaction.execute("SELECT MAX(counter) FROM updates WHERE device = ?", (update.device,)).fetchone()[0]
    counter = max((last or 0) + 1, update.counter)
    cursor = transaction.execute(
        "INSERT INTO updates (device, counter, version, folder, size, number, architecture, state, campaign, before,"
        " requested_by, requested_at) VALUES (?, ?, ?, ?, 0, ?, '', ?, ?, ?, ?, ?)",
        (
            update.device,
            counter,
            update.version,
            update.folder,
            update.number,
            update.state,
            update.campaign,
            update.before,
            update.requested_by,
            update.requested_at,
        ),
    )
    transaction.execute(
        "DELETE FROM updates WHERE device = ?1 AND settled_at IS NOT NULL AND id <="
        " (SELECT id FROM updates WHERE device = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (update.device, KEPT),
    )
    assert cursor.lastrowid is not None
    return replace(update, id=cursor.lastrowid, counter=counter)


def prepare(transaction: Transaction, update: Update, image: Image) -> Update:
    """The bundle of an update is known now."""
    number = release_number(image.version)
    transaction.execute(
        "INSERT INTO update_bundles VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (image.digest, image.architecture, image.version, number, image.bundle),
    )
    prepared = replace(
        update,
        digest=image.digest,
        size=len(image.bundle),
        architecture=image.architecture,
        version=image.version,
        number=number,
    )
    transaction.execute(
        "UPDATE updates SET digest = ?, size = ?, architecture = ?, version = ?, number = ? WHERE id = ?",
        (prepared.digest, prepared.size, prepared.architecture, prepared.version, number, update.id),
    )
    return prepared


def bundle(connection: sqlite3.Connection, digest: bytes) -> bytes | None:
    row = connection.execute("SELECT data FROM update_bundles WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else bytes(row[0])


def set_state(transaction: Transaction, update: int, state: State) -> None:
    transaction.execute("UPDATE updates SET state = ? WHERE id = ?", (state, update))


def raise_counter(transaction: Transaction, update: int, counter: int) -> None:
    transaction.execute("UPDATE updates SET counter = ? WHERE id = ?", (counter, update))


def settle(transaction: Transaction, update: int, state: State, reason: str, now_ms: int) -> bool:
    """It is over; bundles that nothing wants any more go. False if it was over already."""
    done = transaction.execute(
        "UPDATE updates SET state = ?, reason = ?, settled_at = ? WHERE id = ? AND settled_at IS NULL",
        (state, reason, now_ms, update),
    )
    transaction.execute(
        "DELETE FROM update_bundles WHERE digest NOT IN"
        " (SELECT digest FROM updates WHERE settled_at IS NULL AND digest IS NOT NULL)"
    )
    return done.rowcount > 0


def of_campaign(transaction: Transaction, campaign: int, states: Sequence[State]) -> list[int]:
    """The ids of a campaign's updates in these states."""
    marks = ", ".join("?" * len(states))
    rows = transaction.execute(
        f"SELECT id FROM updates WHERE campaign = ? AND state IN ({marks})",  # noqa: S608
        (campaign, *states),
    )
    return [row[0] for row in rows]
