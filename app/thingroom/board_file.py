"""The shape of a board file, board_configs/*.toml, as structs: what may stand in it and what each key means.

May import msgspec only. boards.py checks a file as a whole and makes board.json of it; the JSON schema for editors
(board_configs/schema.json) is generated from these structs.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

SCHEMA_TITLE: Final = "A Thingroom board"
# A number, or a name that the board's MicroPython knows: "LED".
Pin = Annotated[int, Meta(ge=0, le=56)] | Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,15}$")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,15}$")]


class ImageFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[image]: the MicroPython that goes onto the board."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^https://micropython\.org/resources/firmware/[A-Z0-9_]+(-[A-Z0-9_]+)?-20[0-9]{6}-v[0-9]+\.[0-9]+"
            r"\.[0-9]+\.(bin|uf2)$",
            description="Where it is: <BOARD>[-<VARIANT>]-<date>-v<version>.bin (esptool) or .uf2 (drag and drop).",
        ),
    ]
    sha256: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{64})?$",
            description="Its digest. Empty: not known here; whoever flashes notes the one of the first download.",
        ),
    ] = ""
    offset: Annotated[int, Meta(ge=0, le=0x10000, description="Where in the flash a .bin goes; 0 for .uf2.")] = 0


class I2cFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="i2c", tag_field="kind"):
    """[[buses]] of kind i2c."""

    name: Annotated[Name, Meta(description="What sensors call it: i2c0. The first is the one they mean by default.")]
    id: Annotated[int, Meta(ge=0, le=3, description="MicroPython's number of it.")]
    scl: Annotated[Pin, Meta(description="The clock's pin; left out where the bus has no other.")] | None = None
    sda: Annotated[Pin, Meta(description="The data's pin; likewise.")] | None = None
    frequency: Annotated[int, Meta(ge=10_000, le=1_000_000, description="Hertz.")] = 100_000


class SpiFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="spi", tag_field="kind"):
    """[[buses]] of kind spi."""

    name: Annotated[Name, Meta(description="What drivers call it: spi1.")]
    id: Annotated[int, Meta(ge=0, le=3, description="MicroPython's number of it.")]
    sck: Annotated[Pin, Meta(description="The clock's pin.")]
    mosi: Annotated[Pin, Meta(description="Data from the board.")]
    miso: Annotated[Pin, Meta(description="Data to the board.")]


class UartFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="uart", tag_field="kind"):
    """[[buses]] of kind uart; not the one that the console is on."""

    name: Annotated[Name, Meta(description="What sensors call it: uart1.")]
    id: Annotated[int, Meta(ge=0, le=3, description="MicroPython's number of it.")]
    tx: Annotated[Pin, Meta(description="The board's sending pin, to RX of the part.")]
    rx: Annotated[Pin, Meta(description="The board's receiving pin, to TX of the part.")]


class OneWireFile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="onewire", tag_field="kind"
):
    """[[buses]] of kind onewire."""

    name: Annotated[Name, Meta(description="What it is called: onewire.")]
    pin: Annotated[Pin, Meta(description="Where DS18B20 are, unless they say another pin.")]


Bus = I2cFile | SpiFile | UartFile | OneWireFile


class LedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[led]: the light on the board."""

    kind: Annotated[Literal["gpio", "neopixel"], Meta(description="A plain LED, or one NeoPixel (WS2812B).")]
    pin: Annotated[Pin, Meta(description="Its pin, or the name that MicroPython has for it.")]
    active_low: Annotated[bool, Meta(description="It is on while the pin is low.")] = False


class BootFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[boot]: how people get it to take a new image."""

    button: Annotated[str, Meta(max_length=16, description="What is printed beside the button.")] = ""
    pin: Annotated[Pin, Meta(description="The pin it is on.")] | None = None
    hint: Annotated[str, Meta(max_length=300, description="What to do when the board is not found or does not listen.")]


class RadioFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[radio]."""

    kind: Annotated[Literal["wifi", "none"], Meta(description="none: serial line only, or the host's network.")]
    standards: Annotated[str, Meta(max_length=60, description="Which Wi-Fi, for people.")] = ""


class BatteryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[power.battery]: an analogue input that is wired to the supply on the board itself."""

    pin: Annotated[Pin, Meta(description="The analogue pin.")]
    divider: Annotated[
        tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=1)]],
        Meta(description="The resistors in front of it, towards the supply and towards ground: [200, 100]."),
    ]


class PowerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[power]."""

    deep_sleep: Annotated[bool, Meta(description="machine.deepsleep turns nearly everything off and starts again.")]
    sleep_microamperes: Annotated[
        int, Meta(ge=0, description="What the whole board takes meanwhile, by its maker; 0: not told.")
    ] = 0
    rtc_memory_bytes: Annotated[int, Meta(ge=0, description="What machine.RTC().memory keeps over a deep sleep.")] = 0
    wake_pins: Annotated[tuple[Pin, ...], Meta(description="Pins that can end a deep sleep.")] = ()
    charger: Annotated[bool, Meta(description="It charges a lithium cell.")] = False
    battery: Annotated[BatteryFile, Meta(description="How it measures its supply.")] | None = None


class StorageFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[storage]: where files are."""

    kind: Annotated[
        Literal["littlefs", "posix", "memory"],
        Meta(description="littlefs in flash; posix: the host's; memory: gone with the power."),
    ]
    bytes: Annotated[
        int, Meta(ge=0, description="For files, as the image partitions the flash; 0: the host's disk.")
    ] = 0


class ClockFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[clock]."""

    battery_backed: Annotated[bool, Meta(description="It knows the time after a power cut.")] = False


class BoardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole board_configs/*.toml."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="The board's name, and that of its file.")]
    title: Annotated[str, Meta(min_length=1, max_length=60, description="What people call it.")]
    about: Annotated[str, Meta(max_length=500, description="What to know: revisions, clones, pins with a catch.")] = ""
    sources: Annotated[tuple[str, ...], Meta(min_length=1, description="Where each fact comes from.")]
    port: Annotated[Literal["esp32", "rp2", "unix", "mps2"], Meta(description="MicroPython's port.")]
    chip: Annotated[
        Literal["esp32", "esp32s3", "esp32c3", "esp32c6", "rp2040", "rp2350", "mps2-an385", "host"],
        Meta(description="As esptool calls it, for an ESP32."),
    ]
    mpy_arch: Annotated[
        Literal["xtensawin", "rv32imc", "armv6m", "armv7m", "armv7emsp", "x64"],
        Meta(description="mpy-cross -march."),
    ]
    word_bits: Annotated[Literal[32, 64], Meta(description="Of MicroPython's words.")] = 32
    flash_bytes: Annotated[int, Meta(ge=0, description="Of the whole flash; 0: none of its own.")] = 0
    ram_bytes: Annotated[int, Meta(ge=0, description="Of the chip; 0: the host's.")] = 0
    heap_bytes: Annotated[int, Meta(ge=1, description="The heap that the node may rely on.")]
    platforms: Annotated[tuple[str, ...], Meta(min_length=1, description="sys.platform as MicroPython says it.")]
    main: Annotated[str, Meta(description="The program, below firmware/, where the board has one of its own.")] = ""
    links: Annotated[
        tuple[Literal["mqtt", "coap", "serial"], ...], Meta(min_length=1, description="How it can reach a gateway.")
    ]
    sensors: Annotated[
        tuple[str, ...], Meta(description="Sensors that are there without wires: simulated, or in an emulator.")
    ] = ()
    usb: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")], ...],
        Meta(description="USB vendor and product under which its port appears."),
    ] = ()
    adc: Annotated[tuple[Pin, ...], Meta(description="Analogue pins that work while the radio is on.")] = ()
    reserved: Annotated[tuple[Pin, ...], Meta(description="Pins to leave alone: flash, memory, console.")] = ()
    image: Annotated[ImageFile, Meta(description="The MicroPython for it.")] | None = None
    buses: Annotated[tuple[Bus, ...], Meta(description="Buses and their usual pins.")] = ()
    led: Annotated[LedFile, Meta(description="The light on the board.")] | None = None
    boot: Annotated[BootFile, Meta(description="How to flash it by hand.")] | None = None
    radio: Annotated[RadioFile, Meta(description="How it is on the air.")]
    power: Annotated[PowerFile, Meta(description="Sleep and supply.")]
    storage: Annotated[StorageFile, Meta(description="Where files are.")]
    clock: Annotated[ClockFile, Meta(description="What it knows of the time.")] = ClockFile()


def json_schema() -> str:
    """The JSON schema (draft 2020-12) of a board file, for editors that complete TOML (schema.json)."""
    schema = msgspec.json.schema(BoardFile)
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA_TITLE}
    return json.dumps({**heading, **schema}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
