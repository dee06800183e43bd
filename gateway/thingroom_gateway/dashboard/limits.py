"""How often somebody may try: a bucket of tries for each key, that fills again with time.

Pure but for the clock it is given; imports the standard library only. pages_sign_in.py counts tries to sign in.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_KEYS: Final = 4096


class Tries:
    """At most `burst` tries at once, and one more every `seconds`. Keys that were not used longest are forgotten."""

    def __init__(self, burst: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self._burst = float(burst)
        self._seconds = seconds
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Whether one more try is allowed; it is counted."""
        now = self._monotonic()
        left, at = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - at) / self._seconds)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        while len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return allowed

    def give_back(self, key: str) -> None:
        """The try was a good one and does not count."""
        left, at = self._left.get(key, (self._burst, 0.0))
        if key in self._left:
            self._left[key] = (min(self._burst, left + 1), at)


def network_of(address: str) -> str:
    """What stands for one visitor: an IPv4 address, or the /64 that an IPv6 address is in."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
