"""MicroPython's raw REPL over a port: runs board_scripts.py's programs, copies files, follows what the board prints.

The transport is mpremote's. Its failures become FlashError here; nothing of what is sent is printed or logged, as a
node.json holds Wi-Fi passwords. May import trouble, board_scripts, ports.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import posixpath
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from thingroom.board_file import BoardFile
from thingroom.flashing import board_scripts, ports
from thingroom.flashing.trouble import FlashError, board_failed, busy, no_permission, no_repl

Progress = Callable[[int, int], None]
BAUD = 115_200
# A board that makes its first key computes for seconds.
SCRIPT_SECONDS = 90
_READ_SECONDS = 4
_CONNECT_READ_SECONDS = 0.5
_CHUNK = 512
_FAILURES = (TransportError, serial.SerialException, OSError, struct.error)


@dataclass(frozen=True)
class About:
    """What MicroPython says of itself: `platform` as sys.platform, bytes of file system free and in all."""

    version: tuple[int, int, int]
    machine: str
    platform: str
    mpy: int
    free: int
    size: int


class Board:
    """A board whose program is interrupted; `with` closes the port. It runs on only after `restart`."""

    def __init__(self, device: str, board: BoardFile | None = None) -> None:
        self.device = device
        self._board = board
        self._transport: Any = None

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self, seconds: float) -> None:
        """Open the port and interrupt what runs there, again and again for `seconds`. Raises FlashError."""
        deadline = time.monotonic() + seconds
        pulsed = False
        while True:
            self.close()
            ports.check_access(self.device)
            try:
                # A new transport for each try: what was half said before must not be taken for an answer.
                with contextlib.redirect_stdout(io.StringIO()):
                    self._transport = SerialTransport(self.device, BAUD, timeout=_CONNECT_READ_SECONDS)
                    self._transport.serial.write(b"\r\x03\x03")
                    time.sleep(0.1)
                    self._transport.enter_raw_repl(soft_reset=False, timeout_overall=2)
                    self._transport.serial.timeout = _READ_SECONDS
                    return
            except TransportError as error:
                if "failed to access" in str(error):
                    raise FlashError(busy(self.device, ports.holders(self.device))) from error
            except PermissionError as error:
                raise FlashError(no_permission(self.device, "dialout", "$USER")) from error
            except (serial.SerialException, OSError, struct.error):
                # The port of a board that restarts goes away for a moment.
                time.sleep(0.2)
            if time.monotonic() > deadline:
                self.close()
                raise FlashError(no_repl(self.device, self._board))
            if not pulsed:
                pulsed = True
                self._pulse_reset()

    def _pulse_reset(self) -> None:
        """RTS is RESET on boards with a USB-to-serial chip: a node that listens to no interrupt is caught"
        " at its start."""
        with contextlib.suppress(*_FAILURES, AttributeError):
            line = self._transport.serial
            line.dtr = False
            line.rts = True
            time.sleep(0.1)
            line.rts = False

    def close(self) -> None:
        """Leave the port; the board stays where it is."""
        if self._transport is not None:
            with contextlib.suppress(*_FAILURES):
                self._transport.close()
            self._transport = None

    def run(self, script: str, **values: object) -> dict[str, Any]:
        """Run `script` with `values` as its globals; what it printed last, as JSON. Raises FlashError."""
        source = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + script
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                said, error = self._transport.exec_raw(source, timeout=SCRIPT_SECONDS)
        except _FAILURES as failure:
            raise FlashError(_went_away(self.device, failure)) from failure
        if error:
            raise FlashError(board_failed(error.decode(errors="replace")))
        lines = said.decode(errors="replace").splitlines()
        try:
            told = json.loads(lines[-1])
        except (ValueError, IndexError):
            raise FlashError(
                f"The board on {self.device} gave no sensible answer. Press RESET and say it again."
            ) from None
        return dict(told)

    def about(self) -> About:
        """What MicroPython there is. Raises FlashError."""
        told = self.run(board_scripts.ABOUT)
        block = told["block"]
        major, minor, patch = (int(part) for part in told["version"])
        return About(
            (major, minor, patch),
            str(told["machine"]),
            str(told["platform"]),
            int(told["mpy"]),
            told["free"] * block,
            told["blocks"] * block,
        )

    def digests(self, paths: list[str]) -> tuple[dict[str, str], list[str]]:
        """SHA-256 of each path in hex, "" where it is not there; and all files below /app. Raises FlashError."""
        told = self.run(board_scripts.DIGESTS, PATHS=paths)
        return dict(zip(paths, told["digests"], strict=True)), list(told["there"])

    def put(self, files: Mapping[str, bytes], progress: Progress) -> None:
        """Write `files` (absolute paths) in their order, then read them back by digest. Raises FlashError."""
        folders = sorted({parent for path in files for parent in _parents(path)}, key=lambda one: (one.count("/"), one))
        if folders:
            self.run(board_scripts.FOLDERS, FOLDERS=folders)
        total = sum(map(len, files.values()))
        written = 0
        for path, data in files.items():
            start = written

            def moved(there: int, _: int, start: int = start) -> None:
                progress(start + there, total)

            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    self._transport.fs_writefile(path, data, _CHUNK, moved)
            except TransportExecError as error:
                raise FlashError(board_failed(error.error_output)) from error
            except _FAILURES as failure:
                raise FlashError(_write_failed(self.device, path, failure)) from failure
            written += len(data)
        there, _ = self.digests(list(files))
        wrong = [path for path, data in files.items() if there[path] != hashlib.sha256(data).hexdigest()]
        if wrong:
            raise FlashError(
                f"What was written does not read back as it should ({', '.join(wrong[:3])}). Say the same again; if it"
                " happens again, the board's flash or the cable is bad."
            )

    def restart(self) -> None:
        """As after a loss of power; does not wait for it. Raises FlashError."""
        try:
            self._transport.exec_raw_no_follow(board_scripts.RESTART)
        except _FAILURES as failure:
            raise FlashError(_went_away(self.device, failure)) from failure

    def restart_and_listen(self, seconds: float) -> Iterator[str]:
        """Restart it, then what it prints, line by line, for `seconds`; the port may go and come"
        " meanwhile. FlashError."""
        self.restart()
        line: Any = self._transport.serial
        deadline = time.monotonic() + seconds
        kept = b""
        while time.monotonic() < deadline:
            try:
                if line is None:
                    line = serial.serial_for_url(self.device, BAUD)
                line.timeout = 0.2
                kept += line.read(max(1, line.in_waiting))
            except (serial.SerialException, OSError):
                self.close()
                line = None
                time.sleep(0.2)
            *whole, kept = kept[-8192:].split(b"\n")
            yield from (one.decode(errors="replace").strip() for one in whole)
        if line is not None:
            line.close()

    def to_boot_loader(self) -> None:
        """A Pico becomes a disk. Raises FlashError."""
        try:
            self._transport.exec_raw_no_follow(board_scripts.BOOT_LOADER)
        except _FAILURES as failure:
            raise FlashError(_went_away(self.device, failure)) from failure
        self.close()


def _parents(path: str) -> Iterator[str]:
    parent = posixpath.dirname(path)
    while parent not in ("", "/"):
        yield parent
        parent = posixpath.dirname(parent)


def _went_away(device: str, failure: Exception) -> str:
    return (
        f"The board on {device} stopped answering ({type(failure).__name__}). Is the plug loose? Say the"
        " same again: what"
        " was copied is kept."
    )


def _write_failed(device: str, path: str, failure: Exception) -> str:
    number = getattr(failure, "errno", None)
    if number == 28:
        return board_failed("OSError: [Errno 28] ENOSPC")
    if number == 30:
        return board_failed("OSError: [Errno 30] EROFS")
    if isinstance(failure, OSError) and number is not None and not isinstance(failure, serial.SerialException):
        return f"{path} could not be written on the board: {failure}."
    return _went_away(device, failure)
