"""The board that is MicroPython's unix port as a child process: its files survive, its power cut is SIGKILL.

A small board stands around it (hil/ports/unix/main.py): a TMP105 and two pins as files. Its serial line is a terminal.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import tty
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.micropython_runner import command

from hil.boards.board import Cannot
from hil.boards.console import Console
from hil.boards.wire import Wire

MAIN = Path(__file__).resolve().parent.parent / "ports" / "unix" / "main.py"
LEDS = ("led0", "led1")
# A TMP105 counts in 1/256 °C, and shows the upper 12 of 16 bits.
STEPS, MASK = 256, ~15


class UnixPort:
    """A board whose files are below `folder`, plugged into `wire` if its link is serial."""

    def __init__(self, folder: Path, *, name: str = "unix", wire: Wire | None = None) -> None:
        self.name = name
        self.console = Console()
        self._folder = folder
        self._wire = wire
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._line = self._end = -1
        self._write("tmp105", str(20 * STEPS))

    async def power_on(self) -> None:
        """See Board."""
        if self._wire is not None:
            await self._plug(self._wire)
        argv, environment = command(MAIN, str(self._folder / "node.json"), str(self._folder))
        self._process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._listen(self._process))

    async def power_off(self) -> None:
        """See Board."""
        await self.cut_power()

    async def cut_power(self) -> None:
        """See Board."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            assert self._reader is not None
            await self._reader
            self._process = self._reader = None
            self.console.power_lost()
        if self._wire is not None:
            await self._wire.unplug()

    async def reset(self) -> None:
        """See Board."""
        await self.cut_power()
        await self.power_on()

    def configure(self, settings: Mapping[str, Any]) -> None:
        """See Board."""
        self._write("node.json", json.dumps(settings))

    @property
    def own_settings(self) -> dict[str, Any]:
        """See Board."""
        return {"directory": str(self._folder / "state"), "host": str(self._folder / "line")}

    async def set_sensor(self, sensor: str, quantity: str, value: Decimal) -> None:
        """See Board."""
        if (sensor, quantity) != ("tmp105", "temperature"):
            raise Cannot(f"The unix port has no {quantity} at {sensor}.")
        self._write("tmp105", str(int(value * STEPS) & MASK))

    async def read_actuator(self, actuator: str) -> str:
        """See Board: `led0` or `led1`, which are on or off."""
        if actuator not in LEDS:
            raise Cannot(f"The unix port has no {actuator}.")
        pin = self._folder / f"pin{LEDS.index(actuator)}"
        return "on" if pin.exists() and pin.read_text() == "1" else "off"

    def _write(self, name: str, text: str) -> None:
        """Put a file there in one piece: the board may read it at any moment."""
        beside = self._folder / f"{name}.new"
        beside.write_text(text)
        beside.replace(self._folder / name)

    async def _plug(self, wire: Wire) -> None:
        """A terminal, whose one end is the board's line and whose other end goes into the wire."""
        line, end = pty.openpty()
        tty.setraw(end)
        path = self._folder / "line"
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(end))
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(line), "rb", 0)
        )
        writing, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(), os.fdopen(line, "wb", 0)
        )
        writer = asyncio.StreamWriter(writing, protocol, None, loop)

        def let_go() -> None:
            reading.close()
            os.close(end)

        wire.plug(reader, writer, let_go)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            await self.console.feed(data)
