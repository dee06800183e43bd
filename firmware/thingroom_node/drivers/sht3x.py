"""Sensirion SHT30, SHT31, SHT35: temperature and humidity (data sheet of March 2022). I2C 0x44, 0x45. Profile sht3x."""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensirion import command, words
from thingroom_node.drivers.sensor import measured, rounded

ADDRESSES = (0x44, 0x45)
_BREAK, _RESET, _STATUS = 0x3093, 0x30A2, 0xF32D
# Single shot, high repeatability, no clock stretching: 15.5 ms at most (table 4).
_SINGLE, _CONVERSION_MS = 0x2400, 16


class Sht3x:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._part = I2cPart(i2c, address, "SHT3x")

    def probe(self):
        """Find it: whatever it was doing, it is told to stop and to reset, and its status has to be right."""
        self._part.forget()
        command(self._part, _BREAK)
        yield 1
        command(self._part, _RESET)
        yield 2
        command(self._part, _STATUS)
        words(self._part, 1)

    def measure(self):
        """Temperature and humidity."""
        command(self._part, _SINGLE)
        yield _CONVERSION_MS
        temperature, humidity = words(self._part, 2)
        return [
            measured("temperature", "Cel", rounded(17500 * temperature, 65535) - 4500, -2, -4500, 13000),
            measured("humidity", "%RH", rounded(10000 * humidity, 65535), -2, 0, 10000),
        ]
