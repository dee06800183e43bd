"""The node on MicroPython against brokers that refuse, stall, send nonsense, cut off, and answer byte by byte."""

import asyncio
from pathlib import Path

import pytest
from tests.node.fake_broker import CONNACK_KNOWN, CONNACK_NEW, Connection, FakeBroker, behave, publish_to, split_publish
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway
from tests.node.test_node_over_mosquitto import acknowledged

CODE = bytes(range(16))


async def enrolled_settings(folder: Path, gateway: StandInGateway) -> dict:
    """Settings of a node that the gateway knows by key, so that every connection is a reporting one."""
    settings = node_settings(folder)
    async with NodeProcess(folder, settings) as node:
        key = await node.event("key")
    gateway.enrol(bytes.fromhex(key["key"]), bytes.fromhex(key["agreement_key"]))
    return {**settings, "gateway": {"key": gateway.public.hex(), "agreement_key": gateway.agreement_public.hex()}}


NONSENSE = {
    "closed_by_broker": b"",
    "bad_user_or_password": b"\x20\x02\x00\x04",
    "malformed_packet": b"\x20\x02\x07\x00",
    "packet_before_connack": b"\xd0\x00",
    "packet_too_large": b"\x30\xff\xff\xff\x7f",
    "unexpected_packet": b"\x10\x00",
    "bad_length": b"\x30\x80\x80\x80\x80",
}


@pytest.mark.parametrize("reason", NONSENSE)
async def test_a_bad_start_closes_and_comes_back(tmp_path: Path, reason: str) -> None:
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)

    async def bad(connection: Connection) -> None:
        await connection.packet()
        await connection.write(NONSENSE[reason])
        if reason != "closed_by_broker":
            await connection.closed()

    async def good(connection: Connection) -> None:
        await connection.accept()
        await behave(connection, gateway)

    async with FakeBroker(bad, good) as broker, NodeProcess(tmp_path, {**settings, "port": broker.port}) as node:
        await node.event("link", state="down", reason=reason)
        await node.until(lambda: len(acknowledged(node)) >= 3)
        assert broker.connections == 2


async def test_a_broker_that_writes_byte_by_byte(tmp_path: Path) -> None:
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)

    async def slow(connection: Connection) -> None:
        await connection.accept()
        await behave(connection, gateway, piece=1)

    async with FakeBroker(slow) as broker, NodeProcess(tmp_path, {**settings, "port": broker.port}) as node:
        await node.until(lambda: len(acknowledged(node)) >= 10)
        assert broker.connections == 1


@pytest.mark.parametrize(("connack", "repeat_flag"), [(CONNACK_KNOWN, 0x08), (CONNACK_NEW, 0)])
async def test_without_puback_it_is_published_again(tmp_path: Path, connack: bytes, repeat_flag: int) -> None:
    """MQTT 3.1.1 section 4.4: the same packet id, marked as a repeat where the session goes on."""
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)
    first_try: list[tuple[int, bytes]] = []
    second: list[Connection] = []

    async def silent_then_gone(connection: Connection) -> None:
        body = await connection.accept()
        assert body[7] & 2 == 0, "the session is not a clean one"
        while len(first_try) < 4:
            first, packet = await connection.packet()
            if split_publish(packet)[0].endswith("/up"):
                first_try.append((first, packet))

    async def good(connection: Connection) -> None:
        second.append(connection)
        await connection.accept(connack)
        for _, packet in connection.repeated:
            _, packet_id, payload = split_publish(packet)
            await connection.write(b"\x40\x02" + packet_id.to_bytes(2, "big"))
            gateway.take_envelope(payload)
        await behave(connection, gateway)

    async with (
        FakeBroker(silent_then_gone, good) as broker,
        NodeProcess(tmp_path, {**settings, "port": broker.port}) as node,
    ):
        await node.until(lambda: len(acknowledged(node)) >= 1)
    assert [(first & ~8, packet) for first, packet in second[0].repeated[:4]] == first_try
    assert {first & 8 for first, _ in second[0].repeated} == {repeat_flag}


async def test_what_is_not_for_us_or_in_qos_0_is_taken_calmly(tmp_path: Path) -> None:
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)
    pubacks: list[int] = []

    async def chatty(connection: Connection) -> None:
        await connection.accept()
        await connection.write(publish_to("thingroom/1/x/other/down", b"not ours", 901))
        await connection.write(b"\x30\x04\x00\x01ta")
        await connection.write(b"\x40\x02\x77\x77")
        while True:
            first, body = await connection.packet()
            if first == 0x40:
                pubacks.append(int.from_bytes(body, "big"))
                break
        await behave(connection, gateway)

    async with FakeBroker(chatty) as broker, NodeProcess(tmp_path, {**settings, "port": broker.port}) as node:
        await node.until(lambda: len(acknowledged(node)) >= 3)
        assert broker.connections == 1 and pubacks == [901]


async def test_a_broker_that_never_speaks_is_given_up(tmp_path: Path) -> None:
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)

    async def mute(connection: Connection) -> None:
        await connection.closed()

    async with FakeBroker(mute) as broker, NodeProcess(tmp_path, {**settings, "port": broker.port}) as node:
        before = asyncio.get_running_loop().time()
        await node.event("link", state="down", reason="connect_timeout")
        assert asyncio.get_running_loop().time() - before >= 8
        # It has sampled all the while.
        assert len(node.sampled()) > 100
