"""Hostile bytes on every door of a gateway that runs by itself: refused and counted; it lives, and does not grow."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiocoap
import aiomqtt
import msgspec
import psutil
from tests.gateway.brokers import Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, make_config, write_config
from tests.gateway.serial_cable import SerialBoard
from tests.gateway.test_gateway_crash import enrol, process
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_gateway import control
from thingroom_gateway.config import GatewayConfig, SerialConfig
from thingroom_wire import frames

WARM_UP, ROUNDS = 2, 3
MAX_GROWTH = 6_000_000
DOORS = ("mqtt", "coap", "serial")


class Villain:
    """Makes messages from what may be seen on the air, by a seed."""

    def __init__(self, thing: Thing, seed: int) -> None:
        self.chance = random.Random(seed)
        self._seen = [thing.envelope(900), thing.hello(), thing.pairing_hello("11" * 16), Thing(99).envelope()]

    def noise(self, most: int = 300) -> bytes:
        return self.chance.randbytes(self.chance.randrange(most))

    def payload(self) -> bytes:
        """Something like a message: changed, cut, run on, nested, or nothing like it."""
        seen = bytearray(self.chance.choice(self._seen))
        kind = self.chance.randrange(6)
        if kind < 2:
            for _ in range(self.chance.randrange(1, 4)):
                seen[self.chance.randrange(len(seen))] ^= 1 << self.chance.randrange(8)
        elif kind == 2:
            del seen[self.chance.randrange(len(seen)) :]
        elif kind == 3:
            seen += self.noise()
        elif kind == 4:
            return b"\xd2\x84" + b"\x81" * self.chance.randrange(3000)
        else:
            return self.noise(9000)
        return bytes(seen)

    def coap(self) -> bytes:
        """A datagram: a request of some kind, often to a door, whole or a block, or noise."""
        chance = self.chance
        if chance.randrange(4) == 0:
            return self.noise()
        path = chance.choice([b"\xb2up", b"\xb5hello", b"\xb6latest", b"\xbb.well-known\x04core", b"\xb1x"])
        observe = chance.choice([b"", b"", b"\x60"])
        if observe:
            path = bytes((path[0] - 0x60,)) + path[1:]
        head = bytes((0x40 | chance.randrange(4) << 4 | 2, chance.choice([1, 2, 2, 2, 3, 4, 5, 0x45, 0xFF])))
        block = chance.choice([b"", b"", b"\xd1\x03" + bytes((chance.randrange(256),))])
        return head + chance.randbytes(4) + observe + path + block + b"\xff" + self.payload()[:1200]

    def serial(self) -> bytes:
        """Bytes of a line: frames with bad content, damaged ones, unknown kinds, text, noise."""
        kind = self.chance.randrange(5)
        line = bytearray(frames.encode_frame(self.chance.randrange(7), self.payload()[:8192])[0])
        if kind == 0:
            line[self.chance.randrange(len(line))] ^= 1 << self.chance.randrange(8)
        elif kind == 1:
            del line[self.chance.randrange(len(line)) :]
        elif kind == 2:
            return self.noise(3000)
        elif kind == 3:
            return b"Guru Meditation Error\r\n" * self.chance.randrange(20)
        return bytes(line)


async def counters(config: GatewayConfig) -> dict[str, int]:
    answer = await asyncio.to_thread(control.ask, config.directory, {"command": "counters"})
    return dict(answer["counters"])


async def eventually_counted(config: GatewayConfig, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    for _ in tries():
        found = await counters(config)
        if condition(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not reached: {found}")


def topics(thing: Thing, villain: Villain) -> Iterator[str]:
    base = f"thingroom/1/{thing.hex[0]}/{thing.hex}"
    while True:
        yield villain.chance.choice(
            [f"{base}/up", f"{base}/hello", f"{base}/status", "thingroom/1/0/é/up", f"thingroom/1/0/{'x' * 200}/status"]
        )


async def one_round(
    villain: Villain, thing: Thing, client: aiomqtt.Client, udp: list[socket.socket], board: SerialBoard
) -> None:
    where = topics(thing, villain)
    for number in range(25):
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                qos = villain.chance.randrange(2)
                group.create_task(client.publish(next(where), villain.payload(), qos=qos, retain=number == 0))
        for one in udp:
            for _ in range(5):
                one.send(villain.coap())
        for _ in range(7):
            board.plug.write(villain.serial())


async def listening(config: GatewayConfig) -> None:
    """Wait until the gateway is subscribed: before, this broker keeps nothing for it."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                answer = await asyncio.to_thread(control.ask, config.directory, {"command": "status"})
                if answer["status"]["brokers"][0]["connected"]:
                    return
            await asyncio.sleep(0.05)


