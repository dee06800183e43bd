"""Past one machine, on engines that exist: Synapse with a worker, PostgreSQL and Redis, one Mosquitto, two gateways.

Each gateway is an application service of its own and owns half of the shards; both send through the worker. The owner
reads the rooms with matrix-nio and checks every envelope with PyNaCl and cbor2 alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from nio import AsyncClient
from tests.flows.gateway_stack import Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.flows.readings import Proven, proven_readings
from tests.free_port import free_port
from tests.scaling.engines import DATABASE_USER, postgres_binary
from tests.scaling.fleet import Node, devices_in, enrol, running_fleet
from tests.synapse_peer.cluster import Cluster, running_cluster
from tests.synapse_peer.server import Account, SynapseSettings

from thingroom_gateway.backup import back_up, restore
from thingroom_gateway.config import load
from thingroom_gateway.registration import EVERY_SHARD, make_registration, write_registration

SERVER_NAME = "cluster.test"
WORKER = "gateways"
HALVES = {"north": "01234567", "south": "89abcdef"}
EACH_SHARD = 1
PATIENCE_SECONDS = 90.0


@dataclass
class Installation:
    """What runs but the gateways."""

    directory: Path
    cluster: Cluster
    broker: Mosquitto
    owner: Account
    appservice_ports: dict[str, int]

    def registration(self, name: str) -> Path:
        return self.directory / f"{name}.yaml"

    def settings(self, name: str, shards: str) -> dict[str, Any]:
        """The section [gateway] of the gateway called `name`."""
        return {
            "homeserver_url": self.cluster.workers[WORKER].base_url,
            "server_name": SERVER_NAME,
            "registration_file": str(self.registration(name)),
            "owner": self.owner.user_id,
            "home_name": f"The {name}",
            "mqtt": {**self.broker.settings, "shards": shards},
            "coap": {"enabled": False},
            "appservice": {"port": self.appservice_ports[name]},
            "batch": {"seconds": 0.5},
        }

    def gateway(self, name: str, data: Path, shards: str = "") -> contextlib.AbstractAsyncContextManager[Gateway]:
        return running_gateway(data, self.settings(name, shards or HALVES[name]))

    async def give(self, giver: str, taker: str) -> None:
        """At the homeserver: the users of `giver` are those of `taker` from now on. Both gateways are stopped."""
        registration = json.loads(self.registration(taker).read_text())
        wider = make_registration(SERVER_NAME, registration["url"], registration["as_token"], registration["hs_token"])
        registration["namespaces"]["users"] = wider["namespaces"]["users"]  # type: ignore[index]
        self.registration(taker).write_text(json.dumps(registration))
        await self.cluster.stop()
        left = tuple(self.registration(name) for name in HALVES if name != giver)
        self.cluster.settings = replace(self.cluster.settings, appservice_files=left)
        await self.cluster.start()


@contextlib.asynccontextmanager
async def running_installation(directory: Path) -> AsyncIterator[Installation]:
    ports = {name: free_port() for name in HALVES}
    for name, shards in HALVES.items():
        url = f"http://127.0.0.1:{ports[name]}"
        write_registration(directory / f"{name}.yaml", SERVER_NAME, url, name=name, shards=shards)
    settings = SynapseSettings(
        server_name=SERVER_NAME, appservice_files=tuple(directory / f"{name}.yaml" for name in HALVES)
    )
    async with (
        running_cluster(directory / "synapse", settings, (WORKER,), (WORKER,)) as cluster,
        running_mosquitto(directory / "broker", managed=False) as broker,
    ):
        owner = await cluster.running.register("owner")
        yield Installation(directory, cluster, broker, owner, ports)


@contextlib.asynccontextmanager
async def signed_in(installation: Installation) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(installation.cluster.workers[WORKER].base_url, installation.owner.user_id)
    await client.login(installation.owner.password)
    try:
        yield client
    finally:
        await client.close()


async def readings_in_rooms(client: AsyncClient, count: int) -> dict[str, list[Proven]]:
    """What is in the rooms, by their names, once there are `count` readings; invitations are accepted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        await client.sync(timeout=0, full_state=True)
        for room_id in list(client.invited_rooms):
            await client.join(room_id)
        found: dict[str, list[Proven]] = {}
        for room_id, room in client.rooms.items():
            found[room.name] = found.get(room.name, []) + await proven_readings(client, room_id)
        here = sum(map(len, found.values()))
        if here >= count:
            return found
        assert time.monotonic() < deadline, f"{here} of {count} readings are in the rooms"
        await asyncio.sleep(0.2)


