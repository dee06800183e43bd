"""The registry: every enrolled device in memory, with its key ready to verify.

May import storage, profiles, PyNaCl. ingest.py looks devices up here; enrolment.py adds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import nacl.exceptions
from nacl.signing import VerifyKey

from thingroom_gateway.profiles import Profile, ProfileError
from thingroom_gateway.storage.devices import DeviceRow
from thingroom_wire.keys import broker_password

ACTIVE = "active"
REVOKED = "revoked"
# Another gateway has it now.
HANDED_OVER = "handed_over"


@dataclass(slots=True)
class Presence:
    """What a device said of itself lately: hints for people, in memory only."""

    status: str = ""
    firmware: str = ""
    waiting: int | None = None
    boot: int | None = None
    heard_at: int = 0
    # Its architecture, where it can be updated.
    architecture: str = ""
    # How many envelopes were put off because it was above its quota, and when the last one (Unix ms).
    deferred: int = 0
    deferred_at: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device, ready for use. Without `verify_key` it signs nothing, and the gateway attests its words."""

    row: DeviceRow
    profile: Profile
    verify_key: VerifyKey | None
    presence: Presence = field(default_factory=Presence)

    @property
    def kid_hex(self) -> str:
        return self.row.kid.hex()

    @property
    def broker_password(self) -> str:
        password: str = broker_password(self.row.downlink_key)
        return password

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is the device's over `message` (RFC 8032, by libsodium)."""
        if self.verify_key is None:
            return False
        try:
            self.verify_key.verify(message, signature)
        except (nacl.exceptions.BadSignatureError, ValueError):
            return False
        return True


class Registry:
    """Devices by key id and by row id."""

    def __init__(self, rows: Iterable[DeviceRow], profiles: dict[str, Profile]) -> None:
        self._profiles = profiles
        self._by_kid: dict[bytes, Device] = {}
        self._by_id: dict[int, Device] = {}
        for row in rows:
            self.put(row)

    def put(self, row: DeviceRow) -> Device:
        """Add or replace a device. Raises ProfileError if its profile is gone."""
        profile = self._profiles.get(row.profile)
        if profile is None:
            raise ProfileError(f"device {row.kid.hex()} ({row.name}) has the profile {row.profile}, which is gone")
        before = self._by_kid.get(row.kid)
        presence = before.presence if before else Presence()
        device = Device(row, profile, None if row.attested else VerifyKey(row.device_key), presence)
        self._by_kid[row.kid] = device
        self._by_id[row.id] = device
        return device

    def remove(self, row: DeviceRow) -> None:
        """Forget a device whose row was not committed after all."""
        self._by_kid.pop(row.kid, None)
        self._by_id.pop(row.id, None)

    def get(self, kid: bytes) -> Device | None:
        return self._by_kid.get(kid)

    def by_kid(self, kid: bytes) -> Device:
        return self._by_kid[kid]

    def by_id(self, device: int) -> Device:
        return self._by_id[device]

    def __iter__(self) -> Iterator[Device]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)
