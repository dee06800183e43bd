"""Avia HX711 and a load cell: weight (data sheet of Avia Semiconductor). Two pins of its own. Profile hx711.

It is off between measurements, which also turns the load cell's supply off on most boards.
"""

from thingroom_node.drivers.sensor import SensorError, measured, poll, rounded, signed

# Settling after power-up at 10 samples a second (table 2).
_SETTLING_MS = 400
_BITS = 24
_ENDS = (0x7FFFFF, -0x800000)


class Hx711:
    """`data` is like machine.Pin; `clock` has on(), off() and pulse(), which must not be high for 60 µs.

    `zero`: what it says without a weight; `per_kg`: by how much more it says with a kilogram on it (may be below 0).
    """

    def __init__(self, data, clock, zero=0, per_kg=100_000):
        self._data = data
        self._clock = clock
        self._zero = zero
        self._per_kg = per_kg

    def probe(self):
        """It has to become ready."""
        yield from self._raw()

    def measure(self):
        """The weight in grams' steps."""
        raw = yield from self._raw()
        if raw in _ENDS:
            raise SensorError("implausible", "the HX711 is at its end: check the load cell's wires")
        difference, per_kg = (raw - self._zero) * 1000, self._per_kg
        if per_kg < 0:
            difference, per_kg = -difference, -per_kg
        return [measured("weight", "kg", rounded(difference, per_kg), -3, -(10**9), 10**9)]

    def _raw(self):
        self._clock.off()
        yield _SETTLING_MS
        try:
            yield from poll(lambda: not self._data.value(), 20, 20, "HX711")
            number = 0
            for _ in range(_BITS):
                self._clock.pulse()
                number = number << 1 | self._data.value()
            # The 25th pulse chooses channel A, gain 128; then the data line has to be high again.
            self._clock.pulse()
            if not self._data.value():
                raise SensorError("absent", "no HX711 on these pins: its data line stays low")
        finally:
            self._clock.on()
        return signed(number, _BITS)
