"""A node of the real firmware on MicroPython as a child process, with its printed events as objects to wait for."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.micropython_runner import FIRMWARE, command
from tests.patience import PATIENCE_SECONDS

from thingroom_common import firmware_image

Event = dict[str, Any]


def node_settings(directory: Path, **changes: Any) -> Event:
    """A node.json for tests: quick, simulated; `changes` override."""
    settings = {
        "directory": str(directory / "node"),
        "name": "Kitchen",
        "profile": "climate",
        "link": "mqtt",
        "host": "127.0.0.1",
        "port": 1,
        "interval_ms": 50,
        "sensor": {"kind": "simulated", "seed": 1},
    }
    return {**settings, **changes}


def write_image(folder: Path) -> Path:
    """Write the firmware's image for the unix port, with a main.py, into `folder`; returns it."""
    for path, data in firmware_image.build("x64").files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "main.py").write_text("import thingroom_node.unix_main\n")
    return folder


class NodeProcess:
    """`async with NodeProcess(folder, settings) as node`: started on entry, SIGKILLed at the end.

    `image` is a folder with the compiled firmware (`write_image`); the sources run without it.
    """

    def __init__(self, folder: Path, settings: Event, heap: str | None = None, image: Path | None = None) -> None:
        self._image = image
        self._file = folder / "node.json"
        self._settings = settings
        self._heap = heap
        self.events: list[Event] = []
        self._arrived = asyncio.Event()
        self.stderr = b""

    async def __aenter__(self) -> "NodeProcess":
        self._file.write_text(json.dumps(self._settings))
        main = FIRMWARE / "thingroom_node" / "unix_main.py" if self._image is None else self._image / "main.py"
        argv, environment = command(main, str(self._file), heap=self._heap)
        self.process = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """Stop it as boards are stopped; returns when every printed event is in `events`."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        async for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.events.append(json.loads(line))
            self._arrived.set()
        self.stderr = await self.process.stderr.read()
        self._arrived.set()

    def of(self, kind: str) -> list[Event]:
        """The events of one kind so far."""
        return [event for event in self.events if event["event"] == kind]

    def sampled(self) -> list[int]:
        """The sequence numbers reported as sampled so far."""
        return [event["sequence"] for event in self.of("sampled")]

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until `condition()` holds; AssertionError with all events when the time is over or the node ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not condition():
            if self._reading.done() or loop.time() > deadline:
                notable = [event for event in self.events if event["event"] != "sampled"][-30:]
                raise AssertionError(
                    f"not reached after {len(self.sampled())} samples; {notable}; stderr: {self.stderr.decode()}"
                )
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), 0.1)
            except TimeoutError:
                continue

    async def event(self, kind: str, seconds: float = PATIENCE_SECONDS, **fields: Any) -> Event:
        """Wait for an event of `kind` with these fields; the first one ever counts."""

        def found() -> list[Event]:
            return [event for event in self.of(kind) if fields.items() <= event.items()]

        await self.until(lambda: bool(found()), seconds)
        return found()[0]
