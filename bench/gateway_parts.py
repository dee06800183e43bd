"""The parts of bench/gateway.py: who runs, who sends, what is taken. Each function gives the figures of one thing.

While rates are taken there is no homeserver: events wait in the outbox, and the door is what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from nacl.signing import VerifyKey
from tests.flows.gateway_stack import Device, Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.free_port import free_port

from bench import servers
from bench.coap_publisher import post, post_all
from bench.end_to_end import Owner
from bench.http_client import HttpClient
from bench.matrix_client import MatrixClient
from bench.measure import processor_seconds, progress, quantile, resident_megabytes
from bench.mqtt_publisher import Publisher, publish_packets
from bench.serial_publisher import boards
from bench.series import year_of_minutes
from thingroom_gateway.app import opened_core
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.enrolment import Candidate, Enrolled
from thingroom_gateway.matrix_event import unpadded
from thingroom_gateway.registration import write_registration
from thingroom_wire import frames
from thingroom_wire.envelope import parse_envelope

DOORS = {"mqtt": "MQTT, one stream", "coap": "CoAP, a hundred nodes at a time", "serial": "serial, eight lines"}
PLACES = 20
COAP_CLIENTS = 100
SERIAL_LINES = 8
COSE_SIGN1 = 18
# The shortest that the gateway allows, and its default.
SHORTEST_GATHERING = 0.05
USUAL_GATHERING = 2.0
MEMORY_GATHERING = 0.5
# As few readings of each device as make everything that is kept of it be there.
HEARD = 3
WARM_CHARTS = 3
PATIENCE_SECONDS = 120.0

Send = Callable[[Sequence[tuple[Device, bytes]]], Awaitable[None]]


class NotAllArrived(Exception):
    """What was sent did not come out, so there is no figure."""


@dataclass
class Rig:
    """Enrolled devices and the directory of the gateway that knows them; a broker runs."""

    directory: Path
    devices: list[Device]
    broker: Mosquitto
    settings: dict[str, Any]

    def envelopes(self, each: int) -> list[tuple[Device, bytes]]:
        """`each` of every device, in turns."""
        return [(device, device.climate(200 + turn % 50, 45)) for turn in range(each) for device in self.devices]


@contextlib.asynccontextmanager
async def prepared(devices: int, year_minutes: int) -> AsyncIterator[Rig]:
    """A gateway's directory with so many devices, of which the first has a year of readings behind it."""
    with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as name:
        base = Path(name)
        async with running_mosquitto(base / "broker", managed=False) as broker:
            registration, port = base / "registration.yaml", free_port()
            write_registration(registration, servers.SERVER_NAME, f"http://127.0.0.1:{port}")
            settings = gateway_settings(broker, registration, port)
            rig = Rig(base, [Device(f"Thing {number}") for number in range(devices)], broker, settings)
            progress(f"gateway: {devices} devices, and a year of minutes")
            await enrol_all(base / "gateway", settings, rig.devices, year_minutes)
            yield rig


def gateway_settings(broker: Mosquitto, registration: Path, appservice_port: int) -> dict[str, Any]:
    """The section [gateway] for measurements without a homeserver."""
    return {
        "homeserver_url": f"http://127.0.0.1:{free_port()}",
        "server_name": servers.SERVER_NAME,
        "registration_file": str(registration),
        "owner": f"@owner:{servers.SERVER_NAME}",
        "mqtt": broker.settings,
        "coap": {"enabled": False},
        "appservice": {"port": appservice_port},
    }


