"""Plantower PMS5003: fine dust (data manual V2.3). UART, 9600 baud, 5 V supply, 3.3 V signals. Profile pms5003.

Its fan and laser live for some 8000 hours, so it sleeps between measurements.
"""

from thingroom_node.drivers.sensor import SensorError, measured

BAUD = 9600
_PASSIVE, _READ, _SLEEP, _WAKE = (0xE1, 0), (0xE2, 0), (0xE4, 0), (0xE4, 1)
_FRAME = 32
_POLL_MS, _POLLS = 50, 80
_WAKE_MS = 1000


class Pms5003:
    """`uart` is like machine.UART: any, read, write.

    `warm_up`: seconds until the air in it is the room's; with 0 it never sleeps.
    """

    def __init__(self, uart, warm_up=30):
        self._uart = uart
        self._warm_up_ms = warm_up * 1000

    def probe(self):
        """Wake it, let it speak only when it is asked, and see whether it does."""
        self._command(_WAKE)
        yield _WAKE_MS
        self._command(_PASSIVE)
        yield 100
        yield from self._ask()
        self._rest()

    def measure(self):
        """The three sizes, as of ordinary air, in µg/m³."""
        if self._warm_up_ms:
            self._command(_WAKE)
            yield self._warm_up_ms
            # After waking it speaks unasked again.
            self._command(_PASSIVE)
            yield 100
        try:
            frame = yield from self._ask()
        finally:
            self._rest()
        return [
            measured(name, "ug/m3", frame[place] << 8 | frame[place + 1], 0, 0, 5000)
            for name, place in (("pm1", 10), ("pm25", 12), ("pm10", 14))
        ]

    def _rest(self):
        if self._warm_up_ms:
            self._command(_SLEEP)

    def _command(self, command):
        data = bytes((0x42, 0x4D, command[0], 0, command[1]))
        total = sum(data)
        self._uart.write(data + bytes((total >> 8, total & 0xFF)))

    def _ask(self):
        self._uart.read()
        self._command(_READ)
        heard = b""
        for _ in range(_POLLS):
            yield _POLL_MS
            if self._uart.any():
                heard = (heard + (self._uart.read() or b""))[-4 * _FRAME :]
                frame = find_frame(heard)
                if frame is not None:
                    return frame
        if heard:
            raise SensorError("checksum", "what comes from the PMS5003 is not right: 9600 baud? RX and TX?")
        raise SensorError("absent", "no PMS5003 on this line: check RX and TX, its 5 V, its SET pin")


def find_frame(data):
    """The first frame of 32 bytes with a right sum within `data`, or None."""
    start = data.find(b"\x42\x4d\x00\x1c")
    while 0 <= start <= len(data) - _FRAME:
        frame = data[start : start + _FRAME]
        if sum(frame[:-2]) == frame[-2] << 8 | frame[-1]:
            return frame
        start = data.find(b"\x42\x4d\x00\x1c", start + 1)
    return None
