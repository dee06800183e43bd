"""`thingroom monitor`: the board's console, with times, and a node's events as something to read.

What is typed goes to the board, but for Ctrl-], which leaves. A port that goes away is waited for. `readable` is pure.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import serial

from thingroom.flashing import ports
from thingroom.flashing.repl import BAUD
from thingroom.flashing.trouble import FlashError, busy

LEAVE = b"\x1d"
MAX_LINE = 4096
_QUIET = {"event"}


def readable(line: str) -> str:
    """A line of a node's output for people: an event as its name and what it tells; anything else as it is."""
    try:
        event = json.loads(line)
    except ValueError:
        return _printable(line)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return _printable(line)
    told = ", ".join(f"{key} {_value(value)}" for key, value in event.items() if key not in _QUIET)
    return _printable(f"{event['event'].replace('_', ' ')}{': ' if told else ''}{told}")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """Without what would move the cursor or colour the terminal."""
    return "".join(one if one.isprintable() or one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


class Lines:
    """Bytes in, whole lines out; a line without an end is cut at MAX_LINE bytes."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *whole, self._kept = (self._kept + data).split(b"\n")
        if len(self._kept) > MAX_LINE:
            whole.append(self._kept)
            self._kept = b""
        return [line[:MAX_LINE].decode(errors="replace").rstrip("\r") for line in whole]


def watch(
    device: str, say: Callable[[str], None], keys: int | None, clock: Callable[[], float] = time.time, raw: bool = False
) -> None:
    """Show what the board prints until Ctrl-] comes from the file descriptor `keys` (None: for ever). FlashError."""
    lines = Lines()
    is_first = True
    while True:
        if not is_first and not Path(device).exists() and "://" not in device:
            if _left(keys, 0.3, None):
                return
            continue
        ports.check_access(device)
        try:
            with serial.serial_for_url(device, BAUD, timeout=0, exclusive=True) as line:
                if not is_first:
                    say(f"{device} is back.")
                is_first = False
                while True:
                    if _left(keys, 0.05, line):
                        return
                    # A port that was pulled out says so only to those who ask for its state.
                    if data := line.read(max(1, line.in_waiting)):
                        for text in lines.feed(data):
                            stamp = time.strftime("%H:%M:%S", time.localtime(clock()))
                            say(f"{stamp} {_printable(text) if raw else readable(text)}")
        except (serial.SerialException, OSError) as error:
            if "lock" in str(error).lower() or "busy" in str(error).lower():
                raise FlashError(busy(device, ports.holders(device))) from error
            if is_first:
                raise FlashError(f"{device} cannot be opened: {error}") from error
            say(f"{device} went away. Waiting for it; Ctrl-] leaves.")


def _left(keys: int | None, seconds: float, line: serial.Serial | None) -> bool:
    """Whether Ctrl-] was pressed within `seconds`; other keys go to the board."""
    watched = [
        one
        for one in (keys, line.fileno() if line is not None and hasattr(line, "fileno") else None)
        if one is not None
    ]
    if not watched:
        time.sleep(seconds)
        return False
    ready, _, _ = select.select(watched, [], [], seconds)
    if keys is None or keys not in ready:
        return False
    typed = os.read(keys, 256)
    if not typed or LEAVE in typed:
        return True
    if line is not None:
        line.write(typed)
    return False


@contextlib.contextmanager
def keyboard() -> Iterator[int | None]:
    """The keyboard, key by key, where there is one; it is as before afterwards."""
    if not sys.stdin.isatty() or os.name != "posix":
        yield None
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        # Lines that we print still begin at the left.
        now = termios.tcgetattr(descriptor)
        now[1] |= termios.OPOST
        termios.tcsetattr(descriptor, termios.TCSADRAIN, now)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
