"""What can go wrong between this machine and a board, each as a sentence that says what to do.

Pure: from the words of esptool, pyserial and MicroPython, and from what a port is, to a text. May import board_file.
"""

from __future__ import annotations

from thingroom.board_file import BoardFile

# What esptool calls a chip that board files name otherwise.
CHIP_NAMES = {
    "ESP8266": "esp8266",
    "ESP32": "esp32",
    "ESP32-S2": "esp32s2",
    "ESP32-S3": "esp32s3",
    "ESP32-C2": "esp32c2",
    "ESP32-C3": "esp32c3",
    "ESP32-C5": "esp32c5",
    "ESP32-C6": "esp32c6",
    "ESP32-C61": "esp32c61",
    "ESP32-H2": "esp32h2",
    "ESP32-P4": "esp32p4",
}
CABLE = "Many cables only charge: try another one, straight into this computer."


class FlashError(Exception):
    """It did not work; the message says what happened and what to do."""


def boot_hint(board: BoardFile | None) -> str:
    """How to get this board to listen, by hand."""
    if board is not None and board.boot is not None:
        return board.boot.hint
    return "Hold BOOT, press and let go RESET, let go BOOT; then try again."


def no_permission(device: str, group: str, user: str) -> str:
    """The port's file belongs to `group`, and `user` is not in it."""
    if not group:
        return f"You may not use {device}. Ask whoever looks after this computer."
    return (
        f"You may not use {device}: it is for the group {group}. Say  sudo usermod -a -G {group} {user}  and sign in"
        " again (or restart)."
    )


def busy(device: str, holders: list[str]) -> str:
    """Someone else has the port open; `holders` are "name (pid)"."""
    who = f"{' and '.join(holders)} {'has' if len(holders) == 1 else 'have'} it open" if holders else "it is in use"
    return f"{device} is busy: {who}. Close it (a monitor, an IDE, a gateway with this port) and try again."


def missing(device: str) -> str:
    """There is no such port."""
    return f"There is no port {device}. Is the board plugged in? {CABLE} `thingroom devices` lists what is there."


def no_ports() -> str:
    """No board at all was found."""
    return (
        f"No board was found. Plug it in by USB. {CABLE} A Pico whose BOOTSEL button was held while it was plugged in"
        " appears as a disk instead, which is found as well. A port that looks like no board: name it with --port."
    )


def wrong_chip(found: str, board: BoardFile, others: list[str]) -> str:
    """The chip that answers is not the board's."""
    instead = f" Boards with it: {', '.join(others)} (--board)." if others else " There is no board file for it yet."
    return f"The chip is an {found}, but {board.name} has an {board.chip}.{instead}"


def esptool_failed(output: str, port: str, board: BoardFile | None) -> str:
    """What esptool's output (both streams) means. The last line of its own is told where nothing better is known."""
    lowered = output.lower()
    if "permission denied" in lowered:
        return f"You may not use {port}: add yourself to the group dialout and sign in again."
    if ("busy" in lowered and "could not open" in lowered) or "exclusively lock" in lowered:
        return busy(port, [])
    if "wrong boot mode" in lowered or "download mode successfully detected" in lowered:
        return f"The board on {port} did not go into its boot loader. {boot_hint(board)}"
    if "failed to connect" in lowered:
        return f"Nothing on {port} answers like an ESP32 in its boot loader. {boot_hint(board)} If that"
        f" does not help: {CABLE}"
    if "not in secure download mode" in lowered or "secure download mode" in lowered:
        return "This chip was locked by whoever used it before (secure download mode). It cannot be flashed by us."
    if "md5 of file does not match" in lowered or "hash of data does not match" in lowered:
        return (
            "What was written does not read back as it should. Try again with --baud 115200; if it happens again, the"
            " board's flash or its power supply is bad."
        )
    if "does not fit" in lowered or "will not fit" in lowered:
        return "The image is larger than the board's flash. Is the board the one that --board says?"
    if any(
        words in lowered
        for words in ("no serial data", "no more data", "timed out", "invalid head", "response doesn't match")
    ):
        return (
            f"The board on {port} stopped answering. Try again with --baud 115200; if it happens again, try"
            " another cable and a port without a hub."
        )
    if any(words in lowered for words in ("disconnected", "input/output error", "device not configured")):
        return f"The board on {port} went away. Is the plug loose? Plug it in and say the same again."
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"esptool failed on {port}: {lines[-1] if lines else 'it said nothing'}"


def no_repl(port: str, board: BoardFile | None) -> str:
    """MicroPython does not answer on the port."""
    return (
        f"MicroPython does not answer on {port}. Press the board's RESET button and say the same again at once. If it"
        f" never answers, there is no MicroPython on it: {boot_hint(board)} Then say the same without"
        " --keep-micropython."
    )


def board_failed(error: str) -> str:
    """The board's own exception, the last line of its traceback; for people where it is a known one."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    last = lines[-1] if lines else "no reason"
    if "ENOSPC" in last or "Errno 28" in last:
        return "The board's file system is full. Flash it with --wipe: that takes everything else off it."
    if "MemoryError" in last:
        return "The board ran out of memory. Press RESET and say the same again."
    if "EROFS" in last or "Errno 30" in last:
        return "The board's file system cannot be written. Flash it with --wipe."
    if "incompatible .mpy file" in last:
        return (
            "The MicroPython on the board is too old or too new for our files. Say the same without --keep-micropython."
        )
    return f"The board says: {last}"
