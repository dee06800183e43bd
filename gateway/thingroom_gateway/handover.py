"""Devices go from one gateway to another: what the new one must know of them, in a file, and the old one's farewell.

The file has everything that keeps promises: the ledger (nothing is accepted twice), the greatest command counters and
configurations (nothing is used again), the downlink keys and the signing key that the devices have pinned (they believe
the new one), what is known of clocks, and alert rules. Envelopes and history stay. May import storage, devices,
enrolment. control.py and device_commands.py call it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from thingroom_common.database import Database, Transaction
from thingroom_gateway.devices import ACTIVE, HANDED_OVER, Device
from thingroom_gateway.enrolment import Enrolment
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.storage import handover as rows
from thingroom_gateway.storage.devices import DeviceRow, insert_device, set_handed, signers
from thingroom_gateway.storage.handover import Known
from thingroom_wire.keys import key_id

FORMAT: Final = "thingroom devices 1"
MAX_FILE: Final = 1_000_000_000


class HandedDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device as it goes: its row (bytes in base64), and what is known of it."""

    kid: bytes
    device_key: bytes
    agreement_key: bytes
    downlink_key: bytes
    name: str
    place: str
    profile: str
    status: str
    enrolled_at: int
    signer: bytes
    known: Known


class HandOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file. `signers` are Ed25519 seeds of gateways by key id (hex): those that the devices have pinned."""

    format: Literal["thingroom devices 1"]
    signers: dict[str, bytes]
    devices: list[HandedDevice]


@dataclass(frozen=True, slots=True)
class Handed:
    """How many devices went, and what of theirs still waits here to go into rooms."""

    devices: int
    envelopes_waiting: int


@dataclass(frozen=True, slots=True)
class NotHanded:
    """Nothing was changed; `sentence` says why."""

    sentence: str


def parse_shards(text: str) -> frozenset[int] | None:
    """The shards of "0-7", "0,3,a-f" or "0123"; None for what is none."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        digits = (first, last) if dash else (first,)
        if not all(digits) or any(set(one) - set("0123456789abcdef") for one in digits):
            return None
        if not dash:
            found.update(int(digit, 16) for digit in first)
        elif len(first) != 1 or len(last) != 1 or int(first, 16) > int(last, 16):
            return None
        else:
            found.update(range(int(first, 16), int(last, 16) + 1))
    return frozenset(found)


