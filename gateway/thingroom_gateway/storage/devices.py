"""Rows of enrolled devices.

Statements only; may import thingroom_common. devices.py (the registry) keeps them in memory.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from thingroom_common.database import Transaction


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """An enrolled device. `device_key` and `agreement_key` are 32-byte x coordinates; `status` active,
    revoked or handed_over.

    `signer` is the key id of the gateway whose key it has pinned, empty for our own: it was taken over from another.
    An `attested` one (a plain MQTT device) signs nothing: its keys are empty, the gateway vouches for what it says.
    """

    id: int
    kid: bytes
    device_key: bytes
    agreement_key: bytes
    downlink_key: bytes
    name: str
    place: str
    profile: str
    status: str
    enrolled_at: int
    attested: bool = False
    signer: bytes = b""


_COLUMNS = (
    "id, kid, device_key, agreement_key, downlink_key, name, place, profile, status, enrolled_at, attested, signer"
)


def load_devices(connection: sqlite3.Connection) -> list[DeviceRow]:
    """All devices, in the order of enrolment."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM devices ORDER BY id")  # noqa: S608
    return [replace(DeviceRow(*row), attested=bool(row["attested"])) for row in rows]


def insert_device(transaction: Transaction, device: DeviceRow) -> DeviceRow:
    """Store a new device (its `id` is ignored); returns it with its id."""
    cursor = transaction.execute(
        "INSERT INTO devices (kid, device_key, agreement_key, downlink_key, name, place, profile, status,"
        " enrolled_at, attested) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            device.kid,
            device.device_key,
            device.agreement_key,
            device.downlink_key,
            device.name,
            device.place,
            device.profile,
            device.status,
            device.enrolled_at,
            device.attested,
        ),
    )
    assert cursor.lastrowid is not None
    transaction.execute("INSERT INTO arrivals VALUES (?, 0, 0)", (cursor.lastrowid,))
    return replace(device, id=cursor.lastrowid)


def set_status(transaction: Transaction, device: int, status: str) -> None:
    transaction.execute("UPDATE devices SET status = ? WHERE id = ?", (status, device))


def set_described(transaction: Transaction, device: DeviceRow) -> None:
    """What people decide about a device: its name, its place, whether it may speak."""
    transaction.execute(
        "UPDATE devices SET name = ?, place = ?, status = ? WHERE id = ?",
        (device.name, device.place, device.status, device.id),
    )


def set_agreement(transaction: Transaction, device: DeviceRow) -> None:
    """The device's new agreement key and what follows from it."""
    transaction.execute(
        "UPDATE devices SET agreement_key = ?, downlink_key = ?, signer = ? WHERE id = ?",
        (device.agreement_key, device.downlink_key, device.signer, device.id),
    )


def set_handed(transaction: Transaction, device: DeviceRow) -> None:
    """The device goes to another gateway, or comes from one."""
    transaction.execute(
        "UPDATE devices SET agreement_key = ?, downlink_key = ?, name = ?, place = ?, profile = ?, status = ?,"
        " signer = ? WHERE id = ?",
        (
            device.agreement_key,
            device.downlink_key,
            device.name,
            device.place,
            device.profile,
            device.status,
            device.signer,
            device.id,
        ),
    )


def signers(transaction: Transaction) -> dict[bytes, bytes]:
    """Ed25519 seeds, by key id, of gateways whose devices were taken over."""
    return {row[0]: row[1] for row in transaction.execute("SELECT kid, seed FROM signers")}
