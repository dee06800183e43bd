"""Changes of local users' devices that other servers were not told yet: the newest of each device, for each server.

`device_list_streams` holds the number of a user's last change, `device_list_told` the last number that a server knows:
what the next update for it names as `prev_id`. The device id "" stands for the user's cross-signing keys.
May import thingroom_common and storage. Source: Server-Server API, "Device Management".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import next_position

SIGNING_KEYS = ""


@dataclass(frozen=True, slots=True)
class QueuedChange:
    """A change that a server is to be told of."""

    user_id: str
    device_id: str
    stream_id: int


def queue_changes(
    transaction: Transaction, user_id: str, device_ids: Collection[str], destinations: Collection[str]
) -> None:
    """The devices changed: each gets a number, and the destinations are to be told."""
    previous = device_list_stream(transaction, user_id)
    stream_id = previous
    for device_id in device_ids:
        number = next_position(transaction)
        if device_id != SIGNING_KEYS:
            stream_id = number
        transaction.executemany(
            "INSERT OR REPLACE INTO device_list_outbox VALUES (?, ?, ?, ?)",
            [(destination, user_id, device_id, number) for destination in destinations],
        )
    if stream_id == previous or stream_id is None:
        return
    transaction.execute("INSERT OR REPLACE INTO device_list_streams VALUES (?, ?)", (user_id, stream_id))
    if previous is not None:
        transaction.executemany(
            "INSERT INTO device_list_told VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(destination, user_id, previous) for destination in destinations],
        )


def queue_all_devices(transaction: Transaction, user_id: str, destinations: Collection[str]) -> None:
    """The destinations begin to share a room with the user: they are told of all devices that have keys."""
    rows = transaction.execute("SELECT device_id FROM device_keys WHERE user_id = ?", (user_id,))
    queue_changes(transaction, user_id, [row[0] for row in rows.fetchall()], destinations)


def device_list_stream(connection: Reader, user_id: str) -> int | None:
    """The number of the user's last change; None before the first one."""
    row = connection.execute("SELECT stream_id FROM device_list_streams WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else int(row[0])


def first_queued(connection: Reader, destination: str, limit: int) -> list[QueuedChange]:
    """The oldest changes that the destination is to be told of, in order."""
    rows = connection.execute(
        "SELECT user_id, device_id, stream_id FROM device_list_outbox WHERE destination = ? ORDER BY stream_id LIMIT ?",
        (destination, limit),
    )
    return [QueuedChange(*row) for row in rows]


def told_upto(connection: Reader, destination: str, user_id: str) -> int | None:
    """The last number of the user's changes that the destination knows; None if it knows none."""
    row = connection.execute(
        "SELECT stream_id FROM device_list_told WHERE destination = ? AND user_id = ?", (destination, user_id)
    ).fetchone()
    return None if row is None else row[0]


def settle(transaction: Transaction, destination: str, told: Iterable[tuple[str, str, int]]) -> None:
    """The destination has got updates: (user, device, number), in order. A newer change of a device stays queued."""
    for user_id, device_id, stream_id in told:
        transaction.execute(
            "DELETE FROM device_list_outbox WHERE destination = ? AND user_id = ? AND device_id = ? AND stream_id = ?",
            (destination, user_id, device_id, stream_id),
        )
        if device_id != SIGNING_KEYS:
            note_told(transaction, destination, user_id, stream_id)


def note_told(transaction: Transaction, destination: str, user_id: str, stream_id: int) -> None:
    """The destination knows the user's devices as of that number."""
    transaction.execute("INSERT OR REPLACE INTO device_list_told VALUES (?, ?, ?)", (destination, user_id, stream_id))
