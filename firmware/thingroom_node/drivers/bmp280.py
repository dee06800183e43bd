"""Bosch BMP280: temperature and air pressure (BST-BMP280-DS001). I2C 0x76 or 0x77. Profile bmp280."""

from thingroom_node.drivers.bosch import ADDRESSES, Bosch

# Section 3.8.1: 1.25 + 2.3 + (2.3 × 4 + 0.575) ms.
_CONVERSION_MS = 14


class Bmp280:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._bosch = Bosch(i2c, address, "BMP280", (0x56, 0x57, 0x58), 6, _CONVERSION_MS)

    def probe(self):
        """Find it and read its calibration."""
        yield from self._bosch.reset()

    def measure(self):
        """Temperature and pressure."""
        data = yield from self._bosch.convert()
        return self._bosch.records(data)[1]
