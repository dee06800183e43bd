"""The serial link: boards on cables, as many as are plugged in, found when they come and let go when they leave.

Each port has a task of its own that opens it, keeps it and tries again; links/serial_line.py is what is said on it. May
import the other links/serial_*.py, ingest's values. The bytes: docs/wire_format.md, "Serial lines".
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import random
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.serial_console import Consoles
from thingroom_gateway.links.serial_line import Line, Ticket
from thingroom_gateway.links.serial_port import Port, PortLost
from thingroom_gateway.outcomes import Frame, Outcome

logger = logging.getLogger(__name__)

BACK_OFF: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SCAN_SECONDS: Final = 1.0
MAX_PORTS: Final = 64
# A port that was open for so long was a good one: the next try comes soon.
GOOD_SECONDS: Final = 10.0


class SerialLink:
    """`ports` are device files, patterns of them (/dev/serial/by-id/*) and URLs (socket://host:port)."""

    def __init__(
        self,
        ports: Sequence[str],
        baud: int,
        ingest: Ingest,
        registry: Registry,
        counters: Counters,
        consoles: Consoles,
        scan_seconds: float = SCAN_SECONDS,
    ) -> None:
        self._ports = ports
        self._baud = baud
        self._ingest = ingest
        self._registry = registry
        self._counters = counters
        self._consoles = consoles
        self._scan_seconds = scan_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, Line] = {}
        self._routes: dict[bytes, Line] = {}

    @property
    def open_ports(self) -> list[str]:
        """The ports that are open now."""
        return sorted(self._lines)

    def use(self, ports: Sequence[str]) -> None:
        """Other ports from now on: those that are no longer named are let go, new ones found at the next look."""
        self._ports = ports
        wanted = self._present()
        for key, task in self._tasks.items():
            if key not in wanted:
                task.cancel()

    async def run(self) -> None:
        """Look for ports and keep those that there are, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for key, url in self._present().items():
                    if key not in self._tasks and len(self._tasks) < MAX_PORTS:
                        task = self._tasks[key] = group.create_task(self._keep(url), name=f"serial {url}")
                        task.add_done_callback(partial(self._ended, key))
                await asyncio.sleep(self._scan_seconds)

    def _ended(self, key: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[key]

    def _present(self) -> dict[str, str]:
        """What there is to open, by what it really is: two names of one port are one port."""
        found: dict[str, str] = {}
        for port in self._ports:
            if "://" in port:
                found.setdefault(port, port)
                continue
            for path in sorted(glob.glob(port)) if glob.has_magic(port) else [port]:  # noqa: PTH207
                if os.path.exists(path):  # noqa: PTH110
                    found.setdefault(os.path.realpath(path), path)
        return found

    async def _keep(self, url: str) -> None:
        """Keep one port open. Ends when its file is gone; it is found again when it comes back."""
        failures = 0
        while "://" in url or os.path.exists(url):  # noqa: PTH110
            opened_at = monotonic()
            why = await self._session(url)
            failures = 0 if monotonic() - opened_at >= GOOD_SECONDS else failures + 1
            pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
            logger.warning("serial port %s: %s; next try in %.1f s", url, why, pause)
            await self._pause(url, pause)

    async def _pause(self, url: str, seconds: float) -> None:
        """Wait, but not longer than the port is there: plugged in again, it is a new one."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0 and ("://" in url or os.path.exists(url)):  # noqa: ASYNC110, PTH110
            await asyncio.sleep(min(left, self._scan_seconds))

    async def _session(self, url: str) -> str:
        """Open and serve one port until it is lost; says why."""
        port = Port(url, self._baud)
        line = Line(
            self,
            self._ingest,
            self._registry,
            self._counters,
            port.write,
            port.waiting,
            partial(self._consoles.add, url),
            monotonic,
        )
        try:
            await port.open()
            logger.info("serial port %s is open", url)
            self._counters.add("serial.opened")
            self._lines[url] = line
            why = await port.stay(line)
        except PortLost as error:
            why = str(error)
        finally:
            if self._lines.get(url) is line:
                del self._lines[url]
            line.close()
            port.close()
            self._routes = {kid: other for kid, other in self._routes.items() if other is not line}
        return why

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        """After the commit: each line gets its acknowledgements, then one answer a device."""
        lines: dict[Line, None] = {}
        for frame, outcome in settled:
            ticket = frame.ticket
            assert type(ticket) is Ticket
            ticket.line.settle(ticket.mark, outcome)
            lines[ticket.line] = None
            kid = getattr(outcome, "kid", None)
            if kid is not None and not ticket.line.is_closed:
                self._routes[kid] = ticket.line
        for line in lines:
            line.answer()

    def resume(self) -> None:
        for line in list(self._lines.values()):
            line.resume()

    def send(self, kid: bytes, data: bytes) -> bool:
        """Send `data` down to the device over the line that it last spoke on; False if there is none or it is busy."""
        line = self._routes.get(kid)
        return line is not None and line.send(data)
