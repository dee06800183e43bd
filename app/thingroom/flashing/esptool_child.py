"""Espressif's esptool as a program of its own: which chip is there, erase it, write an image.

A child process because esptool is under the GPL and we are not, and because its failures are then exit codes and words
instead of exceptions of its many layers. May import trouble.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thingroom.board_file import BoardFile
from thingroom.flashing.trouble import CHIP_NAMES, FlashError, esptool_failed

Progress = Callable[[int, int], None]
_PERCENT = re.compile(r"Writing at 0x[0-9a-f]+ .*?(\d+(?:\.\d+)?)%")
_FACTS = {
    "chip": re.compile(r"Detecting chip type\.\.\. *(\S+)"),
    "type": re.compile(r"^Chip type: +(.+)$", re.MULTILINE),
    "mac": re.compile(r"^MAC: +(\S+)$", re.MULTILINE),
    "flash": re.compile(r"^Detected flash size: +(\d+)MB$", re.MULTILINE),
}


@dataclass(frozen=True)
class EspChip:
    """`chip` as board files name it; `flash_bytes` 0 where it could not be told."""

    chip: str
    title: str
    mac: str
    flash_bytes: int


def find_chip(port: str, attempts: int = 3, board: BoardFile | None = None) -> EspChip:
    """Put what is on `port` into its boot loader and ask what it is; it starts again afterwards. Raises FlashError."""
    output = _run(["--port", port, "--connect-attempts", str(attempts), "flash-id"], port, board)
    found = {name: match[1] for name, pattern in _FACTS.items() if (match := pattern.search(output))}
    name = found.get("chip", "")
    chip = CHIP_NAMES.get(name, name.lower().replace("-", ""))
    return EspChip(chip, found.get("type", name), found.get("mac", ""), int(found.get("flash", "0")) << 20)


def write_image(port: str, board: BoardFile, image: Path, baud: int, erase: bool, progress: Progress) -> None:
    """Write `image` where the board file says, everything else erased before if `erase`; verified. FlashError."""
    assert board.image is not None
    arguments = ["--chip", board.chip, "--port", port, "--baud", str(baud), "write-flash"]
    arguments += ["--erase-all"] * erase + [hex(board.image.offset), str(image)]
    total = image.stat().st_size

    def heard(line: str) -> None:
        if found := _PERCENT.search(line):
            progress(int(total * float(found[1]) / 100), total)

    output = _run(arguments, port, board, heard)
    if "Hash of data verified" not in output:
        raise FlashError(esptool_failed(output, port, board))
    progress(total, total)


def _run(
    arguments: list[str], port: str, board: BoardFile | None, heard: Callable[[str], None] = lambda line: None
) -> str:
    """esptool's words. Raises FlashError when it fails."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "160"}
    argv = [sys.executable, "-m", "esptool", *arguments]
    with subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        assert child.stdout is not None
        lines = []
        try:
            for line in child.stdout:
                lines.append(line)
                heard(line)
        except BaseException:
            child.kill()
            raise
    output = "".join(lines)
    if child.returncode:
        raise FlashError(esptool_failed(output, port, board))
    return output
