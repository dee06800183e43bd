"""What one address may ask of the CoAP door: a rate, so many requests at a time, and a share for those we do not know.

UDP lets anybody write any sender's address. So what an address costs us is bounded whoever it is, and addresses that
have never sent something signed share one allowance: a flood of them leaves the devices' own untouched. Pure but for
the clock that is handed in. links/coap.py asks here before aiocoap spends anything on a message.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

# Addresses that are remembered at most, of each kind: strangers, and those that have sent something signed.
MAX_SOURCES: Final = 4096
# What all strangers together may send per second, as a multiple of what one address may.
STRANGERS: Final = 4
# Requests of one address that wait for a commit at most.
MAX_WAITING: Final = 64


@dataclass(slots=True)
class _Bucket:
    """A token bucket: `level` at the time `at` (seconds, monotonic)."""

    level: float
    at: float


class Sources:
    """Allowances by source. `rate` is per second, `burst` at once; sources within `unlimited` have no rate."""

    def __init__(self, rate: float, burst: int, unlimited: Sequence[Network], clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._unlimited = unlimited
        self._clock = clock
        self._strangers: OrderedDict[str, _Bucket] = OrderedDict()
        self._known: OrderedDict[str, _Bucket] = OrderedDict()
        self._together = _Bucket(burst * STRANGERS, clock())
        self._free: OrderedDict[str, bool] = OrderedDict()
        self._waiting: Counter[str] = Counter()

    def change(self, rate: float, burst: int, unlimited: Sequence[Network]) -> None:
        """Other allowances from now on."""
        self._rate, self._burst, self._unlimited = rate, burst, unlimited
        self._free.clear()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def admit(self, source: str) -> bool:
        """Whether one more message of `source` is looked at."""
        if self.is_unlimited(source):
            return True
        now = self._clock()
        bucket = self._known.get(source)
        if bucket is not None:
            self._known.move_to_end(source)
            return self._take(bucket, now, self._rate, self._burst)
        bucket = self._strangers.get(source)
        if bucket is None:
            bucket = self._strangers[source] = _Bucket(self._burst, now)
            if len(self._strangers) > MAX_SOURCES:
                self._strangers.popitem(last=False)
        self._strangers.move_to_end(source)
        return self._take(bucket, now, self._rate, self._burst) and self._take(
            self._together, now, self._rate * STRANGERS, self._burst * STRANGERS
        )

    def trust(self, source: str) -> None:
        """`source` has sent something that a device signed, and was there to hear the answer to it or will be."""
        bucket = self._strangers.pop(source, None)
        if bucket is not None:
            self._known[source] = bucket
            if len(self._known) > MAX_SOURCES:
                self._known.popitem(last=False)

    def is_known(self, source: str) -> bool:
        """Whether a device has spoken from there, or it needs no proof."""
        return source in self._known or self.is_unlimited(source)

    def is_unlimited(self, source: str) -> bool:
        found = self._free.get(source)
        if found is None:
            address = ip_address(source)
            found = self._free[source] = any(address in network for network in self._unlimited)
            if len(self._free) > MAX_SOURCES:
                self._free.popitem(last=False)
        return found

    def enter(self, source: str) -> bool:
        """A request of `source` begins to wait; False if too many of its wait already. Else `leave` when it is over."""
        if self._waiting[source] >= MAX_WAITING and not self.is_unlimited(source):
            return False
        self._waiting[source] += 1
        return True

    def leave(self, source: str) -> None:
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]

    @staticmethod
    def _take(bucket: _Bucket, now: float, rate: float, burst: float) -> bool:
        bucket.level = min(burst, bucket.level + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True


def source_of(host: str) -> str:
    """The source that an address counts as: itself, or its /64, which one subscriber of IPv6 has whole."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)


def is_within(source: str, networks: Sequence[Network]) -> bool:
    """Whether a source is in one of the networks."""
    address = ip_address(source)
    return any(address in network for network in networks)
