"""A node that runs in a slot on MicroPython, as a board's does: with main.py beside it, started again when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import cache
from pathlib import Path
from typing import Any

from tests.micropython_runner import command
from tests.node.node_process import NodeProcess

from thingroom_common.firmware_image import Image, build, flash_files


@cache
def image(version: str, folder: Path | None = None) -> Image:
    return build("x64", version, folder)


def flash(root: Path, version: str) -> None:
    """What a flasher does: main.py, and the application in the slot a."""
    for name, data in flash_files().items():
        (root / name).write_bytes(data)
    for path, data in image(version).files.items():
        target = root / "app" / "a" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


class SlottedNode(NodeProcess):
    """Started again whenever it ends, until it is killed. `starts` counts, `ends` are the statuses it ended with."""

    def __init__(self, root: Path, settings: dict[str, Any]) -> None:
        super().__init__(root, settings)
        self._root = root
        self._wanted = True
        self.starts = 0
        self.ends: list[int] = []

    async def __aenter__(self) -> SlottedNode:
        self._file.write_text(json.dumps(self._settings))
        await self._start()
        self._reading = asyncio.create_task(self._keep())
        return self

    async def _start(self) -> None:
        argv, environment = command(self._root / "main.py")
        environment["MICROPYPATH"] = ".frozen"
        self.process = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self.starts += 1

    async def _keep(self) -> None:
        while True:
            before = self.stderr
            await self._read()
            self.stderr = before + self.stderr
            self.ends.append(await self.process.wait())
            if not self._wanted:
                return
            await self._start()
            if not self._wanted:
                self.process.send_signal(signal.SIGKILL)

    def cut_power(self) -> None:
        """SIGKILL; it starts again at once."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)

    async def kill(self) -> None:
        self._wanted = False
        self.cut_power()
        await self._reading

    @property
    def state(self) -> dict[str, Any]:
        """What /state/slot says."""
        path = self._root / "state" / "slot"
        return json.loads(path.read_bytes()[:-4]) if path.exists() else {}
