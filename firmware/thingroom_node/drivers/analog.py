"""What analogue pins measure: a voltage, the moisture of soil, a battery. Profiles adc, soil, battery.

`pin` has `millivolts()`; the board knows its converter (see ../hardware.py). The median of nine is taken.
"""

from thingroom_node.drivers.sensor import Instant, measured, rounded

_SAMPLES = 9
# Open-circuit voltages of a cell in mV, and the percent that are left, falling.
CURVES = {
    "lipo": (
        (4200, 100), (4060, 90), (3980, 80), (3920, 70), (3870, 60), (3820, 50),
        (3790, 40), (3770, 30), (3740, 20), (3680, 10), (3450, 5), (3000, 0),
    ),
    "lifepo4": ((3400, 100), (3330, 90), (3300, 70), (3270, 40), (3250, 30), (3220, 20), (3000, 9), (2500, 0)),
    "alkaline": ((1580, 100), (1400, 80), (1300, 60), (1240, 40), (1160, 20), (1060, 10), (900, 0)),
}  # fmt: skip


class Voltage(Instant):
    """`divider`: the two resistors in front of the pin, (towards the voltage, towards ground), in the same unit."""

    def __init__(self, pin, divider=(0, 1)):
        self._pin = pin
        self._divider = divider

    def read(self):
        """The voltage in front of the divider."""
        return [measured("voltage", "V", self.millivolts(), -3, 0, 1_000_000)]

    def millivolts(self):
        """The same as a number."""
        samples = sorted([self._pin.millivolts() for _ in range(_SAMPLES)])
        above, below = self._divider
        return rounded(samples[_SAMPLES // 2] * (above + below), below)


class Soil(Instant):
    """A capacitive probe: `dry` and `wet` are its millivolts in dry air and in water; dry is usually more."""

    def __init__(self, pin, dry=2800, wet=1200):
        self._voltage = Voltage(pin)
        self._dry = dry
        self._wet = wet

    def read(self):
        """Moisture from 0 (dry) to 100 % (water), in tenths."""
        moved, span = self._voltage.millivolts() - self._dry, self._wet - self._dry
        if span < 0:
            moved, span = -moved, -span
        return [measured("moisture", "%", min(max(rounded(moved * 1000, span), 0), 1000), -1, 0, 1000)]


class Battery(Instant):
    """`cells` of the `chemistry` lipo, lifepo4 or alkaline in series, behind a divider as of Voltage."""

    def __init__(self, pin, divider=(1, 1), chemistry="lipo", cells=1):
        self._voltage = Voltage(pin, divider)
        self._curve = CURVES[chemistry]
        self._cells = cells

    def read(self):
        """What is left, and the voltage."""
        millivolts = self._voltage.millivolts()
        level = percent_left(self._curve, millivolts // self._cells)
        return [
            measured("battery_level", "%EL", level, 0, 0, 100),
            measured("battery_voltage", "V", millivolts, -3, 0, 1_000_000),
        ]


def percent_left(curve, millivolts):
    """Percent on a falling `curve` of (millivolts, percent), between its points in a straight line."""
    above, most = curve[0]
    if millivolts >= above:
        return most
    for below, least in curve[1:]:
        if millivolts >= below:
            return least + rounded((millivolts - below) * (most - least), above - below)
        above, most = below, least
    return least
