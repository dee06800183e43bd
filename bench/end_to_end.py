"""From a publish at the broker to the room: broker, gateway and our homeserver as processes of their own.

Measures envelopes per second until they are acknowledged to their devices and until their owner's /sync has them, the
time from a publish to the owner's waiting /sync, and what each process takes to start and to sit there. The next
reading is tests/flows/gateway_stack.py (processes and devices) and bench/mqtt_publisher.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import nacl.bindings
from nacl.signing import VerifyKey
from rich.table import Table
from tests.flows.gateway_stack import Device, Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.free_port import free_port

from bench import servers
from bench.http_client import HttpClient
from bench.matrix_client import MatrixClient
from bench.measure import console, describe, machine, progress, quantile, resident_megabytes, save
from bench.mqtt_publisher import Publisher, publish_packets
from thingroom_gateway.matrix_event import READINGS_TYPE, unpadded
from thingroom_gateway.registration import write_registration
from thingroom_wire.downlink import parse_answer
from thingroom_wire.envelope import parse_envelope
from thingroom_wire.keys import downlink_key, key_id

DEVICES = 10
ENVELOPES = 12_000
ROUNDS = 3
# What one device has gathered in its outbox while it was out of reach.
BACKLOG = 1_500
IDLE_SECONDS = 5.0
VERIFICATIONS = 10_000
WAKE_UPS = 100
# Drawn anew for each wake-up, or the readings would fall in step with the gathering clock.
PAUSE_SECONDS = (0.03, 0.13)
# How long readings gather before they are an event is a choice and not a cost. Where the rate is measured it is the
# default, and the rate is that of the first nine tenths: the rest is fewer than an event holds and waits for the clock.
# Where the latency is measured it is as short as the gateway allows.
COUNTED = 0.9
SHORTEST_GATHERING = 0.05
PATIENCE_SECONDS = 60.0


class LostReadings(Exception):
    """Not everything that was published came out, so there is no rate to speak of."""


@dataclass
class Owner:
    """The owner's client: joins what it is invited to and keeps the time at which each envelope came.

    `rooms` are ids by name, `pictures` the times at which pictures came.
    """

    client: MatrixClient
    arrived: dict[str, float] = field(default_factory=dict)
    joined: int = 0
    rooms: dict[str, str] = field(default_factory=dict)
    pictures: list[float] = field(default_factory=list)
    _since: str = ""

    async def watch(self) -> None:
        """Sync for ever."""
        while True:
            answer = await self.client.sync(self._since, timeout_ms=30_000, timeline_limit=1000)
            now = time.perf_counter()
            self._since = answer["next_batch"]
            rooms = answer.get("rooms", {})
            for room_id, room in rooms.get("join", {}).items():
                for part in ("state", "timeline"):
                    self._keep(room_id, room.get(part, {}).get("events", ()), now)
            for room_id in rooms.get("invite", {}):
                await self.client.join(room_id)
                self.joined += 1

    def _keep(self, room_id: str, events: Iterable[dict[str, Any]], now: float) -> None:
        for event in events:
            if event["type"] == "m.room.name":
                self.rooms[event["content"]["name"]] = room_id
            elif event["content"].get("msgtype") == "m.image":
                self.pictures.append(now)
            elif event["type"] == READINGS_TYPE:
                for envelope in event["content"]["envelopes"]:
                    self.arrived.setdefault(envelope, now)


@dataclass
class Answers:
    """What the gateway told the devices over MQTT: acknowledged sequences by key id, and when the last of them came."""

    keys: dict[bytes, bytes]
    acknowledged: dict[bytes, set[int]] = field(default_factory=dict)
    last_at: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, port: int) -> None:
        """Take answers for ever."""
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("thingroom/1/+/+/down", qos=1)
            self.ready.set()
            async for message in client.messages:
                kid = bytes.fromhex(str(message.topic).split("/")[3])
                assert isinstance(message.payload, bytes)
                answer = parse_answer(message.payload, self.keys[kid])
                told = self.acknowledged.setdefault(kid, set())
                for first, last in answer.acknowledged:
                    told.update(range(first, last + 1))
                self.last_at = time.perf_counter()

    def count(self) -> int:
        return sum(len(told) for told in self.acknowledged.values())


@dataclass
class Rig:
    """Everything that runs, for one measurement after the other."""

    gateway: Gateway
    broker: Mosquitto
    owner: Owner
    devices: list[Device]
    answers: Answers


def main() -> dict[str, float]:
    """Measure, print the table, save it, and return the figures by name."""
    facts = machine()
    figures = asyncio.run(_measure())
    save("end_to_end", {"machine": facts, "figures": figures})
    _print(facts, figures)
    return figures


def verifications_per_second() -> float:
    """What PyNaCl verifies on one core: the bytes that an envelope's signature covers, nothing else done."""
    device = Device("verify")
    envelope = parse_envelope(device.climate(214, 45))
    key = VerifyKey(device.public_key)
    began = time.perf_counter()
    for _ in range(VERIFICATIONS):
        key.verify(envelope.signed_bytes, envelope.signature)
    return VERIFICATIONS / (time.perf_counter() - began)


