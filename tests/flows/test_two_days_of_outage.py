"""The homeserver is away while readings come in: they wait on disk, not in memory, and arrive in order, each once.

Two days at 50 readings a second are 8,640,000. A test run takes 30,000 of them, as fast as the gateway takes them;
`make soak` takes them all (soak.py). With -s it prints what it measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nio
import psutil
import pytest
from bench.mqtt_publisher import Publisher, publish_packets
from tests.browser.homeservers import running_thingroom
from tests.federation.peers import ReservedPort
from tests.flows.gateway_stack import Device, Gateway, running_gateway, running_mosquitto
from tests.flows.household import PASSWORD
from tests.flows.readings import device_keys, newest_first, prove, unpadded
from tests.flows.soak import soaked

from thingroom_gateway.registration import write_registration

READINGS = soaked(30_000, 2 * 86_400 * 50)
DEVICES = 10
ROUND = 2_500
OUTAGE_MS = 2 * 86_400_000
# A reading that stayed in memory would take some times as much.
MAX_GROWTH_PER_READING = 200
MAX_GROWTH = 12_000_000


@contextlib.asynccontextmanager
async def owner_at(url: str) -> AsyncIterator[nio.AsyncClient]:
    client = nio.AsyncClient(url, "@owner:thingroom.test")
    try:
        assert isinstance(await client.login(PASSWORD), nio.LoginResponse)
        yield client
    finally:
        await client.close()


async def rooms_of(client: nio.AsyncClient) -> dict[str, str]:
    """The devices' rooms by name, entered."""
    async with asyncio.timeout(60):
        while True:
            await client.sync(timeout=500)
            for room_id in list(client.invited_rooms):
                await client.join(room_id)
            found = {str(room.name): str(room_id) for room_id, room in client.rooms.items()}
            if len(found) == DEVICES + 1:
                return {name: room_id for name, room_id in found.items() if name.startswith("Sensor")}


async def all_in(gateway: Gateway, number: int) -> None:
    """Wait until the gateway has stored so many readings."""
    async with asyncio.timeout(60 + number / 200):
        while (await gateway.ask("counters"))["counters"].get("mqtt.accepted", 0) < number:
            await asyncio.sleep(0.1)


async def drained(gateway: Gateway, number: int) -> None:
    """Wait until nothing is left to be sent."""
    path = gateway.directory / "gateway.sqlite"

    def left() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            untaken = connection.execute("SELECT COALESCE(SUM(stored - taken), 0) FROM arrivals").fetchone()[0]
            return int(untaken + connection.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])

    async with asyncio.timeout(60 + number / 200):
        while await asyncio.to_thread(left):
            await asyncio.sleep(0.2)


async def each_once_and_in_order(client: nio.AsyncClient, room_id: str, number: int) -> None:
    """The room has the readings 1 to `number` of its device, proven, and each event's after those of the one before."""
    keys = await device_keys(client, room_id)
    expected = number
    async for event in newest_first(client, room_id):
        if event["type"] == "org.thingroom.readings":
            key = keys[event["content"]["device"]]
            for text in reversed(event["content"]["envelopes"]):
                assert prove(unpadded(text), key).sequence == expected, event["event_id"]
                expected -= 1
    assert expected == 0


@pytest.mark.timeout(600 + READINGS // 50)
async def test_two_days_of_outage(tmp_path: Path) -> None:
    reserved = [ReservedPort(), ReservedPort()]
    port, appservice = (one.number for one in reserved)
    registration = tmp_path / "registration.yaml"
    write_registration(registration, "thingroom.test", f"http://127.0.0.1:{appservice}")
    devices = [Device(f"Sensor {number}") for number in range(DEVICES)]
    ended, published, sizes = time.time_ns() // 1_000_000, 0, []

    def messages(number: int) -> list[tuple[str, bytes]]:
        """The next readings, by turns, as if the outage had lasted until now."""
        made = []
        for count in range(published, published + number):
            device = devices[count % DEVICES]
            at = ended - OUTAGE_MS + count * OUTAGE_MS // READINGS
            made.append((device.topic("up"), device.climate(180 + count // 97 % 60, 30 + count // 31 % 40, at)))
        return made

    def homeserver() -> Any:
        return running_thingroom(tmp_path / "homeserver", [registration], port)

    async with running_mosquitto(tmp_path / "broker", managed=False) as broker:
        settings: dict[str, Any] = {
            "homeserver_url": f"http://127.0.0.1:{port}",
            "server_name": "thingroom.test",
            "registration_file": str(registration),
            "owner": "@owner:thingroom.test",
            "mqtt": broker.settings,
            "coap": {"enabled": False},
            "appservice": {"port": appservice},
            "homeserver": {"retry_seconds": [0.5, 1.0, 2.0]},
        }
        async with running_gateway(tmp_path / "gateway", settings) as gateway:
            watched = psutil.Process(gateway.pid)
            for device in devices:
                assert (await gateway.enrol(device))["ok"]
            async with homeserver() as running:
                await running.register("owner", PASSWORD)
                async with owner_at(running.base_url) as owner:
                    await rooms_of(owner)
            began = time.perf_counter()
            async with Publisher(broker.port) as publisher:
                while published < READINGS:
                    number = min(ROUND, READINGS - published)
                    packets = await asyncio.to_thread(lambda count=number: publish_packets(messages(count)))
                    published += number
                    await publisher.publish(packets)
                    await all_in(gateway, published)
                    sizes.append(watched.memory_info().rss)
            seconds = time.perf_counter() - began
            print(f"\n{READINGS} readings in {seconds:.0f} s, {READINGS / seconds:.0f} a second")
            warm = sizes[len(sizes) // 3]
            growth = max(sizes) - warm
            disk = (gateway.directory / "gateway.sqlite").stat().st_size
            print(f"memory {sizes[0] >> 20} MiB at first, {warm >> 20} after a third, {max(sizes) >> 20} at most")
            print(f"disk {disk / READINGS:.0f} bytes a reading")
            assert growth < min(MAX_GROWTH, READINGS * MAX_GROWTH_PER_READING), sizes

            async with homeserver() as running:
                began = time.perf_counter()
                await drained(gateway, READINGS)
                seconds = time.perf_counter() - began
                after = watched.memory_info().rss
                print(f"drained in {seconds:.0f} s, {READINGS / seconds:.0f} a second; memory {after >> 20} MiB then")
                assert after - warm < 2 * MAX_GROWTH, (after, sizes)
                async with owner_at(running.base_url) as owner:
                    rooms = await rooms_of(owner)
                    for number, device in enumerate(devices):
                        await each_once_and_in_order(owner, rooms[f"Sensor {number}"], device.sequence)
    assert sum(device.sequence for device in devices) == READINGS
    for one in reserved:
        one.close()
