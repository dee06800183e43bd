"""Past one machine: Synapse by itself and with a worker, one gateway and two; what each part takes, and what of disk.

`python -m bench scaling` (or `main()`). Readings come in two ways: as backlogs, which fill their events, and one by
one, each an event of its own. docs/scaling.md counts on from these figures. The processes are those of tests/scaling.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table
from tests.flows.gateway_stack import Device, Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.free_port import free_port
from tests.scaling.engines import DATABASE_USER, postgres_binary
from tests.synapse_peer.cluster import Cluster, running_cluster
from tests.synapse_peer.server import SynapseSettings

from bench.gateway_parts import enrol_all
from bench.measure import console, describe, machine, progress, save
from bench.mqtt_publisher import Publisher, publish_packets
from thingroom_gateway.registration import EVERY_SHARD, write_registration

SERVER_NAME = "cluster.test"
WORKER = "gateways"
DEVICES = 120
BACKLOG = 100
SINGLES = 4
GATHERING = 0.5
PATIENCE_SECONDS = 240.0
HALVES = {"north": EVERY_SHARD[:8], "south": EVERY_SHARD[8:]}


@dataclass(frozen=True)
class Shape:
    """One way to set it up."""

    title: str
    gateways: dict[str, str]
    workers: tuple[str, ...]


SHAPES = {
    "single": Shape("1 gateway, Synapse alone", {"all": EVERY_SHARD}, ()),
    "worker": Shape("1 gateway, and a worker", {"all": EVERY_SHARD}, (WORKER,)),
    "two": Shape("2 gateways, and a worker", HALVES, (WORKER,)),
}


@dataclass
class Running:
    """What runs; `devices` by the gateway that knows them."""

    directory: Path
    cluster: Cluster
    broker: Mosquitto
    gateways: dict[str, Gateway] = field(default_factory=dict)
    devices: dict[str, list[Device]] = field(default_factory=dict)

    def busy(self) -> dict[str, float]:
        """Processor seconds so far, by part."""
        taken = {
            "gateways": sum(_seconds(gateway.pid) for gateway in self.gateways.values()),
            "synapse": _seconds(self.cluster.running.pid),
            "worker": sum(_seconds(worker.pid) for worker in self.cluster.workers.values()),
            "postgres": _seconds(self.cluster.postgres.pid),
            "redis": _seconds(self.cluster.redis.pid),
            "mosquitto": _seconds(self.broker.pid),
        }
        return taken


def main() -> dict[str, float]:
    """Measure every shape, print the tables, save them, and return the figures by name."""
    facts = machine()
    figures = asyncio.run(_measure())
    save("scaling", {"machine": facts, "figures": figures})
    _print(facts, figures)
    return figures


async def _measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as directory:
            progress(f"scaling: {shape.title}: start, rooms and ghosts")
            async with _running(Path(directory), shape) as running:
                await _send(running, 1)
                progress(f"scaling: {shape.title}: backlogs")
                figures |= await _taken(running, f"{name}.backlog", BACKLOG, at_once=True)
                progress(f"scaling: {shape.title}: one by one")
                figures |= await _taken(running, f"{name}.single", SINGLES, at_once=False)
    progress("")
    return figures


@contextlib.asynccontextmanager
async def _running(directory: Path, shape: Shape) -> AsyncIterator[Running]:
    ports = {name: free_port() for name in shape.gateways}
    registrations = {name: directory / f"{name}.yaml" for name in shape.gateways}
    for name, shards in shape.gateways.items():
        url = f"http://127.0.0.1:{ports[name]}"
        write_registration(registrations[name], SERVER_NAME, url, name=name, shards=shards)
    settings = SynapseSettings(server_name=SERVER_NAME, appservice_files=tuple(registrations.values()))
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            running_cluster(directory / "synapse", settings, shape.workers, shape.workers, durable=True)
        )
        broker = await stack.enter_async_context(running_mosquitto(directory / "broker", managed=False))
        running = Running(directory, cluster, broker)
        devices = [Device(f"Thing {number}") for number in range(DEVICES)]
        door = cluster.workers[WORKER].base_url if cluster.workers else cluster.running.base_url
        for name, shards in shape.gateways.items():
            own: dict[str, Any] = {
                "homeserver_url": door,
                "server_name": SERVER_NAME,
                "registration_file": str(registrations[name]),
                "home_name": name,
                "mqtt": {**broker.settings, "shards": shards},
                "coap": {"enabled": False},
                "appservice": {"port": ports[name]},
                "batch": {"seconds": GATHERING},
            }
            running.devices[name] = [device for device in devices if device.kid.hex()[0] in shards]
            await enrol_all(directory / name, own, running.devices[name], 0)
            running.gateways[name] = await stack.enter_async_context(running_gateway(directory / name, own))
        yield running


async def _taken(running: Running, name: str, readings: int, *, at_once: bool) -> dict[str, float]:
    """Rates and, by part, processor seconds for what `readings` of every device take until they are in their rooms."""
    before, events, size = running.busy(), await _events(running), await _database_bytes(running)
    own = sum(_gateway_bytes(running))
    began = time.perf_counter()
    for _ in range(1 if at_once else readings):
        await _send(running, readings if at_once else 1)
    seconds, after = time.perf_counter() - began, running.busy()
    made = await _events(running) - events
    count = DEVICES * readings
    return {
        f"{name}.readings_per_second": count / seconds,
        f"{name}.events_per_second": made / seconds,
        f"{name}.postgres_bytes_an_event": (await _database_bytes(running) - size) / made,
        f"{name}.gateway_bytes_a_reading": (sum(_gateway_bytes(running)) - own) / count,
        **{f"{name}.{part}_an_event": (after[part] - before[part]) / made for part in after},
        **{f"{name}.{part}_cores": (after[part] - before[part]) / seconds for part in after},
    }


async def _send(running: Running, each: int) -> None:
    """Publish `each` readings of every device, and wait until they are in their rooms."""
    devices = [device for some in running.devices.values() for device in some]
    packets = publish_packets(
        (device.topic("up"), device.climate(200 + turn % 50, 45)) for turn in range(each) for device in devices
    )
    async with Publisher(running.broker.port) as publisher:
        await publisher.publish(packets)
    last = {device.kid: device.sequence for device in devices}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_missing(database, last) for database in _databases(running)):
        if time.monotonic() > deadline:
            raise TimeoutError("\n".join(gateway.log_tail() for gateway in running.gateways.values()))
        await asyncio.sleep(0.02)


def _missing(connection: sqlite3.Connection, last: dict[bytes, int]) -> bool:
    """Whether something is not received, not taken, or waits in the outbox."""
    rows = connection.execute(
        "SELECT kid, stored, taken FROM devices LEFT JOIN arrivals ON arrivals.device = devices.id"
    ).fetchall()
    if any(stored is None or stored < last[kid] or taken < stored for kid, stored, taken in rows):
        return True
    return connection.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is not None


def _databases(running: Running) -> Iterator[sqlite3.Connection]:
    for name in running.gateways:
        path = running.directory / name / "gateway.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            yield connection


def _gateway_bytes(running: Running) -> Iterator[int]:
    """Pages of each gateway's database that are in use."""
    for connection in _databases(running):
        pages, free, size = (
            connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
        )
        yield (pages - free) * size


