"""Sensirion SHT40, SHT41, SHT45: temperature and humidity (data sheet 6.5). I2C 0x44 to 0x46. Profile sht4x."""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensirion import words
from thingroom_node.drivers.sensor import measured, rounded

ADDRESSES = (0x44, 0x45, 0x46)
_RESET, _SERIAL = b"\x94", b"\x89"
# High precision: 8.3 ms at most (table 4).
_PRECISE, _CONVERSION_MS = b"\xfd", 9


class Sht4x:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._part = I2cPart(i2c, address, "SHT4x")

    def probe(self):
        """Find it: it has to tell its serial number with a right checksum."""
        self._part.forget()
        self._part.send(_RESET)
        yield 1
        self._part.send(_SERIAL)
        yield 1
        words(self._part, 2)

    def measure(self):
        """Temperature and humidity; the formula may pass 0 and 100 %, which is cut off (section 4.6)."""
        self._part.send(_PRECISE)
        yield _CONVERSION_MS
        temperature, humidity = words(self._part, 2)
        humidity = rounded(12500 * humidity, 65535) - 600
        return [
            measured("temperature", "Cel", rounded(17500 * temperature, 65535) - 4500, -2, -4500, 13000),
            measured("humidity", "%RH", min(max(humidity, 0), 10000), -2, 0, 10000),
        ]
