"""Bosch BME280: temperature, humidity and air pressure (BST-BME280-DS002). I2C 0x76 or 0x77. Profile bme280."""

import struct

from thingroom_node.drivers.bosch import ADDRESSES, Bosch
from thingroom_node.drivers.sensor import SensorError, measured, rounded, signed

_CALIBRATION_H1, _CALIBRATION_H2, _CTRL_HUM = 0xA1, 0xE1, 0xF2
_ONCE = 0x01
_SKIPPED = 0x8000
# Section 9.1: 1.25 + 2.3 + (2.3 × 4 + 0.575) + (2.3 + 0.575) ms.
_CONVERSION_MS = 17


class Bme280:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._bosch = Bosch(i2c, address, "BME280", (0x60,), 8, _CONVERSION_MS)
        self._h = None

    def probe(self):
        """Find it and read its calibration."""
        yield from self._bosch.reset()
        part = self._bosch.part
        h1 = part.read_byte(_CALIBRATION_H1)
        data = part.read(_CALIBRATION_H2, 7)
        h2, h3 = struct.unpack("<hB", data[:3])
        h4 = signed(data[3] << 4 | data[4] & 0x0F, 12)
        h5 = signed(data[5] << 4 | data[4] >> 4, 12)
        self._h = (h1, h2, h3, h4, h5, signed(data[6], 8))
        # Counts from the next write to ctrl_meas on.
        part.write(_CTRL_HUM, _ONCE)

    def measure(self):
        """Temperature, humidity and pressure."""
        data = yield from self._bosch.convert()
        t_fine, (temperature, pressure) = self._bosch.records(data)
        raw = data[6] << 8 | data[7]
        if raw == _SKIPPED:
            raise SensorError("not_ready", "the BME280 has not measured humidity: was its power cut?")
        humidity = rounded(self.humidity(raw, t_fine) * 100, 1024)
        return [temperature, measured("humidity", "%RH", humidity, -2, 0, 10000), pressure]

    def humidity(self, raw, t_fine):
        """Relative humidity in 1/1024 percent, 0 to 100 % (section 4.2.3)."""
        h1, h2, h3, h4, h5, h6 = self._h
        fine = t_fine - 76800
        scale = (((((fine * h6) >> 10) * (((fine * h3) >> 11) + 32768)) >> 10) + 2097152) * h2 + 8192
        value = (((raw << 14) - (h4 << 20) - h5 * fine + 16384) >> 15) * (scale >> 14)
        value -= ((((value >> 15) * (value >> 15)) >> 7) * h1) >> 4
        return min(max(value, 0), 419430400) >> 12
