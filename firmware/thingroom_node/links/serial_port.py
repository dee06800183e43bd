"""A serial line as a file: the unix port's part of serial.py, with termios, every failure as a LinkError.

What another board's UART must do for serial.py is what `SerialPort` does: `read` waits, `may_write` and `write` never.
"""

import asyncio
import select
import termios

from thingroom_node.links import LinkError
from thingroom_node.links.sockets import reason_of

READ_BYTES = 256
# A line that says it can be written to takes this much at once.
PIECE = 32
_VTIME, _VMIN = 5, 6
_SPEEDS = {9600: "B9600", 57600: "B57600", 115200: "B115200", 230400: "B230400", 460800: "B460800", 921600: "B921600"}


def opener(path, baud):
    """The function that opens the line at `path`."""

    def open_port():
        return SerialPort(path, baud)

    return open_port


class SerialPort:
    """The line at `path`, raw, eight bits, no parity, one stop bit, at `baud`. Raises LinkError."""

    def __init__(self, path, baud=115200):
        self._file = None
        try:
            self._file = open(path, "r+b")
            self._set_up(baud)
        except OSError as error:
            self.close()
            raise LinkError(reason_of(error))
        self._stream = asyncio.StreamReader(self._file)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)

    def _set_up(self, baud):
        number = self._file.fileno()
        termios.setraw(number)
        attributes = termios.tcgetattr(number)
        attributes[4] = attributes[5] = getattr(termios, _SPEEDS[baud])
        # A read gives what is there and never waits; asyncio does the waiting.
        attributes[6][_VMIN] = attributes[6][_VTIME] = 0
        termios.tcsetattr(number, termios.TCSANOW, attributes)

    async def read(self):
        """What has arrived, at least a byte; waits for it. Raises LinkError."""
        try:
            data = await self._stream.read(READ_BYTES)
        except OSError as error:
            raise LinkError(reason_of(error))
        if not data:
            raise LinkError("unplugged")
        return data

    def may_write(self):
        """Whether `write` would take a piece now."""
        return bool(self._poll.poll(0))

    def write(self, data):
        """Take a first piece of `data`; returns its length. Only after `may_write`. Raises LinkError."""
        try:
            return self._file.write(data[:PIECE])
        except OSError as error:
            raise LinkError(reason_of(error))

    def close(self):
        if self._file is not None:
            self._file.close()
            self._file = None
