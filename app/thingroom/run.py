"""`thingroom run`: homeserver, broker and gateway as supervised processes, the owner's account, and the live screen.

The composition root of the whole. What each program does is its own business; this decides what is started, in which
order, with which configuration, and what is told to the person at the terminal.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from thingroom.broker import broker_program
from thingroom.config import Paths, ThingroomConfig, base_url, read_or_write, settle, write_programs_file
from thingroom.demo import NODES, node_program
from thingroom.log_screen import LogScreen
from thingroom.owner import Owner, OwnerError, accept_invites, ensure_owner
from thingroom.reload import reload
from thingroom.screen import Screen
from thingroom.supervisor import Program, Supervisor
from thingroom_common.config_file import ConfigError
from thingroom_common.log_lines import log_as
from thingroom_common.service_manager import ServiceManager
from thingroom_gateway import control
from thingroom_gateway.registration import SENDER_LOCALPART, write_registration
from thingroom_homeserver.config import listener_address

READY_SECONDS = 60.0
PAIRING_MINUTES = 10


class StartError(Exception):
    """It cannot start; the message is a sentence with the cure."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line. As a `service` the log takes the place of the screen."""

    data: Path
    config_file: Path | None
    demo: bool
    service: bool


async def run(wanted: Wanted, console: Console) -> int:
    """Run until SIGINT or SIGTERM, a second one of which ends it at once; SIGHUP reads the configuration again.

    Returns the exit code: 0 after a stop, 2 when it could not start.
    """
    screen: Screen | LogScreen = LogScreen() if wanted.service else Screen(console)
    manager = ServiceManager(os.environ)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    supervisor = Supervisor(screen.child_ended)
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, lambda: supervisor.hurry() if stop.is_set() else stop.set())
    try:
        paths = Paths(wanted.data.resolve())
        paths.make()
        config = settle(read_or_write(paths, wanted.config_file), paths)
        if wanted.service:
            log_as(config.run.log_format, config.run.log_level)
        runner = _Run(config, paths, supervisor, screen, manager, wanted)
        loop.add_signal_handler(signal.SIGHUP, runner.reload)
        await _until_stopped(runner, stop)
    except (ConfigError, StartError, OwnerError) as error:
        if wanted.service:
            print(error, file=sys.stderr)
        else:
            screen.say(f"thingroom: {error}")
        return 2
    finally:
        manager.stopping()
        await supervisor.stop()
    screen.say("Stopped. The data stays in " + str(paths.data))
    return 0


async def _until_stopped(runner: _Run, stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait())
    work = asyncio.create_task(runner.work())
    hopeless = runner.supervisor.hopeless
    futures: set[asyncio.Future[Any]] = {stopped, work, hopeless}
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, work):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await work
    if hopeless in done:
        ended = hopeless.result()
        raise StartError(f"the {ended.name} cannot run: {ended.last_words or 'it gave no reason'}")


