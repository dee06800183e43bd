"""Rohm BH1750FVI: brightness (data sheet of November 2011). I2C 0x23 or 0x5C. Profile bh1750."""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import measured, rounded

ADDRESSES = (0x23, 0x5C)
_POWER_ON, _ONE_TIME_HIGH_RESOLUTION = b"\x01", b"\x20"
# The register of the measuring time: 69 as it comes, 31 at least. 180 ms at most with 69.
_USUAL, _SHORTEST = 69, 31
_USUAL_MS = 180
_SATURATED = 0xFFFF


class Bh1750:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._part = I2cPart(i2c, address, "BH1750")

    def probe(self):
        """Find it; it has no identity to check."""
        self._part.forget()
        self._part.send(_POWER_ON)
        return
        yield

    def measure(self):
        """Brightness; in bright light once more with the shortest measuring time, up to 121,557 lx."""
        time = _USUAL
        raw = yield from self._convert(time)
        if raw == _SATURATED:
            time = _SHORTEST
            raw = yield from self._convert(time)
        # raw / 1.2 × 69 / time, in tenths.
        return [measured("illuminance", "lx", rounded(raw * 575, time), -1, 0, 1_215_570)]

    def _convert(self, time):
        self._part.send(_POWER_ON)
        self._part.send(bytes((0x40 | time >> 5,)))
        self._part.send(bytes((0x60 | time & 0x1F,)))
        self._part.send(_ONE_TIME_HIGH_RESOLUTION)
        yield rounded(_USUAL_MS * time, _USUAL) + 1
        data = self._part.receive(2)
        return data[0] << 8 | data[1]
