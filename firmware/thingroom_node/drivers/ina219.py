"""TI INA219: voltage, current, power (SBOS448G). I2C 0x40 to 0x4F. Profile ina219.

Current is worked out here from the shunt's voltage: its calibration register is gone after every dip of its supply, and
then it says 0 A.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import SensorError, measured, poll, rounded, signed

ADDRESSES = (0x40, 0x41, 0x44, 0x45)
_CONFIGURATION, _SHUNT, _BUS = 0, 1, 2
_RESET_HIGH, _AFTER_RESET = 0x80, b"\x39\x9f"
# 32 V, 320 mV at the shunt, both the mean of 8 conversions, once: 2 × 4.26 ms.
_ONCE = (0x3D, 0xDB)
_CONVERSION_MS = 9
_READY = 0x02


class Ina219:
    """`shunt` in milliohms."""

    def __init__(self, i2c, address=ADDRESSES[0], shunt=100):
        self._part = I2cPart(i2c, address, "INA219")
        self._shunt = shunt

    def probe(self):
        """Find it: after a reset its configuration is 0x399F."""
        self._part.forget()
        self._part.write(_CONFIGURATION, _RESET_HIGH, 0)
        yield 1
        if self._part.read(_CONFIGURATION, 2) != _AFTER_RESET:
            raise SensorError("wrong_part", "what answers at 0x{:02x} is no INA219".format(self._part.address))

    def measure(self):
        """Voltage at the load, current (below 0: the other way) and power."""
        self._part.write(_CONFIGURATION, *_ONCE)
        yield _CONVERSION_MS
        yield from poll(lambda: self._bus() & _READY, 5, 10, self._part.name)
        millivolts = (self._bus() >> 3) * 4
        data = self._part.read(_SHUNT, 2)
        tens_of_microvolts = signed(data[0] << 8 | data[1], 16)
        if not -32000 <= tens_of_microvolts <= 32000:
            raise SensorError("implausible", "the INA219's shunt has more than 320 mV: a smaller one is needed")
        # In tenths of a milliampere.
        current = rounded(tens_of_microvolts * 100, self._shunt)
        return [
            measured("voltage", "V", millivolts, -3, 0, 32_764),
            measured("current", "A", current, -4, -(10**9), 10**9),
            measured("power", "W", rounded(millivolts * current, 10_000), -3, -(10**10), 10**10),
        ]

    def _bus(self):
        data = self._part.read(_BUS, 2)
        return data[0] << 8 | data[1]