class _Run:
    """One run: what was settled, and who takes part."""

    def __init__(
        self,
        config: ThingroomConfig,
        paths: Paths,
        supervisor: Supervisor,
        screen: Screen | LogScreen,
        manager: ServiceManager,
        wanted: Wanted,
    ) -> None:
        self._config = config
        self._manager = manager
        self._wanted = wanted
        self._reloading: asyncio.Task[None] | None = None
        self._paths = paths
        self._screen = screen
        self._gateway_ready = asyncio.Event()
        self._broker: Program | None = None
        self.supervisor = supervisor

    def reload(self) -> None:
        """Read the configuration again, and have the homeserver read its certificates again; at most once at a time."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        self._manager.reloading()
        try:
            told = await asyncio.to_thread(reload, self._paths, self._wanted.config_file)
        except ConfigError as error:
            told = f"The configuration was not changed: {error}"
        self.supervisor.send("homeserver", signal.SIGHUP)
        for line in told.splitlines():
            self._screen.say(line)
        self._manager.ready("running")

    async def work(self) -> None:
        """Start everything in order, show the screen, then accept invites for ever."""
        began = time.monotonic()
        self._refuse_taken_ports()
        gateway = self._config.gateway
        appservice_url = f"http://{gateway.appservice.host}:{gateway.appservice.port}"
        write_registration(self._paths.registration, gateway.server_name, appservice_url)
        write_programs_file(self._config, self._paths.programs)
        write_programs_file(self._config, self._paths.started_with)
        self._broker = broker_program(self._config, self._paths, self._wanted.service)
        url = base_url(self._config.homeserver)
        async with aiohttp.ClientSession() as session:
            await self._start_programs(session, url)
            secret = self._config.homeserver.registration_shared_secret
            owner = await ensure_owner(session, url, self._config.run.owner, secret, self._paths.owner)
            bot = f"@{SENDER_LOCALPART}:{gateway.server_name}"
            accepting = asyncio.create_task(accept_invites(session, url, owner, bot))
            try:
                await self._wait_for_gateway()
                if self._wanted.demo:
                    await self._start_demo()
                self._show(url, owner, time.monotonic() - began)
                self._manager.ready("running")
                alive = asyncio.create_task(self._manager.keep_alive())
                await asyncio.gather(accepting, alive)
            finally:
                accepting.cancel()

    async def _start_programs(self, session: aiohttp.ClientSession, url: str) -> None:
        await self.supervisor.start(self._python_program("homeserver", "thingroom_homeserver"))
        if self._broker is not None:
            await self.supervisor.start(self._broker)
        await _wait_for_homeserver(session, url)
        await self.supervisor.start(self._python_program("gateway", "thingroom_gateway"))

    def _python_program(self, name: str, module: str) -> Program:
        return Program(
            name=name,
            command=[sys.executable, "-m", module, "--config", str(self._paths.programs)],
            log_file=None if self._wanted.service else self._paths.logs / f"{name}.log",
            on_line=self._gateway_line if name == "gateway" else None,
        )

    def _gateway_line(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            self._screen.say(line)
            return
        if event.get("event") == "ready":
            self._gateway_ready.set()
        self._screen.gateway_event(event)

    async def _wait_for_gateway(self) -> None:
        try:
            await asyncio.wait_for(self._gateway_ready.wait(), READY_SECONDS)
        except TimeoutError:
            raise StartError(f"the gateway is not ready; see {self._paths.logs / 'gateway.log'}") from None

    async def _start_demo(self) -> None:
        answer = await self._ask_gateway({"command": "devices"})
        known = {device["name"] for device in answer["devices"]}
        code = None
        if not {node.name for node in NODES} <= known:
            answer = await self._ask_gateway({"command": "open_pairing", "minutes": PAIRING_MINUTES})
            code = answer["code"]
        for node in NODES:
            await self.supervisor.start(node_program(node, self._config, self._paths, code))

    async def _ask_gateway(self, command: dict[str, Any]) -> dict[str, Any]:
        answer = await asyncio.to_thread(control.ask, self._paths.gateway, command)
        if not answer["ok"]:
            raise StartError(f"the gateway says: {answer['error']}")
        return answer

    def _show(self, url: str, owner: Owner, seconds: float) -> None:
        mqtt, coap = self._config.gateway.mqtt, self._config.gateway.coap
        dashboard = self._config.gateway.dashboard
        rows = [
            ("Homeserver", f"{url}   (sign in with any Matrix client)"),
            ("User", owner.user_id),
            ("Password", owner.password),
            *([("Dashboard", f"{dashboard.url}   (sign in with the same)")] if dashboard.enabled else []),
            (
                "Boards reach us at",
                f"MQTT {mqtt.host}:{mqtt.port} ({self._config.run.broker})"
                + (f", CoAP {coap.host}:{coap.port}" if coap.enabled else ""),
            ),
            ("Data", str(self._paths.data)),
            ("In another terminal", "thingroom status, thingroom gateway pair" + self._where()),
            ("Started in", f"{seconds:.1f} s; Ctrl-C stops everything"),
        ]
        self._screen.started(rows)

    def _where(self) -> str:
        """What other commands have to be told so that they find us."""
        found = Path("data").resolve() == self._paths.data and not Path("thingroom.toml").exists()
        return "" if found else f"   (with --config {self._paths.programs})"

    def _refuse_taken_ports(self) -> None:
        """One clear sentence now instead of a crash later. Raises StartError."""
        gateway = self._config.gateway
        for listener in self._config.homeserver.listeners:
            host, port = listener_address(listener)
            _refuse_taken(host, port, "homeserver", "listeners in [homeserver]")
        if self._config.run.broker != "external":
            _refuse_taken(gateway.mqtt.host, gateway.mqtt.port, "MQTT broker", "broker_port in [run]")
        if gateway.coap.enabled:
            _refuse_taken(
                gateway.coap.host, gateway.coap.port, "CoAP server", "port in [gateway.coap]", socket.SOCK_DGRAM
            )
        _refuse_taken(gateway.appservice.host, gateway.appservice.port, "gateway", "port in [gateway.appservice]")
        if gateway.dashboard.enabled:
            _refuse_taken(*gateway.dashboard.address, "dashboard", "listen in [gateway.dashboard]")


def _refuse_taken(host: str, port: int, who: str, key: str, kind: int = socket.SOCK_STREAM) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"the {who} cannot listen on {host} port {port} ({(error.strerror or str(error)).lower()}). "
                f"Stop what uses it, or change {key} of the configuration."
            ) from None


async def _wait_for_homeserver(session: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(
                f"{url}/_matrix/client/versions", timeout=aiohttp.ClientTimeout(total=2)
            ) as response:
                if response.ok:
                    return
        await asyncio.sleep(0.05)
    raise StartError(f"the homeserver does not answer at {url}")
