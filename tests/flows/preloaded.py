"""A day in seconds: the calendar clock of every process that a test starts, moved forward together by the test.

Each process gets moved_clock.c preloaded, which the C compiler makes into a library once a test session. Timers do not
move, so nothing times out and nothing is polled more often than on any other day.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("moved_clock.c")


class MovedClock:
    """Processes started after this was made have its time."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        library, offset = directory / "moved_clock.so", directory / "seconds_ahead"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        offset.write_bytes(struct.pack("=q", 0))
        with offset.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        self._seconds = 0
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("MOVED_CLOCK", str(offset))

    def advance(self, seconds: int) -> None:
        """It is so much later everywhere."""
        self._seconds += seconds
        self._page[:] = struct.pack("=q", self._seconds)

    def now_ms(self) -> int:
        """What the processes take for Unix time, in milliseconds."""
        return time.time_ns() // 1_000_000 + self._seconds * 1000
