"""The boards that there are: board_configs/*.toml, checked as a whole, and the board.json that goes onto a board.

May import board_file and msgspec. board_commands.py lists and explains; whoever flashes a board takes `board_json`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from thingroom.board_file import BoardFile, I2cFile, OneWireFile, SpiFile, UartFile

# esptool's chip: where the boot loader is, hence where MicroPython's combined image goes; and mpy-cross -march.
OFFSETS = {"esp32": 0x1000, "esp32s3": 0, "esp32c3": 0, "esp32c6": 0}
ARCHITECTURES = {
    "esp32": "xtensawin",
    "esp32s3": "xtensawin",
    "esp32c3": "rv32imc",
    "esp32c6": "rv32imc",
    "rp2040": "armv6m",
    "rp2350": "armv7emsp",
    "mps2-an385": "armv7m",
    "host": "x64",
}
SUFFIXES = {"esp32": ".bin", "rp2": ".uf2"}


class BoardError(Exception):
    """A board file cannot be used, or there is no such board; the message is for people."""


def board_directory() -> Path:
    """Where our board files are: in the installed wheel, else in the repository this file is part of."""
    packaged = Path(__file__).parent / "data" / "board_configs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "board_configs"


def load_boards() -> dict[str, BoardFile]:
    """All boards of ours by name. Raises BoardError."""
    return {path.stem: load_board(path) for path in sorted(board_directory().glob("*.toml"))}


def find_board(name: str) -> BoardFile:
    """The board called `name`, or of the file `name` where it is a path to one. Raises BoardError."""
    if name.endswith(".toml"):
        return load_board(Path(name))
    path = board_directory() / f"{name}.toml"
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in board_directory().glob("*.toml")))
        raise BoardError(f"There is no board {name}; there are {there}. A file of your own: its path, NAME.toml.")
    return load_board(path)


def load_board(path: Path) -> BoardFile:
    """The board of the file `path`, which is right as a whole. Raises BoardError."""
    try:
        board = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), BoardFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BoardError(f"{path}: {error}") from error
    troubles = [f"the board is called {board.name}, so the file must be {board.name}.toml"] * (board.name != path.stem)
    troubles += list(_troubles(board))
    if troubles:
        raise BoardError("\n".join(f"{path}: {trouble}" for trouble in troubles))
    return board


def board_json(board: BoardFile) -> bytes:
    """What hardware.py on the board needs to know of it: buses, light, battery. Small, as it lies in its flash."""
    told: dict[str, Any] = {"name": board.name, "port": board.port, "buses": msgspec.to_builtins(board.buses)}
    if board.led is not None:
        told["led"] = msgspec.to_builtins(board.led)
    if board.power.battery is not None:
        told["battery"] = msgspec.to_builtins(board.power.battery)
    return json.dumps(told, separators=(",", ":")).encode()


def bus_pins(bus: I2cFile | SpiFile | UartFile | OneWireFile) -> dict[str, int | str]:
    """The pins of a bus by what they are for."""
    match bus:
        case I2cFile():
            pins = {"scl": bus.scl, "sda": bus.sda}
            return {use: pin for use, pin in pins.items() if pin is not None}
        case SpiFile():
            return {"sck": bus.sck, "mosi": bus.mosi, "miso": bus.miso}
        case UartFile():
            return {"tx": bus.tx, "rx": bus.rx}
        case OneWireFile():
            return {"data": bus.pin}


def _troubles(board: BoardFile) -> Iterator[str]:
    if board.mpy_arch != ARCHITECTURES[board.chip]:
        yield f"mpy_arch: MicroPython on {board.chip} runs {ARCHITECTURES[board.chip]}"
    yield from _image_troubles(board)
    yield from _pin_troubles(board)
    if board.radio.kind == "none" and board.port in SUFFIXES and board.links != ("serial",):
        yield "links: without a radio there is only serial"
    if board.storage.bytes > board.flash_bytes:
        yield "storage: there is more of it than flash"
    if board.heap_bytes > (board.ram_bytes or board.heap_bytes):
        yield "heap_bytes: that is more than the chip's memory"


def _image_troubles(board: BoardFile) -> Iterator[str]:
    if board.image is None:
        if board.port in SUFFIXES:
            yield "image: there is none to flash"
        return
    suffix = SUFFIXES.get(board.port)
    if suffix is None:
        yield f"image: nothing is downloaded for the port {board.port}"
    elif not board.image.url.endswith(suffix):
        yield f"image.url: an image for {board.port} ends with {suffix}"
    if board.image.offset != OFFSETS.get(board.chip, 0):
        yield f"image.offset: that of a {board.chip} is {OFFSETS.get(board.chip, 0):#x}"
    if board.boot is None:
        yield "boot: say what to do when the board does not listen"


def _pin_troubles(board: BoardFile) -> Iterator[str]:
    taken: dict[int | str, str] = dict.fromkeys(board.reserved, "reserved")
    if board.led is not None:
        taken[board.led.pin] = "led"
    names: set[str] = set()
    for bus in board.buses:
        if bus.name in names:
            yield f"buses: {bus.name} is there twice"
        names.add(bus.name)
        if isinstance(bus, I2cFile) and (bus.scl is None) != (bus.sda is None):
            yield f"buses: {bus.name} has one pin of two"
        for use, pin in bus_pins(bus).items():
            if pin in taken:
                yield f"buses: {bus.name} has its {use} on pin {pin}, which is taken: {taken[pin]}"
            taken[pin] = bus.name
    if board.power.battery is not None and board.power.battery.pin in taken:
        yield f"power.battery: pin {board.power.battery.pin} is taken: {taken[board.power.battery.pin]}"
    if board.boot is not None and board.boot.pin is not None and board.boot.pin in taken:
        yield f"boot: pin {board.boot.pin} is taken: {taken[board.boot.pin]}"
