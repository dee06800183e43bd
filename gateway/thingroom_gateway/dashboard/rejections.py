"""The newest messages that were rejected: when, at which door, why. In memory; how many there were, counters.py keeps.

May import ingest's values. app.py lets ingest tell it; pages_status.py shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from thingroom_gateway.ingest import Settled
from thingroom_gateway.outcomes import Refused, Rejected

KEPT: Final = 100


class Rejection(NamedTuple):
    """`at` in Unix ms; `kid` is empty where nobody knows whose it was. `transport`, `reason` as in outcomes.py."""

    at: int
    transport: str
    reason: str
    kid: str


class Rejections:
    """Keeps the newest hundred."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._newest: deque[Rejection] = deque(maxlen=KEPT)

    def settled(self, settled: Sequence[Settled]) -> None:
        """Frames were dealt with."""
        for frame, outcome in settled:
            if type(outcome) is Rejected:
                self._newest.append(Rejection(self._now_ms(), frame.transport, outcome.reason, ""))
            elif type(outcome) is Refused:
                self._newest.append(Rejection(self._now_ms(), frame.transport, outcome.reason, outcome.kid.hex()))

    def newest(self) -> list[Rejection]:
        """Newest first."""
        return list(reversed(self._newest))
