"""Temperature and air pressure of Bosch's BMP280 and BME280: registers, calibration, compensation in integers.

Formulas and names: BMP280 data sheet BST-BMP280-DS001, sections 3.11.3 and 8.2; the BME280's are the same. May import
i2c_part, sensor. bmp280.py and bme280.py are the drivers.
"""

import struct

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import SensorError, measured, poll

ADDRESSES = (0x76, 0x77)
CHIPS = {0x56: "BMP280", 0x57: "BMP280", 0x58: "BMP280", 0x60: "BME280", 0x61: "BME680", 0x50: "BMP388"}

_CALIBRATION, _ID, _RESET, _STATUS, _CTRL_MEAS, _DATA = 0x88, 0xD0, 0xE0, 0xF3, 0xF4, 0xF7
_RESET_WORD = 0xB6
_IM_UPDATE, _MEASURING = 0x01, 0x08
# Temperature once, pressure four times, forced mode.
_FORCED = 0x01 << 5 | 0x03 << 2 | 0x01
SKIPPED = 0x80000


class Bosch:
    """What both drivers share. `data_length` bytes are the result: 6, or 8 with humidity."""

    def __init__(self, i2c, address, name, identities, data_length, conversion_ms):
        self.part = I2cPart(i2c, address, name)
        self._identities = identities
        self._data_length = data_length
        self._conversion_ms = conversion_ms
        self._t = self._p = None

    def reset(self):
        """Find the part, reset it, read its calibration. A generator, like `probe`."""
        self.part.forget()
        self.part.identify(_ID, self._identities, CHIPS)
        self.part.write(_RESET, _RESET_WORD)
        yield 2
        yield from poll(lambda: not self.part.read_byte(_STATUS) & _IM_UPDATE, 2, 10, self.part.name)
        words = struct.unpack("<HhhHhhhhhhhh", self.part.read(_CALIBRATION, 24))
        if words[0] in (0, 0xFFFF) or words[3] in (0, 0xFFFF):
            raise SensorError("damaged", "the {} has no calibration: it is broken".format(self.part.name))
        self._t, self._p = words[:3], words[3:]

    def convert(self):
        """Measure once; a generator that returns the raw data."""
        self.part.write(_CTRL_MEAS, _FORCED)
        yield self._conversion_ms
        yield from poll(lambda: not self.part.read_byte(_STATUS) & _MEASURING, 5, 10, self.part.name)
        return self.part.read(_DATA, self._data_length)

    def records(self, data):
        """(t_fine, [temperature, pressure]) out of the raw data."""
        raw_pressure = data[0] << 12 | data[1] << 4 | data[2] >> 4
        raw_temperature = data[3] << 12 | data[4] << 4 | data[5] >> 4
        if SKIPPED in (raw_pressure, raw_temperature):
            raise SensorError("not_ready", "the {} has not measured: was its power cut?".format(self.part.name))
        t_fine = self.t_fine(raw_temperature)
        return t_fine, [
            measured("temperature", "Cel", (t_fine * 5 + 128) >> 8, -2, -4000, 8500),
            measured("pressure", "Pa", (self.pressure(raw_pressure, t_fine) * 10 + 128) >> 8, -1, 300_000, 1_100_000),
        ]

    def t_fine(self, raw):
        """Temperature in 1/5120 °C."""
        t1, t2, t3 = self._t
        one = (((raw >> 3) - (t1 << 1)) * t2) >> 11
        two = (((((raw >> 4) - t1) * ((raw >> 4) - t1)) >> 12) * t3) >> 14
        return one + two

    def pressure(self, raw, t_fine):
        """Pressure in 1/256 Pa: the 64-bit formula, as the 32-bit one is some pascal off."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self._p
        one = t_fine - 128000
        two = one * one * p6 + ((one * p5) << 17) + (p4 << 35)
        one = ((one * one * p3) >> 8) + ((one * p2) << 12)
        one = (((1 << 47) + one) * p1) >> 33
        if one <= 0:
            raise SensorError("damaged", "the {} has an impossible calibration".format(self.part.name))
        pressure = (((1048576 - raw) << 31) - two) * 3125 // one
        one = (p9 * (pressure >> 13) * (pressure >> 13)) >> 25
        two = (p8 * pressure) >> 19
        return ((pressure + one + two) >> 8) + (p7 << 4)
