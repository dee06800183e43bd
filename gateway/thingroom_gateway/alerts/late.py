"""What a device measured while it was away: stretches beyond a threshold, to be told once and as past.

Pure; may import msgspec. rules.py keeps a `Late` in a rule's state from the first late reading until no more come.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

# So long after the last late reading nothing more is expected.
SETTLED_MS: Final = 60_000
# So many stretches are told one by one; of the others only how many there were.
STRETCHES_TOLD: Final = 6


class Stretch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Beyond the threshold from `since` to `until` (Unix ms of readings), at `worst`.

    `cut`: `until` is the last reading that there is, and nobody knows how it went on.
    """

    since: int
    until: int
    worst: Decimal
    cut: bool = False


class Late(msgspec.Struct, frozen=True, omit_defaults=True):
    """Late readings so far: the newest of them is of `last` and came at `received` (Unix ms).

    `since` and `worst` are of the stretch that is not over yet (0: there is none), `more` counts stretches beyond
    STRETCHES_TOLD.
    """

    received: int
    last: int = 0
    since: int = 0
    worst: Decimal | None = None
    done: tuple[Stretch, ...] = ()
    more: int = 0


Worse = Callable[[Decimal, Decimal], Decimal]


def with_reading(
    late: Late | None, ts: int, received: int, value: Decimal, beyond: bool, back: bool, worse: Worse
) -> Late:
    """`late` with a late reading. What is older than the newest late one changes nothing."""
    late = late or Late(received)
    late = msgspec.structs.replace(late, received=max(late.received, received))
    if ts < late.last:
        return late
    late = msgspec.structs.replace(late, last=ts)
    if not late.since:
        return msgspec.structs.replace(late, since=ts, worst=value) if beyond else late
    late = msgspec.structs.replace(late, worst=worse(late.worst if late.worst is not None else value, value))
    return ended(late, ts) if back else late


def ended(late: Late, ts: int, cut: bool = False) -> Late:
    """The stretch that was not over yet is, at `ts`."""
    if not late.since or late.worst is None:
        return late
    stretch = Stretch(late.since, ts, late.worst, cut)
    full = len(late.done) >= STRETCHES_TOLD
    return msgspec.structs.replace(
        late, since=0, worst=None, done=late.done if full else (*late.done, stretch), more=late.more + full
    )


def without_open(late: Late) -> Late:
    """The stretch that was not over yet goes on in the present, and is told as that."""
    return msgspec.structs.replace(late, since=0, worst=None)
