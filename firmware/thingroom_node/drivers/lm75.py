"""NXP LM75 (9 bits), TI TMP75 and TMP105 (12 bits): temperature. I2C 0x48 to 0x4F. Profile lm75.

LM75B data sheet section 7.4.3, TMP105 data sheet (SBOS648) section 7.5. The parts have no identity to check.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import measured, signed

ADDRESSES = (0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F)
_TEMPERATURE, _CONFIGURATION = 0, 1
# The first conversion: LM75 300 ms at most; TMP105 with 12 bits 300 ms at most.
_CONVERSION_MS = 300


class Lm75:
    """`bits` are those that count, 9 to 12; they are also what a TMP105 is set to. An LM75 always has 9."""

    def __init__(self, i2c, address=ADDRESSES[0], bits=9):
        self._part = I2cPart(i2c, address, "LM75" if bits == 9 else "TMP105")
        self._bits = bits

    def probe(self):
        """Find it, let it convert all the time."""
        self._part.forget()
        self._part.write(_CONFIGURATION, (self._bits - 9) << 5)
        yield _CONVERSION_MS

    def measure(self):
        """The newest temperature, exact: a bit is worth 0.5 °C (9) to 0.0625 °C (12)."""
        data = self._part.read(_TEMPERATURE, 2)
        steps = signed(data[0] << 8 | data[1], 16) >> (16 - self._bits)
        digits = self._bits - 8
        return [measured("temperature", "Cel", steps * 5**digits, -digits, -55 * 10**digits, 128 * 10**digits)]
        yield


class Tmp105(Lm75):
    """The same with 12 bits."""

    def __init__(self, i2c, address=ADDRESSES[0], bits=12):
        super().__init__(i2c, address, bits)
