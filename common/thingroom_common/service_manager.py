"""What a service manager (systemd) is told: ready, reloading, stopping, still alive (sd_notify(3)).

May import the standard library. Without NOTIFY_SOCKET in the environment nobody listens, and nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

# How long we wait for a manager that has no room for what we say.
PATIENCE_SECONDS = 0.5


class ServiceManager:
    """Speaks to the manager that `environment` names, and takes the names out: children are no concern of it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        own = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        microseconds = environment.pop("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1e6 if own and microseconds.isdecimal() else 0.0

    @property
    def listens(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """It is up, and does `status`, a line for people."""
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._tell(f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its configuration again; `ready` says when that is done."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """Tell it, as often as it wants to know, that the loop turns; until cancelled, at once if it does not."""
        while self.listens and self.watchdog_seconds:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 3)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(PATIENCE_SECONDS)
            manager.sendto(text.encode(), self._address)
