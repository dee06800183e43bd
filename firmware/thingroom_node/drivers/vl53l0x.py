"""ST VL53L0X: distance by the time of flight of light (data sheet DocID029104). I2C 0x29. Profile vl53l0x.

The data sheet leaves the registers to ST's programming interface (STSW-IMG005); the sequence here is what that does for
one ranging of 33 ms. Registers of its page 1 are reached after 0x01 into 0xFF.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import SensorError, measured, poll

ADDRESSES = (0x29,)
_START, _SEQUENCE, _GPIO_CONFIG, _CLEAR, _STATUS, _RESULT = 0x00, 0x01, 0x0A, 0x0B, 0x13, 0x14
_RATE_LIMIT, _MSRC_CONTROL, _FINAL_TIMEOUT, _GPIO_MUX, _SUPPLY = 0x44, 0x60, 0x71, 0x84, 0x89
_SPAD_MAP, _MODEL = 0xB0, 0xC0
_VALID, _NOTHING_SEEN_MM = 11, 8190
_RANGING_MS = 34
# ST's default tuning: registers and values.
_TUNING = (
    b"\xff\x01\x00\x00\xff\x00\x09\x00\x10\x00\x11\x00\x24\x01\x25\xff\x75\x00\xff\x01\x4e\x2c\x48\x00\x30\x20\xff\x00"
    b"\x30\x09\x54\x00\x31\x04\x32\x03\x40\x83\x46\x25\x60\x00\x27\x00\x50\x06\x51\x00\x52\x96\x56\x08\x57\x30\x61\x00"
    b"\x62\x00\x64\x00\x65\x00\x66\xa0\xff\x01\x22\x32\x47\x14\x49\xff\x4a\x00\xff\x00\x7a\x0a\x7b\x00\x78\x21\xff\x01"
    b"\x23\x34\x42\x00\x44\xff\x45\x26\x46\x05\x40\x40\x0e\x06\x20\x1a\x43\x40\xff\x00\x34\x03\x35\x44\xff\x01\x31\x04"
    b"\x4b\x09\x4c\x05\x4d\x04\xff\x00\x44\x00\x45\x20\x47\x08\x48\x28\x67\x00\x70\x04\x71\x01\x72\xfe\x76\x00\x77\x00"
    b"\xff\x01\x0d\x01\xff\x00\x80\x01\x01\xf8\xff\x01\x8e\x01\x00\x01\xff\x00\x80\x00"
)
# The final range's time-out that keeps a ranging within 33 ms after the two checks it needs not are left out:
# 148 × 2**2 + 1 macro periods.
_FINAL_TIMEOUT_MACRO = (0x02, 0x94)


class Vl53l0x:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._part = I2cPart(i2c, address, "VL53L0X")
        self._stop = 0

    def probe(self):
        """Find it, load its tuning, choose the reference diodes it was made with, calibrate."""
        part = self._part
        part.forget()
        part.identify(_MODEL, (0xEE,), {0xEA: "VL53L1X", 0xB4: "VL6180X"})
        part.write(_SUPPLY, part.read_byte(_SUPPLY) | 0x01)
        self._write(b"\x88\x00\x80\x01\xff\x01\x00\x00")
        self._stop = part.read_byte(0x91)
        self._write(b"\x00\x01\xff\x00\x80\x00")
        part.write(_MSRC_CONTROL, part.read_byte(_MSRC_CONTROL) | 0x12)
        # 0.25 million counts a second, in 1/128.
        part.write(_RATE_LIMIT, 0, 32)
        part.write(_SEQUENCE, 0xFF)
        yield from self._choose_reference_diodes()
        self._write(_TUNING)
        part.write(_GPIO_CONFIG, 0x04)
        part.write(_GPIO_MUX, part.read_byte(_GPIO_MUX) & ~0x10 & 0xFF)
        part.write(_CLEAR, 0x01)
        part.write(_SEQUENCE, 0xE8)
        part.write(_FINAL_TIMEOUT, *_FINAL_TIMEOUT_MACRO)
        yield from self._calibrate(0x01, 0x40)
        yield from self._calibrate(0x02, 0x00)
        part.write(_SEQUENCE, 0xE8)

    def measure(self):
        """The distance; nothing where it sees nothing."""
        part = self._part
        self._write(b"\x80\x01\xff\x01\x00\x00")
        part.write(0x91, self._stop)
        self._write(b"\x00\x01\xff\x00\x80\x00\x00\x01")
        yield _RANGING_MS
        yield from poll(lambda: part.read_byte(_STATUS) & 0x07, 5, 40, part.name)
        data = part.read(_RESULT, 12)
        part.write(_CLEAR, 0x01)
        status = data[0] >> 3 & 0x0F
        millimetres = data[10] << 8 | data[11]
        if 1 <= status <= 3:
            raise SensorError("damaged", "the VL53L0X says that its laser fails")
        if status != _VALID or millimetres >= _NOTHING_SEEN_MM:
            return []
        return [measured("distance", "m", millimetres, -3, 0, _NOTHING_SEEN_MM)]

    def _write(self, pairs):
        for place in range(0, len(pairs), 2):
            self._part.write(pairs[place], pairs[place + 1])

    def _choose_reference_diodes(self):
        """How many, and of which kind, is in its memory; the first that are good are turned on."""
        part = self._part
        self._write(b"\x80\x01\xff\x01\x00\x00\xff\x06")
        part.write(0x83, part.read_byte(0x83) | 0x04)
        self._write(b"\xff\x07\x81\x01\x80\x01\x94\x6b\x83\x00")
        yield from poll(lambda: part.read_byte(0x83), 2, 50, part.name)
        part.write(0x83, 0x01)
        found = part.read_byte(0x92)
        self._write(b"\x81\x00\xff\x06")
        part.write(0x83, part.read_byte(0x83) & ~0x04 & 0xFF)
        self._write(b"\xff\x01\x00\x01\xff\x00\x80\x00")
        good = part.read(_SPAD_MAP, 6)
        self._write(b"\xff\x01\x4f\x00\x4e\x2c\xff\x00\xb6\xb4")
        part.write(_SPAD_MAP, *reference_diodes(good, found & 0x7F, bool(found & 0x80)))

    def _calibrate(self, sequence, start):
        part = self._part
        part.write(_SEQUENCE, sequence)
        part.write(_START, 0x01 | start)
        yield from poll(lambda: part.read_byte(_STATUS) & 0x07, 5, 40, part.name)
        part.write(_CLEAR, 0x01)
        part.write(_START, 0x00)


def reference_diodes(good, count, has_aperture):
    """The map (6 bytes) with the first `count` bits of the map `good`, from bit 12 on where they have an aperture."""
    chosen = bytearray(6)
    for index in range(12 if has_aperture else 0, 48):
        if count and good[index >> 3] & 1 << (index & 7):
            chosen[index >> 3] |= 1 << (index & 7)
            count -= 1
    return chosen
