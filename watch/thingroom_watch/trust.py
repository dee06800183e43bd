"""Which keys are believed to be whose: what was pinned, and what was there when a device was first seen.

The room's state is written by its owner's server, so a key in it proves that readings are consistent with each other
and with that server's word, not where they come from. Pure; may import device_state, model. verify.py asks;
trust_file.py keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from thingroom_watch.device_state import DeviceState
from thingroom_watch.model import Trust


@dataclass
class RoomTrust:
    """Of one room. `pinned`: fingerprints. `first`: the device that first had a name, by name. `changed`: devices
    that took the place of another."""

    pinned: set[str] = field(default_factory=set)
    first: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def of(self, state: DeviceState) -> Trust:
        """How a device's key is known."""
        if state.key is None:
            return Trust.NONE
        if state.fingerprint in self.pinned:
            return Trust.PINNED
        return Trust.CHANGED if state.device in self.changed else Trust.ROOM

    def see(self, state: DeviceState) -> str:
        """Remember a device with a key. Returns the device whose place it takes, or "".

        A name stays with the device that first had it, also when that is called something else later: otherwise a
        server could rename the old one before it brings a new one in.
        """
        if state.key is None:
            return ""
        before = self.first.setdefault(state.name or state.device, state.device)
        if before == state.device:
            before = state.replaces
        if not before or before == state.device or state.device in self.changed:
            return ""
        self.changed.add(state.device)
        return before

    def pin(self, fingerprints: Iterable[str]) -> None:
        self.pinned.update(fingerprints)
