"""What flashing is going to do, in order, as data: shown by --dry-run, carried out by work.py. Pure.

May import node_settings and board_file. Each step has a kind, which work.py knows, and a text for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from thingroom.board_file import BoardFile
from thingroom.flashing.node_settings import GatewayAddress, GatewayKeys, Network
from thingroom_gateway.config import GatewayConfig


class Kind(Enum):
    """What a step is, for work.py."""

    IMAGE = "image"
    WRITE_ESP = "write_esp"
    WRITE_UF2 = "write_uf2"
    INTERRUPT = "interrupt"
    WIPE = "wipe"
    COPY = "copy"
    KEY = "key"
    ENROL = "enrol"
    SETTINGS = "settings"
    START = "start"


@dataclass(frozen=True)
class Wanted:
    """Everything that flags, files and questions have told.

    `port` is "" for a Pico that is a disk; `gateway` is the configuration of the gateway that enrols, None for nobody.
    `keys` and `pairing_code` are how a board without it finds its gateway.
    """

    board: BoardFile
    port: str
    image: Path | None
    sha256: str
    keep_micropython: bool
    wipe: bool
    baud: int
    name: str
    place: str
    profile: str
    sensors: list[dict[str, Any]]
    others: dict[str, Any]
    address: GatewayAddress
    networks: list[Network]
    gateway: GatewayConfig | None = None
    keys: GatewayKeys | None = None
    pairing_code: str = field(default="", repr=False)
    drive: Path | None = None


@dataclass(frozen=True)
class Step:
    kind: Kind
    text: str


def make_plan(wanted: Wanted) -> list[Step]:
    """The steps, in order."""
    board = wanted.board
    where = wanted.port or f"the disk {wanted.drive}"
    steps: list[Step] = []
    if board.image is not None and not wanted.keep_micropython:
        source = wanted.image or board.image.url
        steps.append(Step(Kind.IMAGE, f"Get MicroPython: {source}; check that it is for an {board.chip}"))
        if board.port == "esp32":
            erased = "erase the whole flash, keys and readings with it, and " if wanted.wipe else ""
            text = f"Put {where} into its boot loader, {erased}write MicroPython at {board.image.offset:#x}, verify it"
            steps.append(Step(Kind.WRITE_ESP, text))
        else:
            steps.append(Step(Kind.WRITE_UF2, f"Turn {where} into a disk, copy MicroPython onto it"))
    steps.append(Step(Kind.INTERRUPT, f"Stop what runs on {where}, ask MicroPython what it is"))
    if wanted.wipe:
        steps.append(Step(Kind.WIPE, "Take everything off its file system: its key and unsent readings are lost"))
    steps.append(
        Step(Kind.COPY, f"Copy the application for {board.mpy_arch}, only files that differ, and read them back")
    )
    steps.append(Step(Kind.KEY, "Let the board make its key if it has none, and read the public one"))
    if wanted.gateway is not None:
        place = f" in {wanted.place}" if wanted.place else ""
        steps.append(Step(Kind.ENROL, f"Enrol it at the gateway as {wanted.name}{place}, profile {wanted.profile}"))
    settings = [f"link {wanted.address.link}"]
    if wanted.address.host:
        settings.append(
            f"gateway at {wanted.address.host}" + (f":{wanted.address.port}" if wanted.address.port else "")
        )
    settings += [f"Wi-Fi {network.ssid}" for network in wanted.networks]
    settings += ["sensor " + str(sensor["driver"]) for sensor in wanted.sensors]
    steps.append(Step(Kind.SETTINGS, f"Write its settings: {', '.join(settings)}"))
    steps.append(Step(Kind.START, "Start it, and wait until it tells its key"))
    return steps
