"""What one device may send: so many readings a second, so many bytes a day; more is put off, not refused.

Pure but for the clock that is handed in. examination.py asks for each envelope; what is put off is not acknowledged, so
the device keeps it, and is told for how long to be quiet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DAY_SECONDS: Final = 86_400
# What a device that was away may make up for at once, in seconds' worth of its readings.
BURST_SECONDS: Final = 600
MIN_PAUSE_MS: Final = 1_000
MAX_PAUSE_MS: Final = 600_000


@dataclass(slots=True)
class _Account:
    """What is left at the time `at` (seconds, monotonic); below zero it is owed."""

    readings: float
    bytes: float
    at: float


class Quotas:
    """Accounts by device row id. A limit of 0 is none. In memory: a restart gives everybody a full account."""

    def __init__(self, readings_per_second: float, bytes_per_day: int, clock: Callable[[], float]) -> None:
        self._rate = readings_per_second
        self._day = bytes_per_day
        self._clock = clock
        self._accounts: dict[int, _Account] = {}

    def change(self, readings_per_second: float, bytes_per_day: int) -> None:
        """Other limits from now on. Where they are others, everybody begins with a full account."""
        if (readings_per_second, bytes_per_day) != (self._rate, self._day):
            self._rate, self._day = readings_per_second, bytes_per_day
            self._accounts.clear()

    def take(self, device: int, readings: int, size: int) -> int:
        """Spend; 0 if there was enough left for it, else nothing is spent and it is how long to wait, in ms."""
        if not self._rate and not self._day:
            return 0
        account = self._account(device)
        wait = 0.0
        if self._rate and account.readings < 1:
            wait = (1 - account.readings) / self._rate
        if self._day and account.bytes < 1:
            wait = max(wait, (1 - account.bytes) * DAY_SECONDS / self._day)
        if wait:
            return min(max(MIN_PAUSE_MS, round(wait * 1000)), MAX_PAUSE_MS)
        account.readings -= readings
        account.bytes -= size
        return 0

    def give_back(self, device: int, readings: int, size: int) -> None:
        """It was a copy of what had come before: it costs nothing."""
        account = self._accounts.get(device)
        if account is not None:
            account.readings += readings
            account.bytes += size

    def _account(self, device: int) -> _Account:
        now = self._clock()
        burst = max(1.0, self._rate * BURST_SECONDS)
        account = self._accounts.get(device)
        if account is None:
            account = self._accounts[device] = _Account(burst, self._day, now)
        elapsed, account.at = now - account.at, now
        account.readings = min(burst, account.readings + elapsed * self._rate)
        account.bytes = min(self._day, account.bytes + elapsed * self._day / DAY_SECONDS)
        return account
