"""Token buckets: who asked too often waits, and is told how long.

May import nothing of ours. The frame takes one token per limited request; logins take one per failed guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from thingroom_homeserver.clock import Clock

MAX_BUCKETS = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second` of them."""

    per_second: float
    burst: float


RATES: Mapping[str, Rate] = MappingProxyType(
    {
        "login": Rate(0.5, 20),
        "login_failure_address": Rate(0.1, 10),
        "login_failure_account": Rate(0.05, 20),
        "registration": Rate(0.2, 10),
        "send": Rate(10, 100),
        "create_room": Rate(0.5, 20),
        "join": Rate(1, 30),
        "invite": Rate(1, 50),
        "profile": Rate(1, 20),
        "search": Rate(5, 50),
        "keys": Rate(20, 200),
        "media_upload": Rate(5, 100),
        "media_download": Rate(50, 500),
        "media_thumbnail": Rate(50, 500),
        "media_preview": Rate(1, 30),
        "refresh": Rate(1, 20),
        "login_token": Rate(1 / 60, 3),
        "registration_token": Rate(0.1, 10),
        "mail": Rate(0.02, 5),
        "mail_address": Rate(1 / 300, 3),
        "mail_confirm": Rate(0.2, 10),
        "identity": Rate(0.2, 10),
        "guest": Rate(0.05, 5),
        "single_sign_on": Rate(0.5, 20),
        "openid": Rate(1, 20),
        "to_device": Rate(20, 500),
        "third_party": Rate(1, 30),
        "key_query": Rate(1, 30),
        "server_join": Rate(10, 200),
        "server_invite": Rate(5, 100),
        "server_query": Rate(20, 500),
        "server_media": Rate(20, 500),
        "server_history": Rate(20, 500),
        "server_state": Rate(2, 40),
        "openid_userinfo": Rate(10, 200),
        "elsewhere": Rate(2, 60),
        "invited": Rate(0.2, 30),
        "onbind": Rate(0.2, 10),
        "unknown_server": Rate(10, 200),
    }
)


class RateLimiter:
    """Buckets by (kind, who). Full buckets are forgotten first when there are too many."""

    def __init__(
        self,
        clock: Clock,
        *,
        enabled: bool = True,
        rates: Mapping[str, Rate] = RATES,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self._clock = clock
        self._enabled = enabled
        self._rates = rates
        self._max_buckets = max_buckets
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # (kind, who) -> (tokens, at)

    def take(self, kind: str, who: str) -> float:
        """Take one token. 0.0 when there was one, else the seconds until there will be."""
        if not self._enabled:
            return 0.0
        rate = self._rates[kind]
        now = self._clock.monotonic()
        tokens, at = self._buckets.get((kind, who), (rate.burst, now))
        tokens = min(rate.burst, tokens + (now - at) * rate.per_second)
        if tokens < 1.0:
            self._buckets[kind, who] = (tokens, now)
            return (1.0 - tokens) / rate.per_second
        if len(self._buckets) >= self._max_buckets:
            self._forget(now)
        self._buckets[kind, who] = (tokens - 1.0, now)
        return 0.0

    def give_back(self, kind: str, who: str) -> None:
        """Undo one `take`: the attempt turned out to be a good one."""
        bucket = self._buckets.get((kind, who))
        if bucket is not None:
            self._buckets[kind, who] = (min(self._rates[kind].burst, bucket[0] + 1.0), bucket[1])

    def _forget(self, now: float) -> None:
        """Drop every bucket that has refilled; if that is not enough, the oldest half."""
        self._buckets = {
            key: (tokens, at)
            for key, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self._rates[key[0]].per_second < self._rates[key[0]].burst
        }
        if len(self._buckets) >= self._max_buckets:
            by_age = sorted(self._buckets.items(), key=lambda item: item[1][1])
            self._buckets = dict(by_age[len(by_age) // 2 :])
