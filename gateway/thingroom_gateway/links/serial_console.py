"""What boards print besides frames, kept for people: boot messages, tracebacks, in one bounded file a port.

Every byte that is not plain text is written as \\xNN, so that a file is safe to look at. A thread writes: a slow disk
delays no port. May import the standard library. serial.py gives the bytes.
"""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

# What waits for the disk at most, of all ports together, in bytes; more is left out.
MAX_WAITING: Final = 256 * 1024
_UNSAFE: Final = re.compile(rb"[^\t\n\x20-\x7e]")


class Consoles:
    """`add` text of a port; the newest `max_bytes` of it are in `<port>.log` and, what was before, `<port>.log.1`."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._half = max_bytes // 2
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="console")
        self._waiting = 0
        self._known: set[str] = set()
        self.left_out = 0

    def path(self, port: str) -> Path:
        """The file of a port, which is a path or a URL."""
        return self._directory / (re.sub(r"[^A-Za-z0-9._-]+", "_", port).strip("_") + ".log")

    def add(self, port: str, data: bytes) -> None:
        """Keep `data`. Never waits."""
        if not self._half:
            return
        if self._waiting + len(data) > MAX_WAITING:
            self.left_out += len(data)
            return
        path = self.path(port)
        if port not in self._known:
            self._known.add(port)
            logger.info("what the board at %s prints goes to %s", port, path)
        self._waiting += len(data)
        self._writer.submit(self._keep, path, data)

    def close(self) -> None:
        """Write what waits."""
        self._writer.shutdown()

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with path.open("ab") as file:
                file.write(_UNSAFE.sub(_escaped, data.replace(b"\r\n", b"\n")))
                is_full = file.tell() >= self._half
            if is_full:
                path.replace(path.with_name(path.name + ".1"))
        except OSError as error:
            logger.warning("%s: %s", path, error)
        finally:
            self._waiting -= len(data)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found[0][0]
