"""Maxim DS18B20: temperature over 1-Wire (data sheet 19-7487). Profile ds18b20. Several may share a wire.

`wire` is like MicroPython's onewire.OneWire: reset, scan, select_rom, readinto, writebyte, write.
"""

from binascii import hexlify, unhexlify

from thingroom_node.drivers.sensor import SensorError, measured, signed

_FAMILY = 0x28
_CONVERT, _READ_SCRATCHPAD, _WRITE_SCRATCHPAD = 0x44, 0xBE, 0x4E
# Alarms that never ring. They are lost with its power, like the conversion: then it says 85 °C, and these are others.
_MARK = b"\x7d\xc9"
_CONVERSION_MS = {9: 94, 10: 188, 11: 375, 12: 750}
_TRIES = 3


class Ds18b20:
    """`rom`: its 64-bit number as 16 hex digits, needed where several share the wire. `bits`: 9 to 12."""

    def __init__(self, wire, rom="", bits=12):
        self._wire = wire
        self._wanted = rom
        self._bits = bits
        self._rom = None
        self._scratchpad = bytearray(9)

    def probe(self):
        """Find it on the wire, set its resolution."""
        self._rom = self._find()
        self._select()
        self._command(_WRITE_SCRATCHPAD)
        self._call(self._wire.write, _MARK + bytes(((self._bits - 9) << 5 | 0x1F,)))
        self._read()
        self._check_mark("does not keep its settings: check wiring")
        return
        yield

    def measure(self):
        """Convert, wait, read. Exact: sixteenths of a degree."""
        self._select()
        self._command(_CONVERT)
        yield _CONVERSION_MS[self._bits]
        self._read()
        self._check_mark("lost its power while it measured")
        # Below 12 bits the lowest ones mean nothing.
        steps = signed(self._scratchpad[1] << 8 | self._scratchpad[0], 16) >> (12 - self._bits)
        digits = self._bits - 8
        return [measured("temperature", "Cel", steps * 5**digits, -digits, -55 * 10**digits, 125 * 10**digits)]

    def _find(self):
        found = [bytes(rom) for rom in self._call(self._wire.scan) if rom[0] == _FAMILY and crc8(rom) == 0]
        names = ", ".join([hexlify(rom).decode() for rom in found])
        if not found:
            raise SensorError("absent", "no DS18B20 on this wire: check wiring, pull-up (4.7 kΩ), power")
        if self._wanted:
            rom = unhexlify(self._wanted)
            if rom not in found:
                raise SensorError("absent", "no DS18B20 {} on this wire; found {}".format(self._wanted, names))
            return rom
        if len(found) > 1:
            raise SensorError("absent", "{} DS18B20 on this wire, say which by `rom`: {}".format(len(found), names))
        return found[0]

    def _select(self):
        if not self._call(self._wire.reset):
            raise SensorError("no_answer", "the DS18B20 does not answer")
        self._call(self._wire.select_rom, self._rom)

    def _command(self, number):
        self._call(self._wire.writebyte, number)

    def _read(self):
        for _ in range(_TRIES):
            self._select()
            self._command(_READ_SCRATCHPAD)
            self._call(self._wire.readinto, self._scratchpad)
            # All zeros would have a right checksum: a wire that is held low.
            if crc8(self._scratchpad) == 0 and any(self._scratchpad):
                return
        raise SensorError("checksum", "the DS18B20 sends wrong checksums: shorter wire, stronger pull-up?")

    def _check_mark(self, what):
        if self._scratchpad[2:4] != _MARK or self._scratchpad[4] >> 5 & 3 != self._bits - 9:
            raise SensorError("not_ready", "the DS18B20 " + what)

    def _call(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError:
            raise SensorError("no_answer", "the DS18B20 does not answer")


def crc8(data):
    """Dallas' CRC-8 (x**8 + x**5 + x**4 + 1): 0 over data that its checksum follows."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc
