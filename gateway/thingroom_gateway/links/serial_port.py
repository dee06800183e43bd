"""One serial port, or what pyserial opens like one: opened, read and written on the loop, closed.

Opening and closing may take long and happen in a thread of their own; everything between never waits, so that no port
delays another. May import pyserial and the standard library. serial.py holds the ports.
"""

from __future__ import annotations

import asyncio
import os
import socket
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import serial

READ_BYTES: Final = 4096
TICK_SECONDS: Final = 0.25
# A socket:// peer that went away without a word is noticed after about this long.
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class PortLost(Exception):
    """The port could not be opened; the message says why."""


class Receiver(Protocol):
    """What takes the bytes."""

    def feed(self, data: bytes) -> None: ...

    def tick(self) -> None: ...


class Port:
    """`await open()`, then `await stay(receiver)`, then `close()`."""

    def __init__(self, url: str, baud: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._baud = baud
        self._serial: Any = None
        self._number = -1
        self._out = bytearray()
        self._writing = False
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._receive: Callable[[bytes], None] | None = None

    async def open(self) -> None:
        """Raises PortLost."""
        opened: asyncio.Future[Any] = self._loop.create_future()

        def finish(port: Any, error: Exception | None) -> None:
            if opened.cancelled():
                _close(port)
            elif error is not None:
                opened.set_exception(PortLost(_reason(error)))
            else:
                opened.set_result(port)

        def work() -> None:
            port: Any = None
            error: Exception | None = None
            try:
                port = _open(self._url, self._baud)
            except (OSError, ValueError) as raised:
                error = raised
            # RuntimeError: the loop is closed, and the process about to end.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(finish, port, error)

        threading.Thread(target=work, name="serial open", daemon=True).start()
        self._serial = await opened
        self._number = self._serial.fileno()
        os.set_blocking(self._number, False)

    async def stay(self, receiver: Receiver) -> str:
        """Hand what comes to `receiver` until the port is gone; says why."""
        self._receive = receiver.feed
        self._loop.add_reader(self._number, self._readable)
        while not self._lost.done():
            receiver.tick()
            await asyncio.wait((self._lost,), timeout=TICK_SECONDS)
        return self._lost.result()

    def close(self) -> None:
        if self._serial is None:
            return
        self._lose("closed")
        port, self._serial = self._serial, None
        # The kernel may wait here for what is still to go out.
        threading.Thread(target=_close, args=(port,), name="serial close", daemon=True).start()

    def waiting(self) -> int:
        """Bytes that the port has not taken yet."""
        return len(self._out)

    def write(self, data: bytes) -> None:
        """Put `data` out as fast as the port takes it."""
        if self._serial is None or self._lost.done():
            return
        self._out += data
        if not self._writing:
            self._writable()

    def _readable(self) -> None:
        try:
            data = os.read(self._number, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(_reason(error))
            return
        if not data:
            self._lose("unplugged")
            return
        assert self._receive is not None
        self._receive(data)

    def _writable(self) -> None:
        try:
            taken = os.write(self._number, self._out)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self._lose(_reason(error))
            return
        del self._out[:taken]
        if bool(self._out) is not self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._number, self._writable)
            else:
                self._loop.remove_writer(self._number)

    def _lose(self, why: str) -> None:
        if not self._lost.done():
            self._loop.remove_reader(self._number)
            self._loop.remove_writer(self._number)
            self._lost.set_result(why)


def _open(url: str, baud: int) -> Any:
    port = serial.serial_for_url(url, do_not_open=True, baudrate=baud, timeout=0, write_timeout=0, exclusive=True)
    port.open()
    try:
        number = port.fileno()
    except (OSError, AttributeError):
        port.close()
        raise ValueError(f"{url.partition(':')[0]}:// is not a kind of port that can be waited for") from None
    if url.startswith("socket:"):
        with socket.socket(fileno=os.dup(number)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return port


def _close(port: Any) -> None:
    if port is not None:
        # What the board did not take it will be told again.
        with suppress(OSError, AttributeError, termios.error):
            port.reset_output_buffer()
        with suppress(OSError):
            port.close()


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