async def measure_on(thing: Thing, broker: Mosquitto) -> None:
    """A device that publishes one reading after the other until it is cancelled."""
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        while True:
            await client.publish(f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope(), qos=1)
            await asyncio.sleep(0.02)


async def test_hostile_bytes_on_every_door(
    tmp_path: Path, broker: Callable[..., Mosquitto], homeserver: FakeHomeserver
) -> None:
    thing, mosquitto = Thing(), broker(open_to_all=True, size_limit=False)
    port = tmp_path / "ttyBoard0"
    config = make_config(tmp_path, homeserver.url, mosquitto)
    config = msgspec.structs.replace(config, serial=SerialConfig(ports=(str(port),), console_bytes=100_000))
    await enrol(config, thing)
    honest = Thing(2, "Honest")
    await enrol(config, honest)
    villain = Villain(thing, 1)
    context = await aiocoap.Context.create_client_context()
    udp = []
    for _ in range(3):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Not the address that has no limits.
        one.bind(("127.0.0.2", 0))
        one.connect(("127.0.0.1", config.coap.port))
        udp.append(one)
    with SerialBoard(port) as board:
        async with process(write_config(tmp_path / "thingroom.toml", config), config) as running:
            await eventually_counted(config, lambda found: found.get("serial.opened", 0) == 1)
            await listening(config)
            measuring = asyncio.create_task(measure_on(honest, mosquitto))
            watched = psutil.Process(running.pid)
            sizes = []
            async with aiomqtt.Client("127.0.0.1", mosquitto.port, max_inflight_messages=1000) as client:
                for _ in range(WARM_UP + ROUNDS):
                    await one_round(villain, thing, client, udp, board)
                    # All that came is judged when the door's next good reading is.
                    await _all_doors_work(thing, client, context, config, board)
                    sizes.append(watched.memory_info().rss)
            assert running.returncode is None
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)
            # The last one may have been cut short.
            await eventually(lambda: len(homeserver.sequences(honest.hex)) >= honest.sequence - 1, 30)
            numbers = sorted(homeserver.sequences(honest.hex))
            assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 10
            found = await counters(config)
            for door in DOORS:
                refused = {name: count for name, count in found.items() if name.startswith(f"{door}.rejected.")}
                assert sum(refused.values()) >= 100 and len(refused) >= 4, (door, found)
                assert found[f"{door}.accepted"] >= WARM_UP + ROUNDS
            assert max(sizes) - sizes[WARM_UP - 1] < MAX_GROWTH, sizes
            assert len(found) < 150
    for one in udp:
        one.close()
    await context.shutdown()
    kept = sum(path.stat().st_size for path in (config.directory / "serial").iterdir())
    assert kept < 250_000


async def _all_doors_work(
    thing: Thing, client: aiomqtt.Client, context: aiocoap.Context, config: GatewayConfig, board: SerialBoard
) -> None:
    before = await counters(config)
    await client.publish(f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope(), qos=1)
    request: Any = aiocoap.Message(
        code=aiocoap.POST, uri=f"coap://127.0.0.1:{config.coap.port}/up", payload=thing.envelope(), content_format=18
    )
    response = await asyncio.wait_for(context.request(request).response, PATIENCE_SECONDS)
    assert response.code == aiocoap.CHANGED
    envelope = thing.envelope()
    mark = b""

    def heard() -> bool:
        return mark in board.acknowledged

    for _ in tries():
        mark = board.send(envelope)
        try:
            await eventually(heard, 0.5)
            break
        except AssertionError:
            continue
    await eventually_counted(
        config,
        lambda found: all(found.get(f"{door}.accepted", 0) > before.get(f"{door}.accepted", 0) for door in DOORS),
    )