class HandingOver:
    """Both sides of it."""

    def __init__(self, database: Database, registry: Iterable[Device], enrolment: Enrolment, keys: GatewayKeys) -> None:
        self._database = database
        self._registry = registry
        self._enrolment = enrolment
        self._keys = keys

    async def export(self, shards: frozenset[int], path: Path, again: bool = False) -> Handed | NotHanded:
        """Write the devices of `shards` to the new file `path`, and take nothing from them any more.

        The file is on disk before the commit that gives the devices up. `again` writes those that were given up before:
        for a file that was lost, and only as long as nobody has taken them over. Raises sqlite3.Error, OSError.
        """
        statuses = (HANDED_OVER,) if again else (ACTIVE, "revoked")
        going = [
            device.row
            for device in self._registry
            if not device.row.attested and device.row.kid[0] >> 4 in shards and device.row.status in statuses
        ]
        if not going:
            return NotHanded("no device of these shards is here" + (" that was handed over" if again else ""))
        if path.exists():
            return NotHanded(f"{path} exists already; name a new file")
        unfinished = path.with_name(path.name + ".unfinished")

        def write(transaction: Transaction) -> Handed:
            waiting = 0
            devices = []
            for row in going:
                known = rows.read(transaction, row.id)
                devices.append(_handed(row, known, self._keys.kid))
                waiting += rows.waiting(transaction, row.id)
            seeds = {self._keys.kid: self._keys.signing_seed, **signers(transaction)}
            wanted = {device.signer for device in devices}
            made = HandOver(
                format=FORMAT,
                signers={kid.hex(): seed for kid, seed in seeds.items() if kid in wanted},
                devices=devices,
            )
            _write_private(unfinished, msgspec.json.encode(made))
            for row in going:
                if row.status == ACTIVE:
                    given = replace(row, status=HANDED_OVER)
                    set_handed(transaction, given)
                    self._enrolment.keep(transaction, given)
            return Handed(len(devices), waiting)

        try:
            handed = await self._database.write(write)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.rename(path)
        return handed

    async def take(self, path: Path, profiles: Iterable[str]) -> Handed | NotHanded:
        """Take over the devices in the file `path`, all or none. Raises sqlite3.Error, OSError."""
        made = _read(path)
        if isinstance(made, NotHanded):
            return made
        here = {device.row.kid: device.row for device in self._registry}
        known_profiles = set(profiles)
        for one in made.devices:
            before = here.get(one.kid)
            if before is not None and before.status != HANDED_OVER:
                return NotHanded(f"{before.name} ({one.kid.hex()}) is here already; nothing was taken over")
            if one.profile not in known_profiles:
                return NotHanded(f"there is no profile {one.profile}, which {one.name} has; nothing was taken over")
        names = len(here) + sum(one.kid not in here for one in made.devices)
        if names > self._enrolment.max_devices:
            return NotHanded("there would be more devices than limits.devices in [gateway] allows")

        def write(transaction: Transaction) -> Handed:
            rows.keep_signers(transaction, {bytes.fromhex(kid): seed for kid, seed in made.signers.items()})
            for one in made.devices:
                row = _row(one, self._keys.kid)
                before = here.get(one.kid)
                row = insert_device(transaction, row) if before is None else replace(row, id=before.id)
                set_handed(transaction, row)
                rows.write(transaction, row.id, one.known)
                self._enrolment.keep(transaction, row)
            return Handed(len(made.devices), 0)

        return await self._database.write(write)


def _handed(row: DeviceRow, known: Known, own: bytes) -> HandedDevice:
    return HandedDevice(
        kid=row.kid,
        device_key=row.device_key,
        agreement_key=row.agreement_key,
        downlink_key=row.downlink_key,
        name=row.name,
        place=row.place,
        profile=row.profile,
        status=ACTIVE if row.status == HANDED_OVER else row.status,
        enrolled_at=row.enrolled_at,
        signer=row.signer or own,
        known=known,
    )


def _row(one: HandedDevice, own: bytes) -> DeviceRow:
    return DeviceRow(
        id=0,
        kid=one.kid,
        device_key=one.device_key,
        agreement_key=one.agreement_key,
        downlink_key=one.downlink_key,
        name=one.name,
        place=one.place,
        profile=one.profile,
        status=one.status,
        enrolled_at=one.enrolled_at,
        signer=b"" if one.signer == own else one.signer,
    )


def _read(path: Path) -> HandOver | NotHanded:
    """The file, its keys fitting together."""
    try:
        if path.stat().st_size > MAX_FILE:
            return NotHanded(f"{path} is too large for what it should be")
        made = msgspec.json.decode(path.read_bytes(), type=HandOver)
    except FileNotFoundError:
        return NotHanded(f"there is no file {path}")
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        return NotHanded(f"{path} is not what `thingroom gateway devices export` writes ({error})")
    for one in made.devices:
        lengths = [len(key) for key in (one.device_key, one.agreement_key, one.downlink_key)]
        if lengths != [32, 32, 32] or key_id(one.device_key) != one.kid or one.signer.hex() not in made.signers:
            return NotHanded(f"{path} is damaged: the keys of {one.name} do not fit together")
    if len({one.kid for one in made.devices}) < len(made.devices):
        return NotHanded(f"{path} is damaged: a device is in it twice")
    return made


def _write_private(path: Path, data: bytes) -> None:
    """A new file that only its owner can read, on disk when this returns. Raises OSError."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sentence_of_error(error: sqlite3.Error | OSError) -> str:
    """For people."""
    return f"it could not be done ({error}); nothing was changed"
