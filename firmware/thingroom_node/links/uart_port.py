"""A serial line on a board: a UART, or the USB cable, which carries what the board prints as well.

The same seam as serial_port.py: `read` waits, `may_write` and `write` never.
"""

import asyncio
import select
import sys

READ_BYTES = 256
# A line that says it can be written to takes this much at once: less than the smallest transmit buffer.
PIECE = 32


class UartPort:
    """`uart` is a machine.UART that is set up."""

    def __init__(self, uart):
        self._uart = uart
        self._stream = asyncio.StreamReader(uart)
        self._poll = select.poll()
        self._poll.register(uart, select.POLLOUT)

    async def read(self):
        """What has arrived, at least a byte; waits for it."""
        while True:
            if data := await self._stream.read(READ_BYTES):
                return data

    def may_write(self):
        """Whether `write` would take a piece now."""
        return bool(self._poll.poll(0))

    def write(self, data):
        """Take a first piece of `data`; returns its length. Only after `may_write`."""
        return self._uart.write(data[:PIECE]) or 0

    def close(self):
        """The line stays as it is: it is opened once."""


def uart_opener(uart):
    """The function that gives a UartPort on `uart`."""

    def open_port():
        return UartPort(uart)

    return open_port


class UsbPort:
    """The USB cable, or whatever else the board's console is."""

    def __init__(self):
        self._stream = asyncio.StreamReader(sys.stdin.buffer)
        self._readable = select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sys.stdout, select.POLLOUT)

    async def read(self):
        """What has arrived, at least a byte; waits for it."""
        data = bytearray()
        # A console's read waits until it has all that it was asked for.
        data.extend(await self._stream.read(1))
        while len(data) < READ_BYTES and self._readable.poll(0):
            data.extend(sys.stdin.buffer.read(1))
        return bytes(data)

    def may_write(self):
        """Whether `write` would take a piece now."""
        return bool(self._writable.poll(0))

    def write(self, data):
        """Take a first piece of `data`; returns its length. Only after `may_write`."""
        return sys.stdout.buffer.write(data[:PIECE]) or 0

    def close(self):
        """The cable stays the console's."""


def usb_opener():
    """The function that gives a UsbPort; from now on a byte 3 is data and no keyboard interrupt."""
    import micropython

    micropython.kbd_intr(-1)
    return UsbPort
