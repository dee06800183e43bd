"""What flashing has to know: from flags where they say it, else asked of the person at the keyboard.

Makes a plan.Wanted. May import everything in this package but work.py and commands.py.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from thingroom.board_file import BoardFile
from thingroom.boards import find_board, load_boards
from thingroom.flashing import drives, esptool_child, gateway_side, ports
from thingroom.flashing.node_settings import (
    SIMULATED,
    GatewayAddress,
    GatewayKeys,
    Network,
    check_network,
    read_networks,
    sensor_entry,
    usual_profile,
)
from thingroom.flashing.plan import Wanted
from thingroom.flashing.trouble import FlashError
from thingroom_gateway.config import GatewayConfig

_PICOS = ("rp2040", "rp2350")


@dataclass(frozen=True)
class Flags:
    """What the command line said; "" and () where it did not."""

    port: str
    board: str
    image: Path | None
    sha256: str
    keep_micropython: bool
    wipe: bool
    baud: int
    name: str
    place: str
    profile: str
    sensors: tuple[str, ...]
    settings: Path | None
    link: str
    host: str
    gateway_port: int
    wifi: tuple[str, ...]
    wifi_file: Path | None
    no_wifi: bool
    config: Path
    enrols: bool
    gateway_key: str
    gateway_agreement_key: str
    pairing_code: str
    dry_run: bool


def ask(flags: Flags, say: Callable[[str], None]) -> Wanted:
    """Everything that is wanted. Raises FlashError, BoardError, click.Abort."""
    known = load_boards()
    board, port, drive = _which_board(flags, list(known.values()), say)
    gateway = gateway_side.load_gateway(flags.config) if flags.enrols else None
    if gateway is not None and not flags.dry_run:
        gateway_side.check_running(gateway)
    others = _own_settings(flags.settings)
    sensors = [sensor_entry(text) for text in flags.sensors]
    if not sensors and not {"sensor", "sensors", "actuators"} & others.keys():
        usual = SIMULATED if board.port == "unix" else (board.sensors or ("bme280",))[0]
        sensors = [sensor_entry(str(click.prompt("Which sensor is on it", default=usual)))]
    profile = flags.profile or str(others.get("profile", "")) or _profile(sensors, gateway)
    name = flags.name or str(others.get("name", "")) or str(click.prompt("What do you call it", default="Kitchen"))
    link = flags.link or str(others.get("link", "")) or ("serial" if board.links == ("serial",) else board.links[0])
    if link not in board.links:
        raise FlashError(f"{board.name} has no {link}; it has {', '.join(board.links)} (--link).")
    return Wanted(
        board=board,
        port=port,
        image=flags.image,
        sha256=flags.sha256,
        keep_micropython=flags.keep_micropython,
        wipe=flags.wipe,
        baud=flags.baud,
        name=name,
        place=flags.place,
        profile=profile,
        sensors=sensors,
        others=others,
        address=_address(flags, gateway, link, others, board),
        networks=_networks(flags, board, link),
        gateway=gateway,
        keys=_keys(flags),
        pairing_code=flags.pairing_code,
        drive=drive,
    )


def _which_board(
    flags: Flags, known: list[BoardFile], say: Callable[[str], None]
) -> tuple[BoardFile, str, Path | None]:
    """The board, its port ("" for a Pico that is a disk), and that disk."""
    board = find_board(flags.board) if flags.board else None
    there = ports.serial_ports()
    if not flags.port and (board is None or board.chip in _PICOS):
        for chip in (board.chip,) if board is not None else _PICOS:
            if (drive := drives.find_drive(chip, drives.mounted())) is not None:
                say(f"A Pico waits for an image at {drive}.")
                return board or _one_of([one for one in known if one.chip == chip]), "", drive
    port = ports.choose_port(there, known, flags.port)
    if board is not None:
        return board, port.device, None
    likely = ports.boards_of(port, known)
    if len(likely) == 1:
        return likely[0], port.device, None
    if flags.dry_run:
        names = ", ".join(one.name for one in likely or known)
        raise FlashError(f"{port.device} could be any of {names}: say --board. (To ask the chip would restart it.)")
    ports.check_access(port.device)
    esp = [one for one in likely or known if one.port == "esp32"]
    if esp:
        found = esptool_child.find_chip(port.device)
        say(f"{port.device}: {found.title}, {found.mac}.")
        likely = [one for one in esp if one.chip == found.chip]
        if not likely:
            raise FlashError(
                f"There is no board file for an {found.title} yet. See docs/boards.md on how to write one."
            )
    return _one_of(likely or known), port.device, None


def _one_of(boards: list[BoardFile]) -> BoardFile:
    if len(boards) == 1:
        return boards[0]
    for board in boards:
        click.echo(f"  {board.name:<14} {board.title}")
    names = click.Choice([board.name for board in boards])
    chosen = click.prompt("Which board is it", type=names, default=boards[0].name, show_choices=False)
    return next(board for board in boards if board.name == chosen)


def _profile(sensors: list[dict[str, Any]], gateway: GatewayConfig | None) -> str:
    names = gateway_side.profile_names(gateway)
    usual = usual_profile(sensors)
    if usual in names:
        return usual
    return str(click.prompt("Its profile (what its values mean)", type=click.Choice(names), show_choices=False))


def _own_settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FlashError(f"{path} cannot be used as settings: {error}") from None
    if not isinstance(told, dict):
        raise FlashError(f"{path} is not a JSON object, as node.json is.")
    return told


def _address(
    flags: Flags, gateway: GatewayConfig | None, link: str, others: dict[str, Any], board: BoardFile
) -> GatewayAddress:
    if link == "serial":
        return GatewayAddress("serial", flags.host)
    host = flags.host or str(others.get("host", ""))
    if host:
        return GatewayAddress(link, host, flags.gateway_port or int(others.get("port", 0)))
    if gateway is None:
        asked = str(click.prompt("The gateway's name or address"))
        return GatewayAddress(link, asked, flags.gateway_port)
    found = gateway_side.address_for(gateway, link, board.port == "unix")
    return GatewayAddress(link, found.host, flags.gateway_port or found.port)


def _keys(flags: Flags) -> GatewayKeys | None:
    if bool(flags.gateway_key) != bool(flags.gateway_agreement_key):
        raise FlashError("--gateway-key and --gateway-agreement-key go together.")
    return GatewayKeys(flags.gateway_key, flags.gateway_agreement_key) if flags.gateway_key else None


def _networks(flags: Flags, board: BoardFile, link: str) -> list[Network]:
    """Those of the file, those of the flags with passwords asked, else asked one after the other."""
    if board.radio.kind == "none" or link == "serial" or flags.no_wifi:
        return []
    networks: list[Network] = []
    if flags.wifi_file is not None:
        try:
            text = flags.wifi_file.read_text(encoding="utf-8")
            is_open = flags.wifi_file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        except (OSError, UnicodeDecodeError) as error:
            raise FlashError(f"{flags.wifi_file} cannot be read: {error}") from None
        networks += read_networks(text, str(flags.wifi_file))
        if is_open:
            click.echo(f"Others on this computer can read {flags.wifi_file}: chmod 600 {flags.wifi_file}", err=True)
    networks += [_with_password(ssid) for ssid in flags.wifi]
    if networks:
        return networks
    while True:
        question = "Another Wi-Fi network (Enter: no)" if networks else "Wi-Fi network (Enter: none)"
        ssid = str(click.prompt(question, default="", show_default=False))
        if not ssid:
            return networks
        networks.append(_with_password(ssid))


def _with_password(ssid: str) -> Network:
    password = click.prompt(f"Password of {ssid} (Enter: none)", hide_input=True, default="", show_default=False)
    network = Network(ssid, str(password))
    check_network(network)
    return network
