"""`thingroom status`: how everything is, at a glance, also when parts of it are down.

Asks the homeserver and the gateway at once, each for a moment only; `judge` turns what they said into lines, pure. May
import rich, aiohttp, the gateway's control socket and status, the homeserver's configuration.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thingroom_common.version import version
from thingroom_gateway import config as gateway_config
from thingroom_gateway import control
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.registration import RegistrationError, load_registration
from thingroom_gateway.status import Status, stored_status

WAIT_SECONDS = 3.0
# What waits longer than this for a homeserver that answers is stuck.
STUCK_MS = 10 * 60_000
LITTLE_DISK_BYTES = 500_000_000
LITTLE_DISK_PART = 0.03

PROGRAMS = ("Homeserver", "Gateway", "MQTT")

State = Literal["ok", "note", "wrong"]
_MARKS = {"ok": "[green]●[/]", "note": "[yellow]●[/]", "wrong": "[red]●[/]"}


@dataclass(frozen=True)
class Line:
    """One part: how it is, in words, and what to do about it."""

    part: str
    state: State
    text: str
    do: str = ""


@dataclass(frozen=True)
class HomeserverAnswer:
    """What the homeserver said. `why` is empty when it answers; `bot` is empty when it does not know the gateway."""

    url: str
    why: str = ""
    software: str = ""
    bot: str = ""
    bot_why: str = ""


def show(
    config_file: Path, console: Console, as_json: bool, programs_only: bool = False, wait: float = WAIT_SECONDS
) -> int:
    """Ask everybody, print; the exit code: 0 all is well, 1 something is wrong. Raises ConfigError.

    `wait` is how many seconds each may take. `programs_only`: what depends on devices and disks is left out, as a
    health check wants it.
    """
    config = gateway_config.load(config_file)
    homeserver, gateway, why = asyncio.run(_ask_all(config, wait))
    lines = judge(config, homeserver, gateway, why, time.time_ns() // 1_000_000)
    if programs_only:
        lines = [line for line in lines if line.part in PROGRAMS]
    wrong = any(line.state == "wrong" for line in lines)
    if as_json:
        everything = {
            "ok": not wrong,
            "version": version(),
            "homeserver": asdict(homeserver),
            "gateway": None if gateway is None else msgspec.to_builtins(gateway),
            "lines": [asdict(line) for line in lines],
        }
        console.print_json(json.dumps(everything))
    else:
        _print(console, lines, wrong)
    return int(wrong)


async def _ask_all(config: GatewayConfig, wait: float) -> tuple[HomeserverAnswer, Status | None, str]:
    timeout = aiohttp.ClientTimeout(total=wait)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        homeserver, (gateway, why) = await asyncio.gather(
            _ask_homeserver(session, config), asyncio.to_thread(_ask_gateway, config, wait)
        )
    return homeserver, gateway, why


def _ask_gateway(config: GatewayConfig, wait: float) -> tuple[Status | None, str]:
    """What the gateway says, else its database; and why it does not run, empty if it does."""
    why = ""
    try:
        answer = control.ask(config.directory, {"command": "status"}, wait)
        if answer.get("ok"):
            return msgspec.convert(answer["status"], Status, strict=False), ""
        why = f"it is of another version ({answer.get('error')})"
    except TimeoutError:
        why = "it does not answer"
    except (OSError, ValueError):
        why = "it is not running"
    try:
        return stored_status(config), why
    except (OSError, sqlite3.Error) as error:
        return None, f"{why}, and its database cannot be read ({error})"


async def _ask_homeserver(session: aiohttp.ClientSession, config: GatewayConfig) -> HomeserverAnswer:
    url = config.homeserver_url.rstrip("/")
    try:
        async with session.get(f"{url}/_matrix/client/versions") as response:
            if not response.ok:
                return HomeserverAnswer(url, why=f"it answers {response.status}")
            await response.read()
    except TimeoutError:
        return HomeserverAnswer(url, why="it does not answer in time")
    except aiohttp.ClientError as error:
        return HomeserverAnswer(url, why=f"it cannot be reached ({_words(error)})")
    software, (bot, why) = await asyncio.gather(_software(session, url), _whoami(session, url, config))
    return HomeserverAnswer(url, software=software, bot=bot, bot_why=why)


async def _software(session: aiohttp.ClientSession, url: str) -> str:
    """ "Synapse 1.119.0"; empty where it does not say."""
    answer = await _json(session, f"{url}/_matrix/federation/v1/version")
    server = answer.get("server")
    if isinstance(server, dict):
        return f"{server.get('name', '')} {server.get('version', '')}".strip()
    # Ours says it to those too who may not federate with it.
    server = (await _json(session, f"{url}/health")).get("server")
    return server if isinstance(server, str) else ""


async def _whoami(session: aiohttp.ClientSession, url: str, config: GatewayConfig) -> tuple[str, str]:
    """The user id by which the homeserver knows the gateway; else empty, and why."""
    try:
        token = load_registration(Path(config.registration_file)).as_token
    except RegistrationError as error:
        return "", str(error)
    answer = await _json(session, f"{url}/_matrix/client/v3/account/whoami", {"Authorization": f"Bearer {token}"})
    user = answer.get("user_id")
    return (user, "") if isinstance(user, str) else ("", f"it answers {answer.get('errcode', 'nothing of use')}")


async def _json(session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    try:
        async with session.get(url, headers=headers) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _words(error: aiohttp.ClientError) -> str:
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    return (os.strerror(number) if number else str(error) or type(error).__name__).lower()


# --- what it means -------------------------------------------------------------------------------------------------


def judge(
    config: GatewayConfig, homeserver: HomeserverAnswer, gateway: Status | None, why: str, now: int
) -> list[Line]:
    """What to show, in order. `now` and the times in it are Unix ms. Pure but for the free disk."""
    lines = [_homeserver(homeserver)]
    if gateway is None:
        lines.append(Line("Gateway", "wrong", why or "it has never run here", _START))
        return [*lines, *_disk(config.directory)]
    lines.append(_gateway(gateway, why, now))
    lines += _links(config, gateway)
    lines.append(_outbox(gateway, homeserver, now))
    lines.append(_devices(gateway))
    lines += _news(gateway)
    return [*lines, *_disk(config.directory)]


_START = "Start it: thingroom run (everything), or thingroom gateway run."


def _homeserver(answer: HomeserverAnswer) -> Line:
    if answer.why:
        return Line(
            "Homeserver",
            "wrong",
            f"{answer.url}: {answer.why}",
            "Start it: thingroom run, or thingroom homeserver run; else change homeserver_url in [gateway].",
        )
    where = f"{answer.software or 'up'} at {answer.url}"
    if not answer.bot:
        return Line(
            "Homeserver",
            "wrong",
            f"{where}, but it does not know the gateway: {answer.bot_why}",
            "See what is amiss: thingroom gateway register --check",
        )
    return Line("Homeserver", "ok", f"{where}, the gateway is {answer.bot}")


def _gateway(status: Status, why: str, now: int) -> Line:
    if not status.running:
        return Line("Gateway", "wrong", why, _START)
    if status.stalled:
        return Line(
            "Gateway", "wrong", "it cannot write to its database; devices keep their readings", "Look at its disk."
        )
    text = f"version {status.version}, up for {_span(now - status.started_at)}"
    if status.needs_restart:
        keys = ", ".join(status.needs_restart)
        return Line("Gateway", "note", text, f"Changed in the file, and in use after a restart: {keys}.")
    return Line("Gateway", "ok", text + (", pairing is open" if status.pairing_open else ""))


def _links(config: GatewayConfig, status: Status) -> list[Line]:
    lines = []
    for broker in status.brokers:
        part = "MQTT" if broker.devices == "signed" else "Plain MQTT"
        if broker.connected:
            lines.append(Line(part, "ok", f"connected to {broker.address}"))
        else:
            cure = "Start that broker; or its address and password are in [gateway.mqtt]. The gateway's log says more."
            lines.append(Line(part, "wrong", f"not connected to {broker.address}", cure))
    if status.coap:
        lines.append(Line("CoAP", "ok", f"listens on {status.coap}"))
    if status.running and status.serial_wanted:
        missing = [port for port in status.serial_wanted if not _is_pattern(port) and port not in status.serial_open]
        open_ports = ", ".join(status.serial_open) or "no port is open"
        if missing:
            text = f"{open_ports}; not open: {', '.join(missing)}"
            lines.append(Line("Serial", "wrong", text, "Plug the board in; else change ports in [gateway.serial]."))
        else:
            lines.append(Line("Serial", "ok", open_ports))
    if status.running and not lines:
        lines.append(
            Line("Links", "wrong", "none is on", "Turn one on: [gateway.mqtt], [gateway.coap] or [gateway.serial].")
        )
    if status.running and config.dashboard.enabled:
        scheme = "https" if config.dashboard.tls_certificate else "http"
        lines.append(Line("Dashboard", "ok", config.dashboard.public_url or f"{scheme}://{config.dashboard.listen}"))
    return lines


def _is_pattern(port: str) -> bool:
    """Whether it is right that nothing is plugged in."""
    return any(character in port for character in "*?[")


def _outbox(status: Status, homeserver: HomeserverAnswer, now: int) -> Line:
    asked = status.homeserver
    last = f"; the homeserver answered last {_span(now - asked.last_ok_at)} ago" if asked.last_ok_at else ""
    if status.outbox_parked:
        return Line(
            "Outbox",
            "wrong",
            f"{_count(status.outbox_parked, 'message')} refused by the homeserver for good" + last,
            "The gateway's log says why; when that is mended: thingroom gateway retry-parked",
        )
    if not status.outbox_waiting:
        return Line("Outbox", "ok", "empty" + last)
    age = now - status.outbox_oldest_at if status.outbox_oldest_at else 0
    text = f"{_count(status.outbox_waiting, 'message')} to be sent, the oldest since {_span(age)}" + last
    if status.running and age > STUCK_MS and not homeserver.why:
        why = asked.why or "the gateway's log says why"
        return Line("Outbox", "wrong", text, f"It does not move: {why}.")
    return Line("Outbox", "ok" if status.running and not homeserver.why else "note", text)


def _devices(status: Status) -> Line:
    told = {name: number for name, number in status.devices.items() if name != "revoked"}
    total = sum(told.values())
    if not total:
        return Line("Devices", "note", "none yet", "Let one in: thingroom gateway pair")
    words = {"never_heard": "never heard"}
    parts = [f"{number} {words.get(name, name)}" for name, number in sorted(told.items())]
    text = f"{total} in {_count(status.rooms, 'room')}: {', '.join(parts)}"
    if told.get("silent") and status.running:
        names = ", ".join(status.silent)
        more = told["silent"] - len(status.silent)
        names += f" and {more} more" if more > 0 else ""
        return Line("Devices", "wrong", text, f"Look at {names}: battery, reach, cable.")
    return Line("Devices", "ok", text)


def _news(status: Status) -> list[Line]:
    lines = []
    if status.rejected:
        worst = ", ".join(f"{number} {name}" for name, number in _most(status.rejected))
        cure = "Read them all: thingroom gateway counters (they count as read then)."
        lines.append(Line("Rejected", "note", f"{_count(sum(status.rejected.values()), 'message')}: {worst}", cure))
    if status.quotas:
        hit = ", ".join(f"{number} {name}" for name, number in _most(status.quotas))
        lines.append(Line("Limits", "note", f"reached: {hit}", "Somebody sends too much; the limits are in [gateway]."))
    if lost := status.missing.get("lost"):
        text = f"{_count(lost, 'message')} of devices {'is' if lost == 1 else 'are'} lost for good"
        lines.append(Line("Lost", "note", text, "See which: thingroom gateway gaps"))
    return lines


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:3]


def _disk(directory: Path) -> list[Line]:
    existing = next((path for path in (directory, *directory.absolute().parents) if path.is_dir()), Path("/"))
    disk = shutil.disk_usage(existing)
    text = f"{disk.free / 1e9:.1f} GB free of {disk.total / 1e9:.0f} GB"
    if disk.free < LITTLE_DISK_BYTES or disk.free < LITTLE_DISK_PART * disk.total:
        return [Line("Disk", "wrong", f"{text} under {existing}", "Make room, or keep less: [gateway.history].")]
    return [Line("Disk", "ok", text)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _span(milliseconds: int) -> str:
    """ "5 s", "12 min", "3 h", "4 days"."""
    seconds = max(0, milliseconds) // 1000
    for size, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


# --- how it looks --------------------------------------------------------------------------------------------------


def _print(console: Console, lines: list[Line], wrong: bool) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    for line in lines:
        table.add_row(_MARKS[line.state], f"[bold]{line.part}[/]", escape(line.text))
        if line.do:
            table.add_row("", "", f"[dim]{escape(line.do)}[/]")
    console.print(table)
    if wrong:
        parts = ", ".join(line.part.lower() for line in lines if line.state == "wrong")
        console.print(f"\n[red]Not well:[/] {parts}.")
    else:
        console.print("\n[green]All is well.[/]")


def nothing_here(config_file: Path) -> str:
    """What to say where there is no configuration at all."""
    return (
        f"There is no {config_file} here, so nothing of Thingroom was started from this folder."
        " Begin with `thingroom run`, or name the configuration with --config."
    )
