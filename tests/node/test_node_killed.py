"""SIGKILL at random moments, many times: no number comes twice, nothing that was reported is missing."""

import asyncio
import random
from pathlib import Path

from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway

from thingroom_node import durable
from thingroom_node.counters import open_counters
from thingroom_node.outbox import open_outbox
from thingroom_wire import envelope

CODE = bytes(range(16))


def stored_in(directory: Path) -> tuple[list[int], list[tuple[bytes, bytes]]]:
    """Numbers and contents waiting in a dead node's outbox."""
    outbox = open_outbox(str(directory / "outbox"), open_counters(str(directory / "counters"), False), 65536)
    numbers, contents = [], []
    place = outbox.next_pending(0)
    while place is not None:
        numbers.append(place.sequence)
        contents.append(outbox.load(place))
        place = outbox.next_pending(place.sequence)
    outbox.close()
    return numbers, contents


async def test_killed_while_sampling(tmp_path: Path) -> None:
    chance = random.Random(7)
    sampled: list[int] = []
    kids = set()
    for round_number in range(30):
        settings = node_settings(tmp_path, interval_ms=1, outbox_bytes=64 * 1024 * 20)
        async with NodeProcess(tmp_path, settings) as node:
            if round_number % 3:
                await node.until(lambda: len(node.sampled()) > 0)
                await asyncio.sleep(chance.random() * 0.05)
            else:
                await asyncio.sleep(chance.random() * 0.3)
            await node.kill()
            assert node.stderr == b""
            sampled += node.sampled()
            kids.update(event["kid"] for event in node.of("key"))
    assert len(kids) == 1 and len(sampled) > 100
    assert len(set(sampled)) == len(sampled)
    numbers, contents = stored_in(tmp_path / "node")
    assert set(numbers) >= set(sampled)
    # At most one more for each kill: stored, and killed before it was reported.
    assert len(numbers) - len(sampled) <= 30
    previous = None
    for number, (protected, payload) in zip(numbers, contents, strict=True):
        parsed = envelope.parse_envelope(b"\xd2\x84" + _bstr(protected) + b"\xa0" + _bstr(payload) + _bstr(bytes(64)))
        assert parsed.header.sequence == number
        assert parsed.header.predecessor == previous
        previous = (number, envelope.digest(protected, payload))


def _bstr(data: bytes) -> bytes:
    return b"\x59" + len(data).to_bytes(2, "big") + data


async def test_killed_while_sending_and_forgetting(tmp_path: Path) -> None:
    chance = random.Random(11)
    sampled: list[int] = []
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=15)
        for _ in range(10):
            async with NodeProcess(tmp_path, settings) as node:
                await node.until(lambda: len(node.of("acknowledged")) > chance.randrange(4))
                await asyncio.sleep(chance.random() * 0.1)
                await node.kill()
                assert node.stderr == b""
                sampled += node.sampled()
        assert len(set(sampled)) == len(sampled)
        async with NodeProcess(tmp_path, {**settings, "interval_ms": 3_600_000}) as node:
            waiting = (await node.event("key"))["waiting"] + 1
            await node.until(lambda: len(node.of("acknowledged")) == waiting)
            sampled += node.sampled()
    assert set(sampled) <= set(gateway.envelopes)
    gateway.check_chain()
    assert stored_in(tmp_path / "node")[0] == []


async def test_counters_that_are_gone_stop_a_known_key(tmp_path: Path) -> None:
    settings = node_settings(tmp_path)
    async with NodeProcess(tmp_path, settings) as node:
        await node.event("sampled")
    (tmp_path / "node/counters").unlink()
    async with NodeProcess(tmp_path, settings) as node:
        assert await node.process.wait() == 2
    assert node.sampled() == [] and b"numbers that this key has used" in node.stderr
    durable.write_atomic(str(tmp_path / "node/counters"), b"short")
    async with NodeProcess(tmp_path, settings) as node:
        assert await node.process.wait() == 2
    assert b"another version" in node.stderr
