"""The disk that a Pico is while it waits for an image (BOOTSEL): found among what is mounted, and written.

May import trouble, psutil.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from thingroom.board_file import BoardFile
from thingroom.flashing.trouble import CABLE, FlashError, boot_hint

Progress = Callable[[int, int], None]
_INFO = "INFO_UF2.TXT"
# What stands in the file as Board-ID.
_BOARD_IDS = {"rp2040": "RPI-RP2", "rp2350": "RP2350"}
_CHUNK = 65536


def mounted() -> list[Path]:
    """Where disks are mounted."""
    return [Path(one.mountpoint) for one in psutil.disk_partitions(all=False)]


def chip_of(drive: Path) -> str:
    """rp2040 or rp2350 where `drive` is a Pico's boot loader, else ""."""
    try:
        text = (drive / _INFO).read_text(encoding="ascii", errors="replace")[:4096]
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Board-ID":
            return next((chip for chip, one in _BOARD_IDS.items() if value.strip() == one), "")
    return ""


def find_drive(chip: str, places: Iterable[Path]) -> Path | None:
    """The drive of a board with `chip`. Raises FlashError where there are several."""
    found = [place for place in places if chip_of(place) == chip]
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise FlashError(f"Several boards wait for an image ({names}). Unplug all but one.")
    return found[0] if found else None


def wait_for_drive(board: BoardFile, seconds: float, places: Callable[[], Iterable[Path]] = mounted) -> Path:
    """The board's disk, as soon as it is there. Raises FlashError."""
    deadline = time.monotonic() + seconds
    while True:
        if (drive := find_drive(board.chip, places())) is not None:
            return drive
        if time.monotonic() > deadline:
            raise FlashError(
                f"No disk of an {board.chip} is mounted. {boot_hint(board)} Open it in the file manager"
                " where it does not"
                f" appear by itself. {CABLE}"
            )
        time.sleep(0.2)


def copy_image(data: bytes, drive: Path, board: BoardFile, progress: Progress) -> None:
    """Write the image onto the drive, which then goes away by itself. Raises FlashError."""
    found = chip_of(drive)
    if found != board.chip:
        raise FlashError(f"The board at {drive} has an {found or 'unknown chip'}, {board.name} has an {board.chip}.")
    try:
        descriptor = os.open(drive / "thingroom.uf2", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        raise FlashError(
            f"{drive} cannot be written: {error.strerror}. Mount it for your user and try again."
        ) from error
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written : written + _CHUNK])
            progress(written, len(data))
        os.fsync(descriptor)
    except OSError as error:
        # The boot loader restarts at the last block: what comes after it fails, and does not matter.
        if written < len(data):
            raise FlashError(
                f"Copying to {drive} failed after {written} of {len(data)} bytes: {error.strerror}. Plug the board in"
                " again with BOOTSEL held and say the same."
            ) from error
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
