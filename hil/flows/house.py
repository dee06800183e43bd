"""A house for the bench: our federating homeserver, Mosquitto and the gateway as processes, its owner, and cables.

Boards are plugged in while it runs. What is in the rooms is read with matrix-nio and proven by tests/flows/readings.py,
with nothing of ours; `settle` closes a board's books.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import nio
from hil.boards.board import Board
from hil.boards.wire import Wire
from hil.record import Ledger, Record
from tests.federation.peers import Authority, ProcessPeer
from tests.flows.gateway_stack import Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.flows.readings import Proven, proven_readings
from tests.flows.test_a_long_day import pair
from tests.free_port import free_port
from tests.gateway.bot_home import Person
from tests.homeserver.running import PASSWORD

from thingroom_gateway.registration import write_registration

SECONDS = 60.0
WIRES = 4
HOUR_MS = 3_600_000
THERMOMETER: dict[str, Any] = {"profile": "lm75", "sensors": [{"driver": "tmp105"}]}
LAMP: dict[str, Any] = {"profile": "switch", "actuators": [{"name": "on", "driver": "relay", "pin": 0}]}


@dataclass
class House:
    """What runs. `code` pairs any number of boards; `chat` is where the bot told it to the owner."""

    homeserver: ProcessPeer
    authority: Authority
    broker: Mosquitto
    gateway: Gateway
    coap_port: int
    owner: Person
    chat: str = ""
    code: str = ""
    wires: list[Wire] = field(default_factory=list)

    def settings(self, board: Board, name: str, link: str, **changes: Any) -> dict[str, Any]:
        """A node.json for `board`, to be paired by code unless `changes` say otherwise."""
        places: dict[str, dict[str, Any]] = {
            "mqtt": {"host": "127.0.0.1", "port": self.broker.port},
            "coap": {"host": "127.0.0.1", "port": self.coap_port},
            "serial": {},
        }
        own = {"name": name, "link": link, "pairing_code": self.code, "interval_ms": 500}
        return {**own, **board.own_settings, **places[link], **changes}

    async def devices(self) -> dict[str, dict[str, Any]]:
        """What the gateway knows of each device, by its name."""
        return {device["name"]: device for device in (await self.gateway.ask("devices"))["devices"]}

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the gateway's database, as any program may read it."""
        path = self.gateway.directory / "gateway.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    async def readings(self, client: nio.AsyncClient, room: str, kid: str) -> list[Proven]:
        """The device's envelopes in the room, each checked, in the order of their numbers."""
        found = [reading for reading in await proven_readings(client, room) if reading.device == kid]
        return sorted(found, key=lambda reading: reading.sequence)

    async def settle(self, board: Board, record: Record, room: str, kid: str) -> list[Proven]:
        """Let `board` rest, wait until the room has all that it made, and assert that its books balance.

        Returns what is in the room.
        """
        await self.rest(kid)
        async with asyncio.timeout(2 * SECONDS):
            while True:
                readings = await self.readings(self.owner.client, room, kid)
                if {reading.sequence for reading in readings} >= set(record.sampled):
                    break
                await asyncio.sleep(0.3)
        await board.cut_power()
        # Nothing is made any more: what came twice or too much is there by now.
        readings = await self.readings(self.owner.client, room, kid)
        record.ledger = ledger(record, readings)
        record.note("settled", f"{record.ledger.in_room} in the room")
        assert record.ledger.is_balanced and record.ledger.lost == 0, record.ledger
        return readings

    async def rest(self, kid: str) -> None:
        """Have no more than a reading an hour. A board that starts just now is asked again."""
        for _ in range(4):
            said = await self.gateway.ask(
                "configure", device=kid, interval_ms=HOUR_MS, longest_ms=2 * HOUR_MS, seconds=25
            )
            if said.get("outcome") == "done":
                return
        raise AssertionError(said)


def ledger(record: Record, readings: list[Proven]) -> Ledger:
    """The books of one board: what its console said, against what is proven to be in its room.

    Asserts that no number was used twice, that each reading names the one before it, so that none is missing, and that
    what the console never said was the last of a life that ended in a power cut.
    """
    numbers = [reading.sequence for reading in readings]
    said = set(record.sampled)
    assert len(said) == len(record.sampled), "the board used a number twice"
    before = [reading.predecessor and reading.predecessor[0] for reading in readings]
    assert before == [None, *numbers[:-1]], "a reading is missing"
    unsaid = sorted(set(numbers) - said)
    # Of each life at most the last: it was stored, and then the power went.
    assert len(unsaid) <= record.starts, f"{unsaid} are in the room and were never said"
    return Ledger(
        made=len(said),
        acknowledged=len(said & record.acknowledged),
        in_room=len(set(numbers)),
        lost=record.lost,
        duplicates=len(numbers) - len(set(numbers)),
        unsaid=len(unsaid),
        gaps=sum(1 for one, two in pairwise(numbers) if two != one + 1),
    )


@contextlib.asynccontextmanager
async def running_house(directory: Path) -> AsyncIterator[House]:
    """A house without boards."""
    authority = Authority(directory / "authority")
    registration = directory / "registration.yaml"
    appservice_port, coap_port = free_port(), free_port(socket.SOCK_DGRAM)
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire()) for _ in range(WIRES)]
        homeserver = ProcessPeer(directory / "homeserver", authority, appservice_files=(str(registration),))
        stack.push_async_callback(homeserver.close)
        server = homeserver.server_name
        write_registration(registration, server, f"http://127.0.0.1:{appservice_port}")
        await homeserver.start()
        broker = await stack.enter_async_context(running_mosquitto(directory / "broker"))
        settings: dict[str, Any] = {
            "homeserver_url": homeserver.base_url,
            "server_name": server,
            "registration_file": str(registration),
            "owner": f"@owner:{server}",
            "timezone": "Europe/Berlin",
            "mqtt": broker.settings,
            "coap": {"port": coap_port},
            "serial": {"ports": [wire.url for wire in wires]},
            "appservice": {"port": appservice_port},
            "batch": {"seconds": 0.3},
        }
        client = nio.AsyncClient(homeserver.base_url, "owner")
        stack.push_async_callback(client.close)
        registered = await client.register("owner", PASSWORD, "the owner's phone")
        assert isinstance(registered, nio.RegisterResponse), registered
        gateway = await stack.enter_async_context(running_gateway(directory / "gateway", settings))
        owner = Person(client, f"@thingroom:{server}")
        house = House(homeserver, authority, broker, gateway, coap_port, owner, wires=wires)
        house.chat, house.code = await pair(owner, house)  # type: ignore[arg-type]
        yield house
