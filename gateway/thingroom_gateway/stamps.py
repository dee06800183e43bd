"""When a reading was taken, as far as it can be known: a moment, how far to trust it, and between which times it lies.

Pure; may import thingroom_wire. examination.py asks for each envelope; the clock's states are those of
docs/wire_format.md, and AHEAD, which is the gateway's own word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET

# A device says that its clock is right, and it is later there than here.
AHEAD: Final = 3
# So much later may be our own clock's doing.
AHEAD_MS: Final = 60_000
# How far a clock may have gone wrong since the boot: 100 parts in a million, which is a poor crystal, and a second.
DRIFT_PARTS: Final = 10_000
DRIFT_LEAST_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Boot:
    """What is known of a boot of a device, in Unix ms; None for what is not.

    `started` is when its uptime was zero, as an envelope with a synchronised clock told; `latest` the latest that this
    can have been, by arrivals; `after` is before it for certain: the start of an earlier boot.
    """

    number: int
    started: int | None = None
    latest: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """`base` (Unix ms) is what the records' times are relative to; `clock` a state; the truth is within the two others.

    Both None where the clock was right; `earliest` alone None where nothing bounds it.
    """

    base: int
    clock: int
    earliest: int | None = None
    latest: int | None = None


def stamp(state: int, stated: int | None, uptime: int, now: int, boot: Boot) -> Stamp:
    """Judge the clock of an envelope: its `state`, the base time that it states (Unix ms) and its uptime (ms).

    Without a clock it counts from the start of the boot where that is known, else from the latest possible.
    """
    if stated is not None and state != UNSET:
        if stated > now + AHEAD_MS:
            return Stamp(stated, AHEAD, boot.after, now)
        if state == SYNCHRONISED:
            return Stamp(stated, SYNCHRONISED)
        slack = drift(uptime)
        return Stamp(stated, DRIFTING, stated - slack, max(stated, min(stated + slack, now)))
    if boot.started is not None:
        base, slack = boot.started + uptime, drift(uptime)
        return Stamp(base, DRIFTING, base - slack, base + slack)
    base = latest_start(uptime, now, boot) + uptime
    return Stamp(base, UNSET, None if boot.after is None else min(boot.after + uptime, base), base)


def latest_start(uptime: int, now: int, boot: Boot) -> int:
    """The latest that `boot` can have begun, now that a word of its uptime has arrived."""
    return now - uptime if boot.latest is None else min(boot.latest, now - uptime)


def drift(uptime: int) -> int:
    """How wrong a clock may be that nobody has corrected for `uptime` (ms)."""
    return uptime // DRIFT_PARTS + DRIFT_LEAST_MS
