"""Carries out a plan: the image, the files, the key, the enrolment, the settings, the start.

Each step can be done again: an interrupted run is continued by saying the same. Of the files only those that differ are
written. main.py comes last, so a board that lost its cable in between waits at its REPL instead of running half an
application. May import everything in this package; commands.py calls `Work`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from thingroom.boards import board_json, load_boards
from thingroom.flashing import board_scripts, drives, esptool_child, gateway_side, images, ports, repl
from thingroom.flashing.esp_image import image_trouble
from thingroom.flashing.node_settings import GatewayKeys, node_json
from thingroom.flashing.plan import Kind, Wanted, make_plan
from thingroom.flashing.trouble import FlashError, boot_hint, wrong_chip
from thingroom.flashing.uf2 import uf2_trouble
from thingroom_common import firmware_image

SLOT = "/app/a"
# The node's own record of which slot runs; without it the first one does.
_SLOT_STATE = ("/state/slot", "/state/slot.new")
_DRIVE_SECONDS = 60
_RETURN_SECONDS = 30
_START_SECONDS = 60
# MicroPython's .mpy format of the last years: version 6.
_MPY_VERSION = 6

Progress = Callable[[int, int], None]


class Screen(Protocol):
    """Where the work is told."""

    def say(self, text: str) -> None: ...

    def progress(self, label: str) -> AbstractContextManager[Progress]: ...


@dataclass(frozen=True)
class Flashed:
    """What came of it: the device's public keys in hex, and what it is enrolled as ("" where it is not)."""

    kid: str
    key: str
    agreement_key: str
    enrolled_as: str
    version: str
    port: str