async def enrol_all(
    directory: Path, settings: dict[str, Any], devices: Iterable[Device], year_minutes: int = 0
) -> None:
    """Enrol while no gateway runs; `year_minutes` of readings, up to now, become the first device's history."""
    config = msgspec.convert({"data_directory": str(directory), **settings}, GatewayConfig)
    async with opened_core(config) as core:
        rows = []
        for number, device in enumerate(devices):
            candidate = Candidate(
                device.public_key, device.agreement_public, device.name, device.profile, f"Place {number % PLACES}"
            )
            rows.append(core.enrolment.enrol(candidate))
        enrolled = await asyncio.gather(*rows)
        first = enrolled[0]
        assert isinstance(first, Enrolled)
        row_id = first.device.row.id
        for batch in year_of_minutes(1, time.time_ns() // 1_000_000, year_minutes):
            await core.database.write(lambda t, batch=batch: core.series.add_many(t, [(row_id, batch)]))  # type: ignore[misc]


# --- rates -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def every_door(rig: Rig) -> AsyncIterator[dict[str, tuple[Gateway, Send]]]:
    """A gateway with all three doors open, and for each the way to send through it."""
    coap_port = free_port(socket.SOCK_DGRAM)
    settings = {
        **rig.settings,
        "coap": {"port": coap_port, "unlimited": ["127.0.0.0/8"]},
        "serial": {"ports": [str(rig.directory / "board*")]},
    }
    with boards(rig.directory, SERIAL_LINES) as lines:
        async with running_gateway(rig.directory / "gateway", settings) as gateway:

            async def mqtt(envelopes: Sequence[tuple[Device, bytes]]) -> None:
                packets = publish_packets((device.topic("up"), envelope) for device, envelope in envelopes)
                async with Publisher(rig.broker.port) as publisher:
                    await publisher.publish(packets)

            async def coap(envelopes: Sequence[tuple[Device, bytes]]) -> None:
                requests: list[list[bytes]] = [[] for _ in range(COAP_CLIENTS)]
                for number, (_, envelope) in enumerate(envelopes):
                    requests[number % COAP_CLIENTS].append(post("up", envelope, COSE_SIGN1, number))
                await post_all(coap_port, requests)

            async def serial(envelopes: Sequence[tuple[Device, bytes]]) -> None:
                prepared = [frames.encode_frame(frames.UP, envelope) for _, envelope in envelopes]
                await asyncio.gather(
                    *(line.send_all(prepared[number::SERIAL_LINES]) for number, line in enumerate(lines))
                )

            yield {"mqtt": (gateway, mqtt), "coap": (gateway, coap), "serial": (gateway, serial)}


async def rate(rig: Rig, name: str, door: tuple[Gateway, Send], each: int) -> dict[str, float]:
    """One round: what came by the door until all of it was committed, beside PyNaCl's verifications alone."""
    gateway, send = door
    envelopes = rig.envelopes(each)
    verifies = verify_rate(envelopes)
    before, busy, began = await accepted(gateway, name), processor_seconds(gateway.pid), time.perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await send(envelopes)
    while (here := await accepted(gateway, name) - before) < len(envelopes):
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise NotAllArrived(f"{here} of {len(envelopes)} by {name}\n{gateway.log_tail()}")
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - began
    return {
        f"{name}.per_second": len(envelopes) / seconds,
        f"{name}.verifies": verifies,
        f"{name}.of_verifies": len(envelopes) / seconds / verifies,
        f"{name}.processor": (processor_seconds(gateway.pid) - busy) / len(envelopes),
    }


def verify_rate(envelopes: Sequence[tuple[Device, bytes]]) -> float:
    """PyNaCl's verifications a second of the very same envelopes on one core, nothing else done."""
    prepared = []
    for device, data in envelopes:
        envelope = parse_envelope(data)
        prepared.append((VerifyKey(device.public_key), envelope.signed_bytes, envelope.signature))
    began = time.perf_counter()
    for key, message, signature in prepared:
        key.verify(message, signature)
    return len(prepared) / (time.perf_counter() - began)


async def accepted(gateway: Gateway, transport: str) -> int:
    """Envelopes of `transport` that are committed, as the gateway counts them."""
    return int((await gateway.ask("counters"))["counters"].get(f"{transport}.accepted", 0))


# --- with a homeserver -----------------------------------------------------------------------------------------------


async def with_a_homeserver(rig: Rig, per_second: float, seconds: float) -> dict[str, float]:
    """What is waiting drains into the rooms; then the latencies and the charts."""
    async with (
        servers.ours(rig.directory / "homeserver", (Path(rig.settings["registration_file"]),)) as homeserver,
        HttpClient() as session,
    ):
        owner = Owner(MatrixClient(session, homeserver.base_url))
        await owner.client.register(homeserver.registration_shared_secret, "owner", "correct horse")
        settings = {**rig.settings, "homeserver_url": homeserver.base_url}
        figures: dict[str, float] = {}
        watching = asyncio.create_task(owner.watch())
        try:
            for name, gathering in (("latency", SHORTEST_GATHERING), ("latency_usual", USUAL_GATHERING)):
                more = {**settings, "batch": {"seconds": gathering}}
                async with running_gateway(rig.directory / "gateway", more) as gateway:
                    progress("gateway: what waits goes into the rooms")
                    await _drained(rig, gateway, owner)
                    progress(f"gateway: {per_second:g} readings a second, gathered for {gathering:g} s")
                    samples = await _latencies(rig, owner, per_second, seconds)
                    figures |= {f"{name}.p50": quantile(samples, 0.5), f"{name}.p99": quantile(samples, 0.99)}
                    if name == "latency_usual":
                        progress("gateway: charts over a year")
                        figures |= await _charts(owner)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    return figures


async def _drained(rig: Rig, gateway: Gateway, owner: Owner) -> None:
    """Everybody's next reading is in the rooms, so whatever waited before it is, too."""
    last = rig.envelopes(1)
    names = {unpadded(envelope) for _, envelope in last}
    async with Publisher(rig.broker.port) as publisher:
        await publisher.publish(publish_packets((device.topic("up"), envelope) for device, envelope in last))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not owner.arrived.keys() >= names:
        if time.monotonic() > deadline:
            here = sum(name in owner.arrived for name in names)
            raise NotAllArrived(f"{here} of {len(names)} are in the rooms\n{gateway.log_tail()}")
        await asyncio.sleep(0.05)


async def _latencies(rig: Rig, owner: Owner, per_second: float, seconds: float) -> list[float]:
    """Seconds from a publish to the owner's waiting /sync, of readings that come at random at a steady rate."""
    sent: dict[str, float] = {}
    async with Publisher(rig.broker.port) as publisher:
        finish = time.perf_counter() + seconds
        while time.perf_counter() < finish:
            await asyncio.sleep(random.expovariate(per_second))
            device = random.choice(rig.devices)
            envelope = device.climate(214, 45)
            packets = publish_packets([(device.topic("up"), envelope)])
            sent[unpadded(envelope)] = time.perf_counter()
            await publisher.publish(packets)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not owner.arrived.keys() >= sent.keys():
        if time.monotonic() > deadline:
            raise NotAllArrived("a reading did not arrive")
        await asyncio.sleep(0.05)
    return [owner.arrived[name] - began for name, began in sent.items()]


async def _charts(owner: Owner) -> dict[str, float]:
    """Seconds from the owner's question in the room to the picture: the first, and the median of further ones."""
    room = owner.rooms["Place 0"]
    took = [await _chart(owner, room) for _ in range(1 + WARM_CHARTS)]
    return {"chart.cold": took[0], "chart.warm": statistics.median(took[1:])}


async def _chart(owner: Owner, room: str) -> float:
    owner.pictures.clear()
    began = time.perf_counter()
    await owner.client.send(room, "!chart Thing 0 temperature 365d")
    while not owner.pictures:
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise NotAllArrived("no picture came")
        await asyncio.sleep(0.002)
    return owner.pictures[0] - began


# --- memory ----------------------------------------------------------------------------------------------------------


async def memory(devices: int) -> float:
    """Resident memory of a gateway, 10^6 bytes, once `devices` were heard HEARD times each over MQTT."""
    async with (
        prepared(devices, 0) as rig,
        running_gateway(rig.directory / "gateway", {**rig.settings, "batch": {"seconds": MEMORY_GATHERING}}) as gateway,
    ):
        envelopes = rig.envelopes(HEARD)
        async with Publisher(rig.broker.port) as publisher:
            await publisher.publish(publish_packets((device.topic("up"), data) for device, data in envelopes))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await accepted(gateway, "mqtt") < len(envelopes):
            if time.monotonic() > deadline:
                raise NotAllArrived(gateway.log_tail())
            await asyncio.sleep(0.05)
        # A round of gathering, so that events are made of all this.
        await asyncio.sleep(2 * MEMORY_GATHERING)
        return resident_megabytes(gateway.pid)
