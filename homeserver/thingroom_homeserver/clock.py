"""The time, as a collaborator that is handed in, so that tests can hold it still.

May import the standard library only.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the homeserver asks of a clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch (the unit of `origin_server_ts`)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back: for expiry and rate limits."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