async def _events(running: Running) -> int:
    return await _ask_postgres(running, "SELECT count(*) FROM events")


async def _database_bytes(running: Running) -> int:
    return await _ask_postgres(running, "SELECT pg_database_size('postgres')")


async def _ask_postgres(running: Running, query: str) -> int:
    command = (
        str(postgres_binary("psql")),
        "-h",
        str(running.cluster.postgres.socket),
        "-U",
        DATABASE_USER,
        "postgres",
    )
    process = await asyncio.create_subprocess_exec(*command, "-Atc", query, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return int(output)


def _seconds(pid: int) -> float:
    """Of a process and its children, those that have ended too."""
    total = 0.0
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _print(facts: dict[str, Any], figures: dict[str, float]) -> None:
    out = console()
    parts = ("gateways", "synapse", "worker", "postgres", "mosquitto")
    for way, title in (
        ("backlog", f"Backlogs of {BACKLOG} readings from each of {DEVICES} devices"),
        ("single", "One reading at a time, an event each"),
    ):
        table = Table(title=f"{title}: milliseconds of processor an event, by part", title_justify="left")
        table.add_column("", no_wrap=True)
        for heading in ("readings/s", "events/s", *parts):
            table.add_column(heading, justify="right")
        for name, shape in SHAPES.items():
            key = f"{name}.{way}"
            table.add_row(
                shape.title,
                f"{figures[f'{key}.readings_per_second']:,.0f}",
                f"{figures[f'{key}.events_per_second']:,.0f}",
                *(f"{figures[f'{key}.{part}_an_event'] * 1000:,.1f}" for part in parts),
            )
        out.print(table)
    for way in ("backlog", "single"):
        out.print(
            f"{way}: {figures[f'two.{way}.postgres_bytes_an_event']:,.0f} bytes an event in PostgreSQL, "
            f"{figures[f'two.{way}.gateway_bytes_a_reading']:,.0f} bytes a reading at the gateways",
            highlight=False,
        )
    out.print(describe(facts), highlight=False)


if __name__ == "__main__":
    main()
