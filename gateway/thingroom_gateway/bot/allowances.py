"""How much one person may ask at once.

Pure but for the memory of who asked; imports the standard library only. worker.py asks before it answers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# One person may say so much at once, and then one thing in so many seconds.
BURST: Final = 12.0
SECONDS_EACH: Final = 2.0
PERSONS: Final = 1000


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float
    told: bool = False


class Allowances:
    """Remembers the PERSONS who asked last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._of: OrderedDict[str, _Allowance] = OrderedDict()

    def allow(self, person: str) -> bool:
        """Whether `person` may be answered once more just now."""
        now = self._monotonic()
        allowance = self._of.pop(person, None) or _Allowance(BURST, now)
        allowance.left = min(BURST, allowance.left + (now - allowance.at) / SECONDS_EACH)
        allowance.at = now
        self._of[person] = allowance
        if len(self._of) > PERSONS:
            self._of.popitem(last=False)
        if allowance.left < 1.0:
            return False
        allowance.left -= 1.0
        allowance.told = False
        return True

    def tell_once(self, person: str) -> bool:
        """Whether `person`, who was not allowed, is to be told so; the next time not, until something was allowed."""
        allowance = self._of[person]
        told, allowance.told = allowance.told, True
        return not told
