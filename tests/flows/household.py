"""A home for long stories: a homeserver (ours or Synapse), Mosquitto and a gateway as processes, real nodes, people.

People are tests/gateway/bot_home.py's Person (matrix-nio). Nodes are the firmware on MicroPython, which pairs by the
code that the owner gets from the bot. What is in the rooms is proven by readings.py, with nothing of ours.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nio
from tests.browser.homeservers import Homeserver, running_reference, running_thingroom
from tests.federation.peers import ReservedPort
from tests.flows.gateway_stack import Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.flows.readings import Proven, proven_readings, timeline
from tests.free_port import free_port
from tests.gateway.bot_home import Person
from tests.node.node_process import NodeProcess, node_settings

from thingroom_gateway.registration import write_registration
from thingroom_node.counters import open_counters
from thingroom_node.outbox import open_outbox

HOMESERVERS = {"thingroom": running_thingroom, "synapse": running_reference}
PASSWORD = "correct horse"
SECONDS = 60.0


@dataclass
class Home:
    """What runs. `serial` is the port that the gateway listens on, for whoever plugs something in."""

    directory: Path
    homeserver: Homeserver
    broker: Mosquitto
    gateway: Gateway
    coap_port: int
    appservice_port: int
    dashboard_port: int
    serial: Path

    @contextlib.asynccontextmanager
    async def person(self, name: str) -> AsyncIterator[Person]:
        """Somebody with an account, signed in."""
        client = nio.AsyncClient(self.homeserver.base_url, f"@{name}:{self.homeserver.server_name}")
        await self.homeserver.register(name, PASSWORD)
        try:
            answer = await client.login(PASSWORD, f"{name}'s phone")
            assert isinstance(answer, nio.LoginResponse), answer
            yield Person(client, f"@thingroom:{self.homeserver.server_name}")
        finally:
            await client.close()

    def board(self, name: str, link: str, code: str, **changes: Any) -> Board:
        """A board that is not switched on yet."""
        host, port = {
            "mqtt": ("127.0.0.1", self.broker.port),
            "coap": ("127.0.0.1", self.coap_port),
            "serial": (str(self.directory / "node-tty"), 0),
        }[link]
        folder = self.directory / name
        folder.mkdir()
        own: dict[str, Any] = {"name": name, "link": link, "host": host, "port": port, "pairing_code": code}
        return Board(folder, node_settings(folder, **{"clock": "host", "interval_ms": 150, **own, **changes}))

    async def counters(self) -> dict[str, int]:
        return dict((await self.gateway.ask("counters"))["counters"])

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the gateway's database, as any program may read it."""
        path = self.gateway.directory / "gateway.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()


@dataclass
class Board:
    """A board over its whole life: power may come and go, its files stay. `lives` are its starts."""

    folder: Path
    settings: dict[str, Any]
    lives: list[NodeProcess] = field(default_factory=list)

    async def switch_on(self) -> NodeProcess:
        node = NodeProcess(self.folder, self.settings)
        self.lives.append(node)
        return await node.__aenter__()

    async def switch_off(self) -> None:
        await self.now.kill()
        assert self.now.stderr == b"", self.now.stderr

    @property
    def now(self) -> NodeProcess:
        return self.lives[-1]

    @property
    def kid(self) -> str:
        return str(self.now.of("key")[0]["kid"])

    def sampled(self) -> list[int]:
        """Every number that it said it gave a reading."""
        return [number for life in self.lives for number in life.sampled()]

    def newest(self) -> int:
        return max(self.sampled(), default=0)

    def is_beyond(self, number: int) -> bool:
        """Whether the gateway has acknowledged a later reading in this life."""
        return any(last > number for event in self.now.of("acknowledged") for _, last in event["ranges"])

    def lost(self) -> int:
        """How many readings it had to give up unsent, as it says itself."""
        return max((event["total"] for life in self.lives for event in life.of("lost")), default=0)

    def waiting(self) -> list[int]:
        """Numbers that wait on its flash; only while it is off."""
        path = self.folder / "node"
        outbox = open_outbox(str(path / "outbox"), open_counters(str(path / "counters"), False), 65536)
        numbers: list[int] = []
        place = outbox.next_pending(0)
        while place is not None:
            numbers.append(place.sequence)
            place = outbox.next_pending(place.sequence)
        outbox.close()
        return numbers


@contextlib.asynccontextmanager
async def household(directory: Path, kind: str) -> AsyncIterator[Home]:
    """A home without devices. `kind` is one of HOMESERVERS; the owner is to be called "owner"."""
    server, registration, serial = f"{kind}.test", directory / "registration.yaml", directory / "gateway-tty"
    async with contextlib.AsyncExitStack() as stack:
        # A homeserver takes long to start: meanwhile nobody else is to get them.
        reserved = [stack.enter_context(contextlib.closing(ReservedPort())) for _ in range(2)]
        appservice_port, dashboard_port = (port.number for port in reserved)
        write_registration(registration, server, f"http://127.0.0.1:{appservice_port}")
        homeserver = await stack.enter_async_context(HOMESERVERS[kind](directory / "homeserver", [registration]))
        broker = await stack.enter_async_context(running_mosquitto(directory / "broker"))
        coap_port = free_port(socket.SOCK_DGRAM)
        settings: dict[str, Any] = {
            "homeserver_url": homeserver.base_url,
            "server_name": server,
            "registration_file": str(registration),
            "owner": f"@owner:{server}",
            "timezone": "Europe/Berlin",
            "mqtt": broker.settings,
            "coap": {"port": coap_port},
            "serial": {"ports": [str(serial)]},
            "appservice": {"port": appservice_port},
            "dashboard": {"listen": f"127.0.0.1:{dashboard_port}"},
            "batch": {"seconds": 0.5},
        }
        async with running_gateway(directory / "gateway", settings) as gateway:
            yield Home(directory, homeserver, broker, gateway, coap_port, appservice_port, dashboard_port, serial)


async def proven_in(client: nio.AsyncClient, rooms: Iterable[str]) -> dict[str, list[Proven]]:
    """Every envelope in some rooms, each checked, by device and in the order of the rooms."""
    found: dict[str, list[Proven]] = {}
    for room in rooms:
        for reading in await proven_readings(client, room):
            found.setdefault(reading.device, []).append(reading)
    return found


async def said_in(client: nio.AsyncClient, room: str) -> list[tuple[str, dict[str, Any]]]:
    """(sender, content) of every message in a room, oldest first."""
    events = await timeline(client, room)
    return [(event["sender"], event["content"]) for event in events if event["type"] == "m.room.message"]