async def _measure() -> dict[str, float]:
    progress("end to end: what PyNaCl verifies")
    before = verifications_per_second()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as folder:
        base = Path(folder)
        registration, appservice_port = base / "registration.yaml", free_port()
        write_registration(registration, servers.SERVER_NAME, f"http://127.0.0.1:{appservice_port}")
        async with (
            running_mosquitto(base / "broker", managed=False) as broker,
            servers.ours(base / "homeserver", (registration,)) as homeserver,
            HttpClient() as session,
        ):
            owner = Owner(MatrixClient(session, homeserver.base_url))
            await owner.client.register(homeserver.registration_shared_secret, "owner", "correct horse")
            settings: dict[str, Any] = {
                "homeserver_url": homeserver.base_url,
                "server_name": servers.SERVER_NAME,
                "registration_file": str(registration),
                "owner": owner.client.user_id,
                "mqtt": broker.settings,
                "coap": {"enabled": False},
                "appservice": {"port": appservice_port},
            }
            devices = [Device(f"Room {number}") for number in range(DEVICES)]
            async with _watching(owner):
                async with running_gateway(base / "gateway", settings) as gateway:
                    figures |= await _idle(homeserver, broker, gateway)
                    keys = await _enrol_all(gateway, devices)
                    async with _listening(Answers(keys), broker) as answers:
                        rig = Rig(gateway, broker, owner, devices, answers)
                        await _settle_in(rig)
                        figures |= await _rates(rig)
                settings["batch"] = {"seconds": SHORTEST_GATHERING}
                async with running_gateway(base / "gateway", settings) as gateway:
                    figures |= await _wake_ups(Rig(gateway, broker, owner, devices, answers))
    verifies = statistics.mean((before, verifications_per_second()))
    figures["verifies.per_second"] = verifies
    figures["in_room.of_verifies"] = figures["in_room.per_second"] / verifies
    progress("")
    return figures


@contextlib.asynccontextmanager
async def _watching(owner: Owner) -> Any:
    watching = asyncio.create_task(owner.watch())
    try:
        yield
    finally:
        await _cancel(watching)


@contextlib.asynccontextmanager
async def _listening(answers: Answers, broker: Mosquitto) -> Any:
    listening = asyncio.create_task(answers.listen(broker.port))
    await answers.ready.wait()
    try:
        yield answers
    finally:
        await _cancel(listening)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _idle(homeserver: servers.Running, broker: Mosquitto, gateway: Gateway) -> dict[str, float]:
    progress("end to end: idle")
    await asyncio.sleep(IDLE_SECONDS)
    figures = {}
    for name, one in (("homeserver", homeserver), ("broker", broker), ("gateway", gateway)):
        figures[f"start_up.{name}"] = one.started_in
        figures[f"memory_idle.{name}"] = resident_megabytes(one.pid)
    return figures


async def _enrol_all(gateway: Gateway, devices: list[Device]) -> dict[bytes, bytes]:
    """Enrol; the downlink key of each device by key id."""
    keys = {}
    for device in devices:
        answer = await gateway.enrol(device)
        agreement = bytes.fromhex(answer["gateway_agreement_key"])
        shared = nacl.bindings.crypto_scalarmult(device.agreement_private, agreement)
        keys[device.kid] = downlink_key(shared, device.kid, key_id(bytes.fromhex(answer["gateway_key"])))
    return keys


async def _settle_in(rig: Rig) -> None:
    """One reading of each device, so that rooms, ghosts and the owner's memberships are there."""
    progress("end to end: rooms are made")
    await _through(rig, [(device, device.climate(214, 45)) for device in rig.devices])


