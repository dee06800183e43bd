"""A pulse counter at a water meter or an electricity meter. Profiles water_meter, energy_meter.

`counter.read()` gives (pulses since the start, uptime of the last in ms); the board counts them (see ../hardware.py).
`memory` has `load()` and `save(number)`: the count goes on after a reset.
"""

from thingroom_node.drivers.sensor import Instant, measured, rounded

# Flash lives longer when not every pulse is written; so many minutes' pulses are what a power cut costs.
_SAVE_EVERY_MS = 15 * 60_000
# Nothing for so long is standstill.
_STANDSTILL_MS = 15 * 60_000


class Pulses(Instant):
    """`uptime()` in ms. `per_unit`: pulses a cubic metre, or a kilowatt-hour."""

    def __init__(self, counter, memory, uptime, per_unit=1000):
        self._counter = counter
        self._memory = memory
        self._uptime = uptime
        self._per_unit = per_unit
        self._before = memory.load()
        self._saved = self._before
        self._saved_at = uptime()
        self._last = None
        # Pulses, and the milliseconds they took.
        self._rate = (0, 1)

    def read(self):
        """How many there were, what they amount to, and how fast they come."""
        now = self._uptime()
        count, last_at = self._counter.read()
        total = self._before + count
        self._learn_rate(count, last_at, now)
        if total != self._saved and now - self._saved_at >= _SAVE_EVERY_MS:
            self._memory.save(total)
            self._saved, self._saved_at = total, now
        return [measured("pulses", "count", total, 0, 0, 1 << 53)] + self._records(total)

    def _learn_rate(self, count, last_at, now):
        if count and self._last is None:
            self._last = (count, last_at)
        if self._last is None:
            return
        pulses, taken = count - self._last[0], last_at - self._last[1]
        if pulses and taken > 0:
            self._rate = (pulses, taken)
            self._last = (count, last_at)
            return
        silent = now - last_at
        if silent >= _STANDSTILL_MS:
            self._rate = (0, 1)
        elif self._rate[0] * silent > self._rate[1]:
            # Slower than before: at most one pulse in what has gone by.
            self._rate = (1, silent)

    def _per_second(self, scale):
        pulses, taken = self._rate
        return rounded(pulses * scale * 1000, taken * self._per_unit)


class WaterMeter(Pulses):
    """Cubic metres, and litres a second."""

    def _records(self, total):
        return [
            measured("volume", "m3", rounded(total * 10_000, self._per_unit), -4, 0, 1 << 53),
            measured("flow", "l/s", self._per_second(1000 * 10_000), -4, 0, 1 << 53),
        ]


class EnergyMeter(Pulses):
    """Kilowatt-hours, and watts."""

    def _records(self, total):
        return [
            measured("energy", "kWh", rounded(total * 10_000, self._per_unit), -4, 0, 1 << 53),
            measured("power", "W", self._per_second(3_600_000), 0, 0, 1 << 53),
        ]
