"""What time it is on a board without a battery: a monotonic counter, and an offset learned from the gateway.

The offset comes only from answers that are authenticated and echo a nonce of ours that is still outstanding; half of
the round trip is added. A `host` clock (unix port, on request) takes the operating system's time instead.
May import thingroom_wire. Pure but for the tick function it is given. node.py writes the result into envelopes.
"""

from collections import namedtuple

from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET

# One moment: state, milliseconds since this start, Unix time in milliseconds or None while it is unset.
Moment = namedtuple("Moment", ("state", "uptime", "unix"))

# A slower answer could be off by half of this, so the time in it is not taken.
MAX_ROUND_TRIP_MS = 10_000
# The time is asked for every hour; three missed answers, or about a second at 100 ppm, and it is called drifting.
DRIFTING_AFTER_MS = 3 * 3600_000


class Uptime:
    """Milliseconds since it was made, from a counter that wraps. Ask more often than half a wrap (six days)."""

    def __init__(self, ticks, ticks_diff):
        self._ticks = ticks
        self._ticks_diff = ticks_diff
        self._last = ticks()
        self._total = 0

    def __call__(self):
        now = self._ticks()
        self._total += self._ticks_diff(now, self._last)
        self._last = now
        return self._total


class Clock:
    """The node's time. `uptime` is a callable for milliseconds since the start; `host` one for Unix ms, or None."""

    def __init__(self, uptime, host=None):
        self.uptime = uptime
        self._host = host
        self._offset = None
        self._learned_at = 0

    def now(self):
        """The Moment it is."""
        uptime = self.uptime()
        if self._host is not None:
            return Moment(SYNCHRONISED, uptime, self._host())
        if self._offset is None:
            return Moment(UNSET, uptime, None)
        state = SYNCHRONISED if uptime - self._learned_at <= DRIFTING_AFTER_MS else DRIFTING
        return Moment(state, uptime, uptime + self._offset)

    def learn(self, gateway_time, asked_at):
        """Take `gateway_time` (Unix ms) of an authenticated answer to what was asked at uptime `asked_at`.

        Returns whether it was taken: not when the round trip was too long to tell the time by.
        """
        now = self.uptime()
        round_trip = now - asked_at
        if self._host is not None or not 0 <= round_trip <= MAX_ROUND_TRIP_MS:
            return False
        self._offset = gateway_time + round_trip // 2 - now
        self._learned_at = now
        return True
