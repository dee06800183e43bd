"""What is found in a room: judged envelopes with their samples, gaps, news about keys. Frozen values; imports nothing.

verify.py makes them of events; rows.py makes them flat for files; words.py says them to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

Value = Decimal | str | bool | bytes


class Verdict(StrEnum):
    """What a reading is worth. The values stand in files and databases."""

    VALID = "valid"
    """Signed by the device's key, which the room's state calls active at that place, and not seen before."""
    ATTESTED = "gateway-attested"
    """Of a device that signs nothing: its gateway says so, through the account that it gave the device."""
    FORGED = "forged"
    """Nothing that can be believed; `reason` says why."""
    REVOKED = "revoked-key"
    """Signed by the device's key after the owner had revoked it."""
    REPLAYED = "replayed"
    """The device's number was there before."""


class Trust(StrEnum):
    """How it is known that a key is the device's."""

    PINNED = "pinned"
    """Its fingerprint was given by whoever watches, who had it from the owner by another way than the room."""
    ROOM = "room"
    """It is in the room's state, and has been the device's since this watcher first saw the device."""
    CHANGED = "changed"
    """It is in the room's state, and another key was the device's before."""
    NONE = "none"
    """No key: of a device that signs nothing, or of nothing that could be checked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. `time_ms`: Unix time by the device's clock, None where that was not set.

    Numbers are exact. `unit`: of the SenML registries, None where there is none.
    """

    quantity: str
    unit: str | None
    value: Value
    time_ms: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """One envelope of an event, or what a gateway attests for one number. `samples` are the device's, or none.

    `device`: key id in hex, empty if there is none to be read. `sequence`: 0 if there is none. `index`: place within
    the event. `reason`: a snake_case word, empty where there is nothing to add. `clock`: synchronised, drifting, unset
    or empty. `base_name`: SenML's, empty
    without samples of a device. `sent_ms`: when the event was sent, as its server says.
    """

    verdict: Verdict
    reason: str
    trust: Trust
    device: str
    name: str
    profile: str
    sequence: int
    clock: str
    base_name: str
    samples: tuple[Sample, ...]
    event_id: str
    index: int
    sender: str
    sent_ms: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a device, `first` to `last`, that were not there when a later one came in event `event_id`.

    `kind` "skipped": the device says that it never used them. "missing": the last of them was sent for certain, and is
    not, or not yet, in this room; of the others nobody knows.
    """

    device: str
    name: str
    kind: str
    first: int
    last: int
    event_id: str
    sent_ms: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class KeyNews:
    """Something about a device's key, in state event `event_id`. With `alarm` set a person should look.

    `kind`: new, changed, unusable, revoked, revived, unsigned. `fingerprint`: the key's COSE Key Thumbprint (RFC 9679,
    SHA-256) in hex, empty without a key. `sentence` is for people.
    """

    kind: str
    alarm: bool
    device: str
    name: str
    fingerprint: str
    sentence: str
    event_id: str
    sent_ms: int


Finding = Judged | Gap | KeyNews
