"""Serial ports of this machine: which there are, what boards they could be, whether we may use them, who has them.

Asks the operating system; opens no port, so no board is disturbed. May import trouble, board_file, pyserial.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

try:
    import grp
except ImportError:  # Windows, which has no such groups
    grp = None  # type: ignore[assignment]

from serial.tools import list_ports

from thingroom.board_file import BoardFile
from thingroom.flashing.trouble import FlashError, missing, no_permission, no_ports


@dataclass(frozen=True)
class Port:
    """`usb` is vendor:product in hex, "" where the port is none of USB."""

    device: str
    usb: str = ""
    about: str = ""
    serial_number: str = ""


def serial_ports() -> list[Port]:
    """The machine's serial ports, those of USB first."""
    found = []
    for one in list_ports.comports():
        usb = f"{one.vid:04x}:{one.pid:04x}" if one.vid is not None else ""
        about = " ".join(part for part in (one.manufacturer, one.product) if part)
        found.append(Port(one.device, usb, about, one.serial_number or ""))
    return sorted(found, key=lambda port: (not port.usb, port.device))


def boards_of(port: Port, boards: Iterable[BoardFile]) -> list[BoardFile]:
    """The boards that appear on USB as this port does."""
    return [board for board in boards if port.usb and port.usb in board.usb]


def choose_port(ports: list[Port], boards: Iterable[BoardFile], wanted: str) -> Port:
    """The port called `wanted`, or the only one that can be a board. Raises FlashError: none, or several."""
    if wanted:
        if "://" not in wanted and not Path(wanted).exists() and not wanted.upper().startswith("COM"):
            raise FlashError(missing(wanted))
        device = str(Path(wanted).resolve()) if wanted.startswith("/dev/") else wanted
        return next((port for port in ports if port.device == device), Port(wanted))
    known = list(boards)
    likely = [port for port in ports if boards_of(port, known)] or [port for port in ports if port.usb]
    if not likely:
        raise FlashError(no_ports())
    if len(likely) > 1:
        listed = "".join(f"\n  --port {port.device}   {port.about or port.usb}" for port in likely)
        raise FlashError(f"There are several boards. Say which one:{listed}")
    return likely[0]


def check_access(device: str) -> None:
    """Raises FlashError where the port is not there or we may not use it. Looks, does not open."""
    if "://" in device or os.name != "posix":
        return
    path = Path(device)
    if not path.exists():
        raise FlashError(missing(device))
    # The port is opened with the effective rights.
    if not os.access(device, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise FlashError(no_permission(device, _group_of(path), os.environ.get("USER", "$USER")))


def _group_of(path: Path) -> str:
    """The group that may use it; "" where none but root may."""
    with contextlib.suppress(KeyError, OSError):
        name: str = grp.getgrgid(path.stat().st_gid).gr_name
        return "" if name == "root" else name
    return ""


def holders(device: str, processes: Path = Path("/proc")) -> list[str]:
    """Who has the port open, as "name (pid)", as far as we may know; [] where there is no /proc."""
    found = []
    target = os.path.realpath(device)
    for process in sorted(processes.glob("[0-9]*")):
        try:
            names = [(process / "fd" / name).readlink() for name in os.listdir(process / "fd")]  # noqa: PTH208
            if int(process.name) != os.getpid() and any(str(name) == target for name in names):
                found.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
        except OSError:
            continue
    return found


def wait_for_port(usb: Iterable[str], before: Iterable[str], seconds: float) -> Port | None:
    """The port with one of these USB ids that was not there `before`; None if it does not come."""
    ids, old = set(usb), set(before)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for port in serial_ports():
            if port.usb in ids and port.device not in old:
                return port
        time.sleep(0.2)
    return None
