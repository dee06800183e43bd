"""Boards on pseudo-terminals that send prepared frames as fast as the gateway acknowledges them, a few under way.

A pseudo-terminal has no bits per second, so this is what the gateway can take of many lines. The terminals are those of
tests/gateway/serial_cable.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from tests.gateway.serial_cable import Plug

from thingroom_wire import frames

WINDOW = 16


class Board:
    """One board. Its frames are `(bytes for the line, mark)` as `frames.encode_frame` gives them."""

    def __init__(self, path: Path) -> None:
        self.plug = Plug(path, self._take)
        self._reader = frames.FrameReader()
        self._under_way: set[bytes] = set()
        self._moved = asyncio.Event()

    async def send_all(self, prepared: Sequence[tuple[bytes, bytes]]) -> None:
        """Send, and return when each frame is acknowledged."""
        for data, mark in prepared:
            while len(self._under_way) >= WINDOW:
                await self._something()
            self._under_way.add(mark)
            self.plug.write(data)
        while self._under_way:
            await self._something()

    async def _something(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _take(self, data: bytes) -> None:
        for item in self._reader.feed(data):
            if item.kind == frames.ACKNOWLEDGED:
                self._under_way.discard(item.payload)
                self._moved.set()
            elif item.kind == frames.DOWN:
                self.plug.write(frames.acknowledgement(item.mark))


@contextlib.contextmanager
def boards(directory: Path, number: int) -> Sequence[Board]:  # type: ignore[misc]
    """Plug in `number` boards as board0, board1 … in `directory`."""
    with contextlib.ExitStack() as stack:
        found = []
        for each in range(number):
            board = Board(directory / f"board{each}")
            board.plug.plug_in()
            stack.callback(board.plug.unplug)
            found.append(board)
        yield found