def identities(readings: Iterable[Proven]) -> list[tuple[str, int]]:
    return sorted((reading.device, reading.sequence) for reading in readings)


def expected(nodes: Iterable[Node]) -> list[tuple[str, int]]:
    return sorted((node.device.kid.hex(), number + 1) for node in nodes for number in range(len(node.made)))


async def persisted_by(cluster: Cluster) -> dict[str, int]:
    """How many events each process of Synapse wrote, by its name."""
    query = "SELECT COALESCE(instance_name, 'master'), count(*) FROM events GROUP BY 1"
    command = (str(postgres_binary("psql")), "-h", str(cluster.postgres.socket), "-U", DATABASE_USER, "postgres")
    process = await asyncio.create_subprocess_exec(*command, "-Atc", query, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    rows = (line.split("|") for line in output.decode().splitlines())
    return {name: int(count) for name, count in rows}


async def enrol_all(gateway: Gateway, name: str, nodes: Iterable[Node]) -> None:
    for number, node in enumerate(nodes):
        await enrol(gateway, node, f"{name} {number % 2}")


def sample(nodes: Iterable[Node], readings: int) -> None:
    for node in nodes:
        for number in range(readings):
            node.sample(200 + number)


async def counters_of(gateway: Gateway) -> dict[str, int]:
    return dict((await gateway.ask("counters"))["counters"])


async def test_two_gateways_share_a_broker_and_a_synapse_with_a_worker(tmp_path: Path) -> None:
    async with running_installation(tmp_path) as home:
        nodes = {name: devices_in(shards, EACH_SHARD, name + " {}") for name, shards in HALVES.items()}
        everybody = [node for some in nodes.values() for node in some]
        async with running_fleet(home.broker.settings, everybody) as fleet:
            async with home.gateway("south", home.directory / "south") as south:
                await enrol_all(south, "south", nodes["south"])
                async with home.gateway("north", home.directory / "north") as north:
                    await enrol_all(north, "north", nodes["north"])
                    sample(everybody, 10)
                    await fleet.deliver(everybody)
                    await check_rooms(home, nodes)
                    for gateway, some in ((north, nodes["north"]), (south, nodes["south"])):
                        counted = await counters_of(gateway)
                        assert counted["mqtt.accepted"] == len(expected(some))
                        assert not [name for name in counted if name.startswith("mqtt.rejected")], counted

                # North's machine is taken out of service, and the devices know nothing of it.
                sample(everybody, 5)
                await fleet.publish(everybody)
                await fleet.deliver(nodes["south"])
                assert all(len(node.kept) == 5 for node in nodes["north"])
                moved = move(home.directory / "north", home.directory / "north on the machine of south")
                file = tmp_path / "devices of north.json"
                async with home.gateway("north", moved) as north:
                    await fleet.deliver(nodes["north"])
                    await check_rooms(home, nodes)
                    # And now south shall have these devices for good.
                    given = await north.ask("export_devices", shards="0-7", file=str(file))
                    assert given["ok"] and given["devices"] == len(nodes["north"]), given
                    assert (await counters_of(north))["mqtt.accepted"] == len(expected(nodes["north"]))
            assert set(await persisted_by(home.cluster)) == {WORKER}

            sample(everybody, 5)
            await fleet.publish(everybody)
            await home.give("north", "south")
            async with home.gateway("south", home.directory / "south", EVERY_SHARD) as south:
                taken = await south.ask("import_devices", file=str(file))
                assert taken["ok"] and taken["devices"] == len(nodes["north"]), taken
                await fleet.deliver(everybody)
                await check_rooms(home, nodes)


def move(source: Path, target: Path) -> Path:
    """What `thingroom gateway backup` here and `thingroom gateway restore` there do."""
    config = load(source / "thingroom.toml")
    back_up(config, target.with_name("copy"))
    restore(target.with_name("copy"), msgspec.structs.replace(config, data_directory=str(target)))
    return target


async def check_rooms(home: Installation, nodes: dict[str, list[Node]]) -> None:
    """Every reading is in a room of its half, once, and nothing else is."""
    async with signed_in(home) as client:
        found = await readings_in_rooms(client, sum(len(expected(some)) for some in nodes.values()))
    for name, some in nodes.items():
        here = [one for room, readings in found.items() if room.startswith(name) for one in readings]
        assert identities(here) == expected(some)
        assert {room for room in found if room.startswith(name)} == {f"{name} 0", f"{name} 1"}
