"""Making a device known: by its keys at the command line, or at the end of pairing.

May import storage, devices, gateway_keys, matrix_event. pairing.py and control.py call `Enrolment`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from thingroom_common.database import Database, Transaction
from thingroom_gateway.devices import ACTIVE, HANDED_OVER, REVOKED, Device, Registry
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.matrix_event import DEVICE_TYPE, LEAVE_TYPE, device_content
from thingroom_gateway.profiles import Profile
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.devices import DeviceRow, insert_device, set_agreement, set_described, set_status
from thingroom_wire.keys import cose_key_ed25519, key_id

MAX_NAME = 64
# What the state in a room says of a device that has another room now.
MOVED = "moved"
# Curve points of small order are refused by libsodium when it verifies; these two encodings never have a signer.
_NO_KEYS = frozenset({bytes(32), b"\x01" + bytes(31)})


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants to be enrolled. Keys are 32-byte x coordinates; an empty `place` means the device's name."""

    device_key: bytes
    agreement_key: bytes
    name: str
    profile: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """`fresh` if the device was not enrolled before."""

    device: Device
    fresh: bool


@dataclass(frozen=True, slots=True)
class NotEnrolled:
    """`reason` is a snake_case word."""

    reason: str


class Enrolment:
    """Owns changes to the set of devices. `changed` is called after each, for whoever keeps a copy (broker users)."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        profiles: dict[str, Profile],
        keys: GatewayKeys,
        max_devices: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._registry = registry
        self._profiles = profiles
        self._keys = keys
        self.max_devices = max_devices
        self._now_ms = now_ms
        self.changed: list[Callable[[Device], None]] = []

    @property
    def profile_names(self) -> Iterable[str]:
        """The profiles that a device can have."""
        return self._profiles

    def judge(self, candidate: Candidate) -> DeviceRow | NotEnrolled:
        """The row that `candidate` would get, or why it gets none. Pure but for the look at the registry."""
        if len(candidate.device_key) != 32 or candidate.device_key in _NO_KEYS:
            return NotEnrolled("bad_device_key")
        if len(candidate.agreement_key) != 32:
            return NotEnrolled("bad_agreement_key")
        if candidate.profile not in self._profiles:
            return NotEnrolled("unknown_profile")
        name = " ".join(candidate.name.split())
        place = " ".join(candidate.place.split()) or name
        if not _good_name(name) or not _good_name(place):
            return NotEnrolled("bad_name")
        kid: bytes = key_id(candidate.device_key)
        before = self._registry.get(kid)
        if before is not None and before.row.status in (REVOKED, HANDED_OVER):
            return NotEnrolled(before.row.status)
        if before is None and len(self._registry) >= self.max_devices:
            return NotEnrolled("too_many_devices")
        downlink = self._keys.downlink_key(kid, candidate.agreement_key)
        if downlink is None:
            return NotEnrolled("bad_agreement_key")
        if before is not None:
            return replace(before.row, agreement_key=candidate.agreement_key, downlink_key=downlink, signer=b"")
        return DeviceRow(
            id=0,
            kid=kid,
            device_key=candidate.device_key,
            agreement_key=candidate.agreement_key,
            downlink_key=downlink,
            name=name,
            place=place,
            profile=candidate.profile,
            status=ACTIVE,
            enrolled_at=self._now_ms(),
        )

    async def enrol(self, candidate: Candidate) -> Enrolled | NotEnrolled:
        """Store the device with its state event in one transaction. The same keys again change nothing.

        A known device key with another agreement key gets a new downlink key and keeps everything else. Raises
        sqlite3.Error.
        """
        row = self.judge(candidate)
        if isinstance(row, NotEnrolled):
            return row
        before = self._registry.get(row.kid)
        if before is not None and before.row == row:
            return Enrolled(before, fresh=False)

        def write(transaction: Transaction) -> DeviceRow:
            if before is None:
                stored = insert_device(transaction, row)
                outbox.add(transaction, self._state(stored))
            else:
                stored = row
                set_agreement(transaction, row)
            self._put(transaction, stored)
            return stored

        stored = await self._database.write(write)
        device = self._registry.by_id(stored.id)
        self._tell(device)
        return Enrolled(device, fresh=before is None)

    async def adopt(
        self, kid: bytes, name: str, place: str, profile: str, also: Callable[[Transaction, DeviceRow], None]
    ) -> Enrolled | NotEnrolled:
        """Take in a device that signs nothing, by its owner's word; `also` shares the transaction.

        One that was revoked is taken in again, under its old name. Raises sqlite3.Error.
        """
        if profile not in self._profiles:
            return NotEnrolled("unknown_profile")
        name = " ".join(name.split())
        place = " ".join(place.split()) or name
        if not _good_name(name) or not _good_name(place):
            return NotEnrolled("bad_name")
        before = self._registry.get(kid)
        if before is None and len(self._registry) >= self.max_devices:
            return NotEnrolled("too_many_devices")
        new = DeviceRow(0, kid, b"", b"", b"", name, place, profile, ACTIVE, self._now_ms(), attested=True)
        row = new if before is None else replace(before.row, status=ACTIVE)

        def write(transaction: Transaction) -> DeviceRow:
            if before is None:
                stored = insert_device(transaction, row)
            else:
                stored = row
                set_status(transaction, row.id, ACTIVE)
            outbox.add(transaction, self._state(stored))
            also(transaction, stored)
            self._put(transaction, stored)
            return stored

        stored = await self._database.write(write)
        device = self._registry.by_id(stored.id)
        self._tell(device)
        return Enrolled(device, fresh=before is None)

    async def revoke(self, kid: bytes) -> Device | None:
        """Take a device's word no longer; None if there is none of that `kid`. Raises sqlite3.Error."""
        device = self._registry.get(kid)
        if device is None:
            return None
        row = replace(device.row, status=REVOKED)

        def write(transaction: Transaction) -> None:
            set_status(transaction, row.id, REVOKED)
            outbox.add(transaction, self._state(row))
            self._put(transaction, row)

        await self._database.write(write)
        revoked = self._registry.by_id(row.id)
        self._tell(revoked)
        return revoked

    def describe(self, transaction: Transaction, before: DeviceRow, row: DeviceRow, **extra: str) -> None:
        """Change name, place or status of a device within a write, and say so in its room; `extra` goes along there.

        On a move its ghost leaves the old room, after all that it still has to say there.
        """
        set_described(transaction, row)
        if before.place != row.place:
            old = replace(row, place=before.place)
            outbox.add(transaction, self._state(replace(old, status=MOVED)))
            now = self._now_ms()
            outbox.add(transaction, outbox.NewRow(before.place, row.id, row.kid.hex(), LEAVE_TYPE, "{}", now))
        outbox.add(transaction, self._state(row, extra))
        self._put(transaction, row)
        transaction.after_commit(lambda: self._tell(self._registry.by_id(row.id)))

    def keep(self, transaction: Transaction, row: DeviceRow) -> None:
        """A write changes or adds the device: so does the registry, and who keeps a copy is told after the commit."""
        self._put(transaction, row)
        transaction.after_commit(lambda: self._tell(self._registry.by_id(row.id)))

    def name_of(self, text: str) -> str | None:
        """A name or place as it is kept, None if it cannot be one."""
        name = " ".join(text.split())
        return name if _good_name(name) else None

    def _put(self, transaction: Transaction, row: DeviceRow) -> None:
        """Change the registry before the commit: readers may see the committed row before anything runs after it."""
        before = self._registry.get(row.kid)
        self._registry.put(row)

        def take_back() -> None:
            if before is None:
                self._registry.remove(row)
            else:
                self._registry.put(before.row)

        transaction.after_rollback(take_back)

    def _state(self, row: DeviceRow, extra: Mapping[str, str] | None = None) -> outbox.NewRow:
        key = None if row.attested else cose_key_ed25519(row.device_key)
        content = device_content(key, row.profile, row.name, row.status, extra or {})
        return outbox.NewRow(
            row.place, row.id, row.kid.hex(), DEVICE_TYPE, content, self._now_ms(), state_key=row.kid.hex()
        )

    def _tell(self, device: Device) -> None:
        for listener in self.changed:
            listener(device)


def _good_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()
