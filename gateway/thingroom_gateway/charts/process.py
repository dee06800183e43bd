"""Draws charts in a process of its own, which ends when nobody asked for a while.

matplotlib would add some 70 MB to the gateway for good; here it is there only while people look at charts. May import
chart; the process runs worker.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
import sys
from pathlib import Path
from typing import Final

import msgspec

from thingroom_gateway.charts.chart import Chart

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 30.0
# Half a second on a server, several on a small board that has just started.
ANSWER_SECONDS: Final = 60.0
MAX_WAITING: Final = 8
MAX_PICTURE: Final = 4_000_000
HEAD: Final = struct.Struct(">BI")
OK: Final = 1


class ChartError(Exception):
    """A chart could not be drawn; the message is for people."""


class ChartProcess:
    """Owner of the process that draws; `render` starts it when it is needed. Close it at the end."""

    def __init__(self, cache: Path, idle_seconds: float = IDLE_SECONDS) -> None:
        """`cache` is a folder where matplotlib may keep what it knows of fonts."""
        self._cache = cache
        self._idle = idle_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._end: asyncio.TimerHandle | None = None

    async def render(self, chart: Chart) -> bytes:
        """The chart as PNG. Raises ChartError: matplotlib is missing, the process died, too many wait already."""
        if self._waiting >= MAX_WAITING:
            raise ChartError("too many charts are being drawn; try again in a moment")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._draw(msgspec.json.encode(chart))
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process, if it is there."""
        async with self._turn:
            await self._stop()

    @property
    def pid(self) -> int | None:
        """The process that draws, while it is there."""
        return None if self._process is None else self._process.pid

    async def _draw(self, request: bytes) -> bytes:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ok, answer = await self._ask(request)
        except (OSError, EOFError, TimeoutError) as error:
            await self._stop()
            logger.error("a chart was not drawn: %r", error)
            raise ChartError("the chart could not be drawn") from None
        except asyncio.CancelledError:
            # Half an answer may be on its way: the next one must not read it.
            await self._stop()
            raise
        self._end = asyncio.get_running_loop().call_later(self._idle, self._let_go)
        if ok != OK:
            raise ChartError(answer.decode())
        return answer

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._process is None or self._process.returncode is not None:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "thingroom_gateway.charts.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLCONFIGDIR": str(self._cache)},
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(HEAD.pack(0, len(request)) + request)
        await process.stdin.drain()
        ok, length = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        if length > MAX_PICTURE:
            raise OSError(f"a picture of {length} bytes")
        return ok, await process.stdout.readexactly(length)

    def _let_go(self) -> None:
        """Idle long enough: the process ends by itself when its input does."""
        self._end = None
        if self._process is not None and not self._turn.locked():
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    async def _stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
