"""SQL of what is on its way to application services: how far the stream was read, the transaction under way, and
which of their users are in which rooms at that point of the stream.

May import storage.connection. Called by appservice_api/delivery.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class SavedStream:
    """`position`: of the last event that was looked at. `pending`: the body of transaction `last_transaction`, until
    it is acknowledged."""

    namespaces_digest: bytes
    position: int
    last_transaction: int
    pending: bytes | None


def load_stream(connection: Reader, appservice_id: str) -> SavedStream | None:
    row = connection.execute(
        "SELECT namespaces_digest, position, last_transaction, pending FROM appservice_streams WHERE appservice_id = ?",
        (appservice_id,),
    ).fetchone()
    return None if row is None else SavedStream(*row)


def save_stream(transaction: Transaction, appservice_id: str, stream: SavedStream) -> None:
    transaction.execute(
        "INSERT INTO appservice_streams VALUES (?, ?, ?, ?, ?) ON CONFLICT (appservice_id) DO UPDATE SET"
        " namespaces_digest = excluded.namespaces_digest, position = excluded.position,"
        " last_transaction = excluded.last_transaction, pending = excluded.pending",
        (appservice_id, stream.namespaces_digest, stream.position, stream.last_transaction, stream.pending),
    )


def load_members(connection: Reader, appservice_id: str) -> list[tuple[str, str]]:
    """(room id, user id) of the application service's users that were joined at the saved position."""
    rows = connection.execute(
        "SELECT room_id, user_id FROM appservice_members WHERE appservice_id = ?", (appservice_id,)
    )
    return [(row["room_id"], row["user_id"]) for row in rows]


def replace_members(transaction: Transaction, appservice_id: str, members: Iterable[tuple[str, str]]) -> None:
    transaction.execute("DELETE FROM appservice_members WHERE appservice_id = ?", (appservice_id,))
    transaction.executemany(
        "INSERT INTO appservice_members VALUES (?, ?, ?)",
        [(appservice_id, room_id, user_id) for room_id, user_id in members],
    )


def set_member(transaction: Transaction, appservice_id: str, room_id: str, user_id: str, *, joined: bool) -> None:
    if joined:
        transaction.execute(
            "INSERT INTO appservice_members VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (appservice_id, room_id, user_id)
        )
    else:
        transaction.execute(
            "DELETE FROM appservice_members WHERE appservice_id = ? AND room_id = ? AND user_id = ?",
            (appservice_id, room_id, user_id),
        )
