"""A sensor that is not there: plausible curves for trying a home out without hardware. Integers only, no floats.

The same seed gives the same values. May import thingroom_wire. The curves fit the profiles `climate` and `soil`.
"""

from thingroom_node.drivers.sensor import Instant
from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record

# One day of the curve, in samples.
PERIOD = 720
PROFILES = ("climate", "soil")


class Simulated(Instant):
    """`profile` is "climate" or "soil", `seed` any integer."""

    def __init__(self, profile, seed):
        if profile not in PROFILES:
            raise ValueError("no simulated sensor for this profile")
        self._read = self._climate if profile == "climate" else self._soil
        self._state = (seed * 2654435761 + 1) & 0xFFFFFFFF
        self._step = self._noise(PERIOD)
        self._warmth = self._noise(30)

    def read(self):
        """The next sample: SenML records taken now."""
        self._step += 1
        return self._read()

    def _climate(self):
        # Tenths of a degree: 19 to 23, a slow swing and some noise; the air is drier when it is warmer.
        swing = _wave(self._step, 20)
        temperature = 195 + self._warmth + swing // 2 + self._noise(3)
        humidity = 52 - swing // 4 + self._noise(2)
        return [
            Record("temperature", "Cel", Decimal(temperature, -1), 0),
            Record("humidity", "%RH", humidity, 0),
        ]

    def _soil(self):
        # Moisture falls for two periods, then somebody waters; the battery sinks a millivolt every 50 samples.
        moisture = 620 - (self._step % (2 * PERIOD)) * 400 // (2 * PERIOD) + self._noise(4)
        battery = max(3300, 4150 - self._step // 50) + self._noise(3)
        return [
            Record("moisture", "%", Decimal(moisture, -1), 0),
            Record("battery", "V", Decimal(battery, -3), 0),
        ]

    def _noise(self, below):
        """A number from 0 to below-1, from a linear congruential generator."""
        self._state = (self._state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._state >> 16) % below


def _wave(step, height):
    """A rounded wave between -height and height with a period of PERIOD: a parabola for each half."""
    half = PERIOD // 2
    phase = step % PERIOD
    sign = 1 if phase < half else -1
    phase %= half
    return sign * 4 * height * phase * (half - phase) // (half * half)