async def _rates(rig: Rig) -> dict[str, float]:
    acknowledged, in_room = [], []
    for number in range(ROUNDS):
        progress(f"end to end: round {number + 1} of {ROUNDS}: {ENVELOPES} envelopes")
        envelopes = [
            (device, device.climate(200 + index % 50, 45))
            for index in range(ENVELOPES // len(rig.devices))
            for device in rig.devices
        ]
        seconds_to_answer, seconds_to_room = await _through(rig, envelopes)
        acknowledged.append(len(envelopes) / seconds_to_answer)
        in_room.append(COUNTED * len(envelopes) / seconds_to_room)
    progress(f"end to end: a backlog of {BACKLOG} from one device")
    backlog = [(rig.devices[0], rig.devices[0].climate(200 + index % 50, 45)) for index in range(BACKLOG)]
    _, backlog_seconds = await _through(rig, backlog)
    return {
        "backlog.per_second": COUNTED * BACKLOG / backlog_seconds,
        "acknowledged.per_second": statistics.median(acknowledged),
        "in_room.per_second": statistics.median(in_room),
        "memory_after_load.gateway": resident_megabytes(rig.gateway.pid),
    }


async def _through(rig: Rig, envelopes: list[tuple[Device, bytes]]) -> tuple[float, float]:
    """Publish; seconds until the last is acknowledged to its device, and until COUNTED of them are in the /sync.

    Returns once every one of them is in both places. Raises LostReadings.
    """
    packets = publish_packets((device.topic("up"), envelope) for device, envelope in envelopes)
    names = [unpadded(envelope) for _, envelope in envelopes]
    expected = rig.answers.count() + len(envelopes)
    async with Publisher(rig.broker.port) as publisher:
        began = time.perf_counter()
        await publisher.publish(packets)
        deadline = began + PATIENCE_SECONDS
        while rig.answers.count() < expected or not rig.owner.arrived.keys() >= set(names):
            if time.perf_counter() > deadline:
                here = sum(name in rig.owner.arrived for name in names)
                raise LostReadings(
                    f"of {len(names)}: {rig.answers.count() - expected + len(names)} acknowledged, {here} in the room\n"
                    f"{rig.gateway.log_tail()}"
                )
            await asyncio.sleep(0.05)
    return rig.answers.last_at - began, quantile([rig.owner.arrived[name] for name in names], COUNTED) - began


async def _wake_ups(rig: Rig) -> dict[str, float]:
    progress("end to end: wake-ups")
    samples = []
    async with Publisher(rig.broker.port) as publisher:
        for number in range(WAKE_UPS):
            device = rig.devices[number % len(rig.devices)]
            envelope = device.climate(214, 45)
            packets, name = publish_packets([(device.topic("up"), envelope)]), unpadded(envelope)
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            began = time.perf_counter()
            await publisher.publish(packets)
            while name not in rig.owner.arrived:
                if time.perf_counter() - began > PATIENCE_SECONDS:
                    raise LostReadings(f"a reading did not arrive\n{rig.gateway.log_tail()}")
                await asyncio.sleep(0.001)
            samples.append(rig.owner.arrived[name] - began)
    return {
        "start_up.gateway_again": rig.gateway.started_in,
        "wake_up.p50": quantile(samples, 0.50),
        "wake_up.p99": quantile(samples, 0.99),
    }


def _print(facts: dict[str, Any], figures: dict[str, float]) -> None:
    rows = (
        ("verified by PyNaCl alone, one core", "verifies.per_second", 1, "/s"),
        ("MQTT to acknowledged (committed)", "acknowledged.per_second", 1, "/s"),
        ("MQTT to the owner's /sync", "in_room.per_second", 1, "/s"),
        ("  of what PyNaCl verifies", "in_room.of_verifies", 100, "%"),
        (f"  {BACKLOG} from one device to the owner's /sync", "backlog.per_second", 1, "/s"),
        (f"publish to waiting /sync, p50 (gathering {SHORTEST_GATHERING:g} s)", "wake_up.p50", 1000, "ms"),
        ("publish to waiting /sync, p99", "wake_up.p99", 1000, "ms"),
        ("start-up: homeserver", "start_up.homeserver", 1000, "ms"),
        ("start-up: gateway", "start_up.gateway", 1000, "ms"),
        ("start-up: gateway, rooms there already", "start_up.gateway_again", 1000, "ms"),
        ("start-up: mosquitto", "start_up.broker", 1000, "ms"),
        ("idle memory: homeserver", "memory_idle.homeserver", 1, "MB"),
        ("idle memory: gateway", "memory_idle.gateway", 1, "MB"),
        ("idle memory: mosquitto", "memory_idle.broker", 1, "MB"),
        ("memory after the load: gateway", "memory_after_load.gateway", 1, "MB"),
    )
    table = Table(title="From the broker to the room", title_justify="left", show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for title, key, scale, unit in rows:
        table.add_row(title, f"{figures[key] * scale:,.1f}", unit)
    out = console()
    out.print(table)
    out.print(
        f"{DEVICES} devices, {ROUNDS} rounds of {ENVELOPES} envelopes, medians; {WAKE_UPS} wake-ups. {describe(facts)}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