class Work:
    """One board. `run` carries out the plan of `wanted`."""

    def __init__(self, wanted: Wanted, screen: Screen, cache: Path, connect_seconds: float = 15) -> None:
        self._wanted = wanted
        self._screen = screen
        self._cache = cache
        self._connect_seconds = connect_seconds
        self._port = wanted.port
        self._image_path: Path | None = None
        self._image_data = b""
        self._version = ""
        self._main = b""
        self._keys = wanted.keys
        self._flashed = Flashed("", "", "", "", "", wanted.port)
        self._board: repl.Board | None = None

    def run(self) -> Flashed:
        """Raises FlashError."""
        actions = {
            Kind.IMAGE: self._get_image,
            Kind.WRITE_ESP: self._write_esp,
            Kind.WRITE_UF2: self._write_uf2,
            Kind.INTERRUPT: self._interrupt,
            Kind.WIPE: self._wipe,
            Kind.COPY: self._copy,
            Kind.KEY: self._read_key,
            Kind.ENROL: self._enrol,
            Kind.SETTINGS: self._write_settings,
            Kind.START: self._start,
        }
        try:
            for step in make_plan(self._wanted):
                actions[step.kind]()
        finally:
            if self._board is not None:
                self._board.close()
        return self._flashed

    @property
    def _there(self) -> repl.Board:
        assert self._board is not None
        return self._board

    def _get_image(self) -> None:
        wanted, board = self._wanted, self._wanted.board
        assert board.image is not None
        if wanted.image is not None:
            got = images.local_image(wanted.image, wanted.sha256)
        else:
            with self._screen.progress("Getting MicroPython") as progress:
                got = images.get_image(board.image.url, wanted.sha256 or board.image.sha256, self._cache, progress)
        self._image_path, self._image_data = got.path, got.path.read_bytes()
        if board.port == "esp32":
            trouble = image_trouble(self._image_data, board.chip, board.flash_bytes - board.image.offset)
        else:
            trouble = uf2_trouble(self._image_data, board.chip, board.flash_bytes)
        if trouble:
            raise FlashError(f"{got.path}: {trouble}")
        self._screen.say(f"Image {got.path.name}, {len(self._image_data)} bytes. {got.note}")

    def _write_esp(self) -> None:
        wanted = self._wanted
        assert self._image_path is not None
        ports.check_access(self._port)
        found = esptool_child.find_chip(self._port, board=wanted.board)
        if found.chip != wanted.board.chip:
            raise FlashError(
                wrong_chip(
                    found.chip, wanted.board, [one.name for one in load_boards().values() if one.chip == found.chip]
                )
            )
        if 0 < found.flash_bytes < wanted.board.flash_bytes:
            self._screen.say(
                f"This board has {found.flash_bytes >> 20} MiB of flash, its file says"
                f" {wanted.board.flash_bytes >> 20}."
            )
        self._screen.say(f"Found an {found.title}, {found.mac}.")
        with self._screen.progress("Writing MicroPython") as progress:
            esptool_child.write_image(self._port, wanted.board, self._image_path, wanted.baud, wanted.wipe, progress)

    def _write_uf2(self) -> None:
        wanted = self._wanted
        drive = wanted.drive
        if drive is None:
            self._to_disk()
            drive = drives.wait_for_drive(wanted.board, _DRIVE_SECONDS)
        before = [port.device for port in ports.serial_ports()]
        with self._screen.progress("Copying MicroPython") as progress:
            drives.copy_image(self._image_data, drive, wanted.board, progress)
        port = ports.wait_for_port(wanted.board.usb, before, _RETURN_SECONDS)
        if port is None and not self._port:
            raise FlashError(
                "The image was copied, but the board did not come back as a serial port. Plug it in again and say the"
                " same with --keep-micropython."
            )
        self._port = port.device if port is not None else self._port

    def _to_disk(self) -> None:
        """With a MicroPython that runs, no button has to be pressed."""
        try:
            with repl.Board(self._port, self._wanted.board) as board:
                board.connect(3)
                board.to_boot_loader()
        except FlashError:
            self._screen.say(f"Waiting for the board's disk. {boot_hint(self._wanted.board)}")

    def _interrupt(self) -> None:
        board = self._wanted.board
        self._board = repl.Board(self._port, board)
        self._board.connect(self._connect_seconds)
        if self._board.run(board_scripts.HOLD)["held"]:
            # A node's watchdog goes on after an interrupt; after a reset without main.py there is none.
            self._board.restart()
            self._board.connect(self._connect_seconds)
        about = self._board.about()
        if about.platform not in board.platforms:
            raise FlashError(
                f"MicroPython for {about.platform} runs there ({about.machine}), {board.name} has it for"
                f" {', '.join(board.platforms)}. Say another --board."
            )
        if about.mpy & 0xFF != _MPY_VERSION:
            raise FlashError(
                "The MicroPython on the board is too old for our files. Say it without --keep-micropython."
            )
        version = ".".join(map(str, about.version))
        self._screen.say(f"MicroPython {version} runs there ({about.machine}), {about.free // 1024} KiB are free.")

    def _wipe(self) -> None:
        self._there.run(board_scripts.WIPE)

    def _copy(self) -> None:
        board = self._wanted.board
        image = _built(board.mpy_arch)
        self._version = image.version
        starters = firmware_image.flash_files()
        self._main = starters["main.py"]
        application = {f"{SLOT}/{path}": data for path, data in sorted(image.files.items())}
        application |= {"/boot.py": starters["boot.py"], "/board.json": board_json(board)}
        there, others = self._there.digests(list(application))
        stale = [path for path in others if path not in application]
        differing = {path: data for path, data in application.items() if _digest(data) != there[path]}
        if stale:
            self._there.run(board_scripts.REMOVE, PATHS=stale)
        self._check_room(differing)
        if differing:
            with self._screen.progress("Copying the application") as progress:
                self._there.put(differing, progress)
        self._there.run(board_scripts.REMOVE, PATHS=list(_SLOT_STATE))
        self._screen.say(
            f"Thingroom {image.version}: {len(differing)} of {len(application)} files copied,"
            f" {sum(map(len, differing.values()))} bytes; all of them read back right."
        )

    def _check_room(self, files: dict[str, bytes]) -> None:
        about = self._there.about()
        # littlefs takes whole blocks of 4 KiB, small files less; ours are near 2 KiB on average.
        need = sum(len(data) for data in files.values())
        if need > about.free:
            raise FlashError(
                f"The application needs {need // 1024} KiB, the board has {about.free // 1024} KiB free of"
                f" {about.size // 1024}. Flash it with --wipe: that takes everything else off it."
            )

    def _read_key(self) -> None:
        told = self._there.run(board_scripts.IDENTITY)
        self._flashed = Flashed(told["kid"], told["key"], told["agreement_key"], "", self._version, self._port)
        self._screen.say(f"{'A new key' if told['new'] else 'Its key'}: {told['kid']} (public key {told['key']}).")

    def _enrol(self) -> None:
        wanted, flashed = self._wanted, self._flashed
        assert wanted.gateway is not None
        done = gateway_side.enrol(
            wanted.gateway, flashed.key, flashed.agreement_key, wanted.name, wanted.place, wanted.profile
        )
        self._keys = GatewayKeys(done.keys.key, done.keys.agreement_key)
        self._flashed = Flashed(
            flashed.kid, flashed.key, flashed.agreement_key, done.name, flashed.version, flashed.port
        )
        self._screen.say(
            f"It is enrolled as {done.name}." if done.fresh else f"It was enrolled already, as {done.name}."
        )

    def _write_settings(self) -> None:
        wanted = self._wanted
        settings = node_json(
            name=wanted.name,
            profile=wanted.profile,
            sensors=wanted.sensors,
            address=wanted.address,
            networks=wanted.networks,
            keys=self._keys,
            pairing_code=wanted.pairing_code,
            others=wanted.others,
        )
        self._there.put({"/node.json": settings, "/main.py": self._main}, lambda done, total: None)

    def _start(self) -> None:
        for line in self._there.restart_and_listen(_START_SECONDS):
            event = event_of(line)
            if event.get("event") == "stopped":
                raise FlashError(f"The node stopped: {event.get('reason')} Mend that and say the same again.")
            if event.get("event") == "key" and event.get("kid") != self._flashed.kid:
                raise FlashError("The board has another key than before. Flash it again with --wipe.")
            if "event" in event:
                self._screen.say("The node runs.")
                return
        raise FlashError(
            "Everything is written, but the node does not tell that it runs. See what it says: thingroom monitor"
            f" {self._port}"
        )


def event_of(line: str) -> dict[str, object]:
    """The event in a line of a node's output, {} for any other line."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


@cache
def _built(architecture: str) -> firmware_image.Image:
    """Compiled once, however many boards are flashed. Raises FlashError."""
    try:
        return firmware_image.build(architecture)
    except firmware_image.ImageError as error:
        raise FlashError(str(error)) from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
