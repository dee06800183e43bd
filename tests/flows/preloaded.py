"""What a test changes about the machine that its processes run on: what day it is, and whether the disk is full.

Each is a C source beside this file, which the C compiler makes a library of that is preloaded (ld.so(8)) into every
process that is started while it is on.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import time
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent


def _preload(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = directory / f"{name}.so"
    source = str(SOURCES / f"{name}.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), source], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library), prepend=":")


class _Shared:
    """Some bytes that the processes see change."""

    def __init__(self, path: Path, first: bytes) -> None:
        path.write_bytes(first)
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), len(first))

    def put(self, data: bytes) -> None:
        self._page[:] = data


class MovedClock:
    """A day in seconds: the calendar clock of processes started after this was made, moved forward by the test.

    Timers do not move, so nothing times out and nothing is polled more often than on any other day.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shared = _Shared(directory / "seconds_ahead", struct.pack("=q", 0))
        self._seconds = 0
        _preload("moved_clock", directory, monkeypatch)
        monkeypatch.setenv("MOVED_CLOCK", str(directory / "seconds_ahead"))

    def advance(self, seconds: int) -> None:
        """It is so much later everywhere."""
        self._seconds += seconds
        self._shared.put(struct.pack("=q", self._seconds))

    def now_ms(self) -> int:
        """What the processes take for Unix time, in milliseconds."""
        return time.time_ns() // 1_000_000 + self._seconds * 1000


class FullDisk:
    """For processes started after this was made: no file below `folder` gets longer while the disk is full."""

    def __init__(self, directory: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shared = _Shared(directory / "disk_is_full", b"\0")
        _preload("full_disk", directory, monkeypatch)
        monkeypatch.setenv("FULL_DISK", str(directory / "disk_is_full"))
        monkeypatch.setenv("FULL_DISK_FOLDER", str(folder))

    def fill(self) -> None:
        self._shared.put(b"\1")

    def free(self) -> None:
        self._shared.put(b"\0")
