"""Serial lines for tests: pseudo-terminals that are plugged in and out by name, and a cable between two of them."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thingroom_wire import frames


class Plug:
    """A pseudo-terminal whose slave is found at `path`; the test holds the other end. `received` sees what comes."""

    def __init__(self, path: Path, received: Callable[[bytes], None]) -> None:
        self.path = path
        self._received = received
        self._loop = asyncio.get_running_loop()
        self._master = -1

    def plug_in(self) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        os.set_blocking(self._master, False)
        # With a slave of our own open the terminal lives on while nobody else has it.
        self._slave = slave
        self._out: deque[bytes] = deque()
        self._loop.add_reader(self._master, self._readable)

    def unplug(self) -> None:
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            self.path.unlink()
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def write(self, data: bytes) -> None:
        """As much as the terminal takes now, the rest when it does; what is written to no terminal is lost."""
        if self._master >= 0 and data:
            self._out.append(data)
            if len(self._out) == 1:
                self._loop.add_writer(self._master, self._writable)

    def _writable(self) -> None:
        taken = os.write(self._master, self._out[0])
        self._out[0] = self._out[0][taken:]
        if not self._out[0]:
            self._out.popleft()
        if not self._out:
            self._loop.remove_writer(self._master)

    def _readable(self) -> None:
        self._received(os.read(self._master, 65536))


class SerialBoard:
    """The board's end of a plug, driven by a test. It acknowledges what comes down unless told otherwise."""

    def __init__(self, path: Path) -> None:
        self.plug = Plug(path, self._take)
        self._reader = frames.FrameReader()
        self.down: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self.polite = True

    def __enter__(self) -> SerialBoard:
        self.plug.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.plug.unplug()

    def send(self, payload: bytes, kind: int = frames.UP) -> bytes:
        """Send a frame; returns its mark."""
        data, mark = frames.encode_frame(kind, payload)
        self.plug.write(data)
        return bytes(mark)

    def _take(self, data: bytes) -> None:
        item: Any
        for item in self._reader.feed(data):
            assert isinstance(item, frames.Frame)
            if item.kind == frames.ACKNOWLEDGED:
                self.acknowledged.append(item.payload)
            else:
                assert item.kind == frames.DOWN
                self.down.append(item.payload)
                if self.polite:
                    self.plug.write(frames.acknowledgement(item.mark))


class Cable:
    """Two plugs, what goes into one comes out of the other. `disturb` may change each piece on its way up."""

    def __init__(self, node: Path, gateway: Path) -> None:
        self.node = Plug(node, lambda data: self.gateway.write(self.disturb(data)))
        self.gateway = Plug(gateway, lambda data: self.node.write(data))
        self.disturb: Callable[[bytes], bytes] = lambda data: data

    def __enter__(self) -> Cable:
        self.node.plug_in()
        self.gateway.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self.node.unplug()
        self.gateway.unplug()
