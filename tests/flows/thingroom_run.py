"""Start `thingroom run` as a person does, as a process, and watch what it prints; for the flow tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS


class Running:
    """A `thingroom run` process with ports of its own. Use as an async context manager."""

    def __init__(
        self,
        data: Path,
        *,
        demo: bool = True,
        broker: str = "mosquitto",
        python: Path = Path(sys.executable),
        directory: Path | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.python = python
        self.directory = directory
        self.demo = demo
        self.arguments = arguments
        self.environment = environment
        self.lines: list[str] = []
        self.homeserver_port, self.broker_port, appservice = free_port(), free_port(), free_port()
        self.coap_port = free_port(socket.SOCK_DGRAM)
        self.dashboard_port = free_port()
        self.url = f"http://127.0.0.1:{self.homeserver_port}"
        data.mkdir(exist_ok=True)
        (data / "thingroom.toml").write_text(
            f'[run]\nbroker = "{broker}"\nbroker_port = {self.broker_port}\n'
            f'[homeserver]\nlisteners = ["127.0.0.1:{self.homeserver_port}"]\n'
            f"[gateway.coap]\nport = {self.coap_port}\n[gateway.appservice]\nport = {appservice}\n"
            f'[gateway.dashboard]\nlisten = "127.0.0.1:{self.dashboard_port}"\n'
        )

    async def __aenter__(self) -> Running:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the command; returns at once."""
        command = [str(self.python), "-m", "thingroom", "run", "--data", str(self.data)]
        self.process = await asyncio.create_subprocess_exec(
            *command,
            *(["--demo"] if self.demo else []),
            *self.arguments,
            env=None if self.environment is None else {**os.environ, **self.environment},
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)
        await self._reader
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for `condition`; fails with what was printed and logged."""
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process.returncode is not None
            assert not ended and time.monotonic() < deadline, self.story()
            await asyncio.sleep(0.05)

    async def until_printed(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a line with `text` was printed."""
        await self.until(lambda: any(text in line for line in self.lines), seconds)

    def story(self) -> str:
        """Everything that was printed and the ends of the logs."""
        logs = [
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            for log in sorted((self.data / "logs").glob("*.log"))
        ]
        return "\n".join([*self.lines[-40:], *logs])

    def owner(self) -> tuple[str, str]:
        """User id and password."""
        owner = json.loads((self.data / "run" / "owner.json").read_text())
        return owner["user_id"], owner["password"]

    def process_of(self, word: str) -> psutil.Process:
        """The child process whose command line has `word`."""
        for child in psutil.Process(self.process.pid).children():
            if any(word in part for part in child.cmdline()):
                return child
        raise AssertionError(f"no child process with {word} among its words\n{self.story()}")
