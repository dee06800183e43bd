"""Numbers used once: each is good for one registration with the shared secret, for a minute.

May import the clock.
"""

from __future__ import annotations

import secrets

from thingroom_homeserver.clock import Clock

GOOD_FOR_SECONDS = 60.0
MAX_NONCES = 1000


class Nonces:
    """The nonces that are out. The oldest goes when there are too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made: dict[str, float] = {}

    def make(self) -> str:
        """A new one."""
        if len(self._made) >= MAX_NONCES:
            del self._made[next(iter(self._made))]
        nonce = secrets.token_hex(32)
        self._made[nonce] = self._clock.monotonic()
        return nonce

    def use(self, nonce: str) -> bool:
        """Whether the nonce is good; it is not any more."""
        made = self._made.pop(nonce, None)
        return made is not None and self._clock.monotonic() - made < GOOD_FOR_SECONDS
