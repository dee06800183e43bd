"""The node over MQTT 5 and over TLS against a real Mosquitto, and MQTT 5 against a broker of ours with limits."""

import asyncio
from pathlib import Path

import pytest
import trustme
from tests.node.fake_broker import Connection, FakeBroker
from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway
from tests.node.test_node_misbehaving_broker import enrolled_settings
from tests.node.test_node_over_mosquitto import acknowledged
from tests.patience import tries

CODE = bytes(range(16))


@pytest.mark.parametrize("version", ["5", "auto"])
async def test_a_node_delivers_over_mqtt_5_and_its_session_outlives_it(tmp_path: Path, version: str) -> None:
    gateway = StandInGateway(CODE)
    statuses: list[bytes] = []

    def tap(topic: str, payload: bytes) -> None:
        if topic.endswith("/status"):
            statuses.append(payload)

    async with Broker(tmp_path) as broker, gateway_on(broker, gateway, tap):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), mqtt_version=version)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("enrolled")
            await node.until(lambda: len(acknowledged(node)) >= 10)
        for _ in tries():
            if statuses[-1:] == [b"offline"]:
                break
            await asyncio.sleep(0.05)
        assert statuses[-1] == b"offline"
        async with NodeProcess(tmp_path, settings) as node:
            await node.until(lambda: len(acknowledged(node)) >= 3)
    assert statuses[0] == b"online"
    gateway.check_chain()


def _properties(body: bytes) -> bytes:
    """Those of a CONNECT."""
    return body[11 : 11 + body[10]]


def connack(properties: bytes = b"", code: int = 0) -> bytes:
    return bytes((0x20, 3 + len(properties), 0, code, len(properties))) + properties


async def accept_5(connection: Connection, properties: bytes) -> bytes:
    """Answer CONNECT and SUBSCRIBE in MQTT 5; returns the body of CONNECT."""
    first, body = await connection.packet()
    assert first == 0x10 and body[6] == 5
    await connection.write(connack(properties))
    while True:
        first, packet = await connection.packet()
        if first == 0x82:
            await connection.write(b"\x90\x04" + packet[:2] + b"\x00\x01")
            return body
        connection.repeated.append((first, packet))


async def test_what_a_broker_can_take_is_respected(tmp_path: Path) -> None:
    """Receive Maximum 3, Maximum Packet Size 5000, Server Keep Alive 2 s, and repeats after a reconnect."""
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)
    connects: list[bytes] = []
    counts: list[int] = []
    limits = b"\x21\x00\x03\x27\x00\x00\x13\x88\x13\x00\x02"

    async def silent(connection: Connection) -> None:
        connects.append(await accept_5(connection, limits))
        unacknowledged = 0
        while True:
            first, _ = await connection.packet()
            if first == 0xC0:
                break
            unacknowledged += 1
        counts.append(unacknowledged)

    async def good(connection: Connection) -> None:
        await accept_5(connection, limits)
        counts.append(len(connection.repeated))
        await connection.write(b"\xe0\x02\x8b\x00")
        await connection.closed()

    async with (
        FakeBroker(silent, good) as broker,
        NodeProcess(tmp_path, {**settings, "port": broker.port, "mqtt_version": "5"}) as node,
    ):
        await node.event("link", state="down", reason="broker_shutting_down")
    assert connects[0][7] & 2 == 0
    assert _properties(connects[0]) == b"\x21\x00\x08\x27\x00\x00\x40\x05\x17\x00\x11\x00\x09\x3a\x80"
    # The status and hello are not repeated.
    assert counts[0] == 3 and 1 <= counts[1] <= 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\x20\x02\x00\x01", "unacceptable_protocol"),
        (connack(code=0x84), "unacceptable_protocol"),
        (b"", "closed_by_broker"),
    ],
)
async def test_auto_falls_back(tmp_path: Path, answer: bytes, reason: str) -> None:
    gateway = StandInGateway()
    settings = await enrolled_settings(tmp_path, gateway)
    levels: list[int] = []

    async def old(connection: Connection) -> None:
        _, body = await connection.packet()
        levels.append(body[6])
        await connection.write(answer)
        if answer:
            await connection.closed()

    async def good(connection: Connection) -> None:
        levels.append((await connection.accept())[6])
        await connection.closed()

    async with (
        FakeBroker(old, good) as broker,
        NodeProcess(tmp_path, {**settings, "port": broker.port, "mqtt_version": "auto"}) as node,
    ):
        await node.event("link", state="down", reason=reason)
        await node.event("link", state="up")
    assert levels == [5, 4]


def _tls_broker(folder: Path, authority: trustme.CA, name: str) -> Broker:
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(str(folder / "broker.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "broker.pem"))
    return Broker(folder, f"allow_anonymous true\ncertfile {folder / 'broker.pem'}\nkeyfile {folder / 'broker.key'}\n")


@pytest.mark.parametrize("as_path", [True, False])
async def test_a_node_delivers_over_tls(tmp_path: Path, as_path: bool) -> None:
    authority, other = trustme.CA(), trustme.CA()
    pem = (other.cert_pem.bytes() + authority.cert_pem.bytes()).decode()
    (tmp_path / "ca.pem").write_text(pem)
    settings = node_settings(
        tmp_path,
        tls=True,
        host="localhost",
        ca=str(tmp_path / "ca.pem") if as_path else pem,
        mqtt_version="5" if as_path else "3.1.1",
    )
    settings["pairing_code"] = CODE.hex()
    async with (
        _tls_broker(tmp_path, authority, "localhost") as broker,
        NodeProcess(tmp_path, {**settings, "port": broker.port}) as node,
    ):
        await node.event("link", state="up")


@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_a_broker_that_nobody_vouches_for_is_refused(tmp_path: Path, wrong: str) -> None:
    authority, other = trustme.CA(), trustme.CA()
    trusted = other if wrong == "authority" else authority
    settings = node_settings(tmp_path, tls=True, host="localhost", ca=trusted.cert_pem.bytes().decode())
    name = "localhost" if wrong == "authority" else "broker.example"
    settings["pairing_code"] = CODE.hex()
    async with (
        _tls_broker(tmp_path, authority, name) as broker,
        NodeProcess(tmp_path, {**settings, "port": broker.port}) as node,
    ):
        await node.event("link", state="down", reason="certificate_refused")
        assert not [event for event in node.of("link") if event["state"] == "up"]
