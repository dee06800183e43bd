"""What time it is on a board without a battery: a monotonic counter, and an offset learned from the gateway.

The offset comes only from answers that are authenticated and echo a nonce of ours that is still outstanding; half of
the round trip is added. Where those stay away, NTP may fill in: unsigned, so it is good enough to date readings, but it
moves a time that the gateway gave no further than a crystal may have drifted, and `vouched` knows nothing of it. How
fast the counter really runs is measured from one learned time to the next. A `host` clock (unix port, on request) takes
the operating system's time instead.
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
# NTP is asked as often where it is what the clock goes by.
HINT_EVERY_MS = 3600_000
# No crystal is worse, and no answer less exact.
MAX_DRIFT_PPM = 500
HINT_TOLERANCE_MS = 2_000
# Over less than this, round trips say more than the crystal does.
DRIFT_SPAN_MS = 1800_000


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
        # The time is `uptime + offset`, right at uptime `learned_at`, and the same for what the gateway alone said.
        self._offset = None
        self._learned_at = 0
        self._vouched_offset = None
        self._vouched_at = 0
        self.drift_ppm = 0

    def now(self):
        """The Moment it is."""
        return self._moment(self._offset, self._learned_at)

    def vouched(self):
        """The Moment it is by authenticated answers alone: what decides whether a command has expired."""
        return self._moment(self._vouched_offset, self._vouched_at)

    def _moment(self, offset, learned_at):
        uptime = self.uptime()
        if self._host is not None:
            return Moment(SYNCHRONISED, uptime, self._host())
        if offset is None:
            return Moment(UNSET, uptime, None)
        age = uptime - learned_at
        state = SYNCHRONISED if age <= DRIFTING_AFTER_MS else DRIFTING
        return Moment(state, uptime, uptime + offset + self._drifted(age))

    def _drifted(self, age):
        return age * self.drift_ppm // 1_000_000

    def learn(self, gateway_time, asked_at):
        """Take `gateway_time` (Unix ms) of an authenticated answer to what was asked at uptime `asked_at`.

        Returns whether it was taken: not when the round trip was too long to tell the time by.
        """
        now = self.uptime()
        round_trip = now - asked_at
        if self._host is not None or not 0 <= round_trip <= MAX_ROUND_TRIP_MS:
            return False
        offset = gateway_time + round_trip // 2 - now
        self._measure_drift(offset - self._vouched_offset if self._vouched_offset is not None else 0, now)
        self._offset = self._vouched_offset = offset
        self._learned_at = self._vouched_at = now
        return True

    def _measure_drift(self, difference, now):
        span = now - self._vouched_at
        if self._vouched_offset is None or span < DRIFT_SPAN_MS:
            return
        ppm = difference * 1_000_000 // span
        if -MAX_DRIFT_PPM <= ppm <= MAX_DRIFT_PPM:
            self.drift_ppm = (self.drift_ppm + ppm) // 2 if self.drift_ppm else ppm

    def wants_hint(self):
        """Whether it is time to ask NTP: the gateway has not told the time, or not lately."""
        if self._host is not None:
            return False
        age = self.uptime() - self._learned_at
        is_hinted = self._learned_at != self._vouched_at or self._vouched_offset is None
        return self._offset is None or age > (HINT_EVERY_MS if is_hinted else DRIFTING_AFTER_MS)

    def hint(self, time, asked_at):
        """Take `time` (Unix ms) of an NTP server asked at uptime `asked_at`. Returns whether it was taken."""
        now = self.uptime()
        round_trip = now - asked_at
        if not self.wants_hint() or not 0 <= round_trip <= MAX_ROUND_TRIP_MS:
            return False
        offset = time + round_trip // 2 - now
        if self._vouched_offset is not None:
            age = now - self._vouched_at
            tolerance = HINT_TOLERANCE_MS + age * MAX_DRIFT_PPM // 1_000_000
            if abs(offset - self._vouched_offset) > tolerance:
                return False
        self._offset = offset
        self._learned_at = now
        return True
