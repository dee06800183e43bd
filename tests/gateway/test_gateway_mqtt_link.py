"""What the MQTT link promises, against a broker that does what the test says: order, back-pressure, odd brokers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage
from tests.gateway.brokers import certificate
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, stuck_disk
from tests.gateway.scripted_broker import ScriptedBroker, Session, connack, publish, scripted_broker, suback
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.app import Gateway
from thingroom_gateway.config import GatewayConfig, Limits, MqttConfig
from thingroom_gateway.links.mqtt import MAX_PACKET, filters
from thingroom_gateway.links.mqtt_connection import Broker, Connection, LinkDown, Ticket
from thingroom_gateway.outcomes import MAX_FRAME

VERSIONS = ["5", "3.1.1"]
both_versions = pytest.mark.parametrize("version", VERSIONS)


def topic(thing: Thing, kind: str = "up") -> str:
    return f"thingroom/1/{thing.hex[0]}/{thing.hex}/{kind}"


@contextlib.asynccontextmanager
async def linked(
    tmp_path: Path,
    homeserver: FakeHomeserver,
    version: str,
    *things: Thing,
    queue: int = 2048,
    maximum: int | None = None,
) -> AsyncIterator[tuple[GatewayConfig, Gateway, ScriptedBroker, Session]]:
    """A gateway on a scripted broker, let in."""
    async with scripted_broker(version) as broker:
        config = msgspec.structs.replace(
            make_config(tmp_path, homeserver.url),
            mqtt=MqttConfig(port=broker.port, password="x", protocol=version, window=300),  # type: ignore[arg-type]
            limits=Limits(queue_frames=queue),
        )
        letting_in = asyncio.create_task(broker.accepted(maximum))
        async with gateway(config, *things) as running:
            yield config, running, broker, await letting_in


def counted(running: Gateway, name: str) -> int:
    return running.core.counters[name]


@both_versions
async def test_connect_asks_for_our_session_and_our_limits(
    tmp_path: Path, homeserver: FakeHomeserver, version: str
) -> None:
    async with linked(tmp_path, homeserver, version) as (_, _, _, session):
        name, level, flags = session.connect[:6], session.connect[6], session.connect[7]
        assert (name, level) == (b"\0\4MQTT", 5 if version == "5" else 4)
        assert flags == 0xC0  # User and password; no clean start, no will.
        if version == "5":
            length = session.connect[10]
            properties = session.connect[11 : 11 + length]
            assert b"\x21" + (300).to_bytes(2, "big") in properties
            assert b"\x27" + MAX_PACKET.to_bytes(4, "big") in properties
            assert b"\x11" + (7 * 86_400).to_bytes(4, "big") in properties


@both_versions
async def test_acknowledged_after_the_commit_in_order_of_arrival(
    tmp_path: Path, homeserver: FakeHomeserver, version: str
) -> None:
    """Also what needs no commit waits for its turn ([MQTT-4.6.0-2])."""
    thing = Thing()
    async with linked(tmp_path, homeserver, version, thing) as (config, running, _, session):
        with stuck_disk(running, config):
            session.send(publish(version, topic(thing), thing.envelope(), 11))
            session.send(publish(version, topic(thing, "status"), b"online", 7))
            session.send(publish(version, topic(thing), bytes(MAX_FRAME + 1), 13))
            session.send(publish(version, topic(thing), thing.envelope(), None))
            session.send(publish(version, topic(thing), b"garbage", 2))
            session.send(publish(version, topic(thing), thing.envelope(), 14))
            await eventually(lambda: counted(running, "storage.failed") > 0)
            await eventually(lambda: counted(running, "mqtt.rejected.too_large") == 1)
            await asyncio.sleep(0.2)
            assert session.acknowledged == []
        await eventually(lambda: len(session.acknowledged) == 5)
        assert session.acknowledged == [11, 7, 13, 2, 14]
        assert counted(running, "mqtt.accepted") == 3


@both_versions
async def test_an_acknowledgement_belongs_to_its_connection(
    tmp_path: Path, homeserver: FakeHomeserver, version: str
) -> None:
    """The same packet id on the next connection may be another message."""
    thing = Thing()
    async with linked(tmp_path, homeserver, version, thing) as (config, running, broker, session):
        envelope = thing.envelope()
        with stuck_disk(running, config):
            session.send(publish(version, topic(thing), envelope, 5))
            await eventually(lambda: counted(running, "storage.failed") > 0)
            session.writer.close()
            session = await broker.accepted()
        await eventually(lambda: counted(running, "mqtt.accepted") == 1)
        # The answer to the device goes out on the connection that there is.
        await eventually(lambda: session.published)
        assert session.acknowledged == []
        session.send(publish(version, topic(thing), envelope, 5))
        await eventually(lambda: session.acknowledged == [5])
        assert counted(running, "mqtt.duplicate") == 1


@both_versions
async def test_without_room_the_socket_is_not_read(tmp_path: Path, homeserver: FakeHomeserver, version: str) -> None:
    """QoS 0 knows no window: only an unread socket holds such a sender back."""
    thing, number = Thing(), 4000
    async with linked(tmp_path, homeserver, version, thing, queue=8) as (config, running, _, session):
        with stuck_disk(running, config):
            session.send(publish(version, topic(thing), thing.envelope(), 1))
            await eventually(lambda: counted(running, "storage.failed") > 0)
            session.send(publish(version, topic(thing), bytes(8000), None) * number)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.writer.drain(), 1.5)
            assert len(running.ingest._queue) <= 8
            assert running.mqtt is not None and running.mqtt._connection is not None
            assert len(running.mqtt._connection._held) <= 100
        await asyncio.wait_for(session.writer.drain(), PATIENCE_SECONDS)
        session.send(publish(version, topic(thing), thing.envelope(), 2))
        await eventually(lambda: session.acknowledged == [1, 2])
        rejected = sum(value for name, value in running.core.counters.all().items() if "rejected" in name)
        assert rejected == number


async def test_what_waited_at_the_broker_may_come_before_its_answer(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    """A session that goes on while ingest is full: the subscription's answer is behind messages without room."""
    thing = Thing()
    async with linked(tmp_path, homeserver, "5", thing, queue=8) as (config, running, broker, session):
        with stuck_disk(running, config):
            session.send(publish("5", topic(thing), thing.envelope(), 1))
            await eventually(lambda: counted(running, "storage.failed") > 0)
            session.send(publish("5", topic(thing), bytes(10), None) * 1200)
            await eventually(lambda: running.mqtt._connection._paused)  # type: ignore[union-attr]
            running.mqtt._connection._lose("the test says so")  # type: ignore[union-attr]
            session = await broker.session()
            session.send(connack("5") + publish("5", topic(thing), thing.envelope(), 2) + suback("5", b"\0\1", 1, 1, 1))
            await asyncio.sleep(0.3)
        await eventually(running.mqtt.connected.is_set)  # type: ignore[union-attr]
        await eventually(lambda: counted(running, "mqtt.accepted") == 2)


async def test_answers_coalesce_and_wait_for_the_broker(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    """With a Receive Maximum of 1 the second answer leaves when the broker has taken the first."""
    one, two = Thing(1), Thing(2, name="Cellar")
    async with linked(tmp_path, homeserver, "5", one, two, maximum=1) as (_, _, _, session):
        session.send(publish("5", topic(one), one.envelope(), 1))
        await eventually(lambda: len(session.published) == 1)
        for number in range(2, 7):
            session.send(publish("5", topic(one), one.envelope(), number))
        session.send(publish("5", topic(two), two.envelope(), 7))
        await eventually(lambda: session.acknowledged == [1, 2, 3, 4, 5, 6, 7])
        await asyncio.sleep(0.1)
        assert len(session.published) == 1
        for taken in (1, 2):
            session.send(b"\x40\x02" + session.published[-1][0])
            await eventually(lambda taken=taken: len(session.published) == taken + 1)  # type: ignore[misc]
        answers = [payload for _, payload in session.published]
        assert one.answer(answers[0]).acknowledged == [(1, 1)]
        assert one.answer(answers[1]).acknowledged == [(2, 6)]
        assert two.answer(answers[2]).acknowledged == [(1, 1)]


# --- one connection by itself ----------------------------------------------------------------------------------------


class Taker:
    """Takes every message."""

    def __init__(self) -> None:
        self.messages: list[MQTTMessage] = []

    def received(self, message: MQTTMessage, ticket: Ticket) -> bool:
        self.messages.append(message)
        ticket.connection.acknowledge(ticket)
        return True

    def published(self) -> None:
        pass


def connection_to(port: int, version: str, tls: ssl.SSLContext | None = None) -> Connection:
    broker = Broker("127.0.0.1", port, "gateway", "x", version, tls, "test", "0", 10)  # type: ignore[arg-type]
    return Connection(broker, filters("0"), MAX_PACKET, Taker())


@pytest.mark.parametrize(("version", "code"), [("3.1.1", 5), ("3.1.1", 1), ("5", 0x87), ("5", 1)])
async def test_a_broker_that_refuses_us(version: str, code: int) -> None:
    async with scripted_broker(version) as broker:
        connection = connection_to(broker.port, version)
        opening = asyncio.create_task(connection.open())
        session = await broker.session()
        session.send(connack(version, code))
        with pytest.raises(LinkDown, match=r"refused us|connection lost"):
            await opening
        connection.close()


@both_versions
async def test_a_subscription_that_is_refused(version: str) -> None:
    async with scripted_broker(version) as broker:
        connection = connection_to(broker.port, version)
        opening = asyncio.create_task(connection.open())
        session = await broker.session()
        session.send(connack(version) + suback(version, b"\0\1", 1, 0x80, 1))
        with pytest.raises(LinkDown, match="subscription"):
            await opening
        connection.close()


async def test_nobody_there() -> None:
    async with scripted_broker("5") as broker:
        port = broker.port
    with pytest.raises(LinkDown, match="cannot connect"):
        await connection_to(port, "5").open()


@both_versions
async def test_many_messages_in_one_tls_record(tmp_path: Path, version: str) -> None:
    """They are decrypted all at once: the socket does not get readable again for those not taken at once."""
    files = certificate(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*files)
    async with scripted_broker(version, server) as broker:
        connection = connection_to(broker.port, version, ssl.create_default_context(cafile=str(files[0])))
        letting_in = asyncio.create_task(broker.accepted())
        await connection.open()
        session = await letting_in
        session.send(b"".join(publish(version, "thingroom/1/0/0/up", bytes(20), number) for number in range(1, 201)))
        await eventually(lambda: session.acknowledged == list(range(1, 201)))
        connection.close()


def test_stopping_does_not_wait_for_a_broker_that_says_nothing() -> None:
    """In the midst of a TLS handshake that gets no answer, which blocks paho for seconds."""

    async def stop_while_connecting() -> None:
        async with scripted_broker("5") as broker:
            connection = connection_to(broker.port, "5", ssl.create_default_context())
            opening = asyncio.create_task(connection.open())
            await asyncio.sleep(0.1)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            connection.close()
            # Longer than the rest of this: the broker is silent, not gone.
            silent.extend(broker._writers)
            broker._writers.clear()

    silent: list[asyncio.StreamWriter] = []
    start = time.monotonic()
    asyncio.run(stop_while_connecting())
    assert time.monotonic() - start < 20


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(VERSIONS), st.booleans(), st.binary(max_size=60), st.booleans())
def test_a_broker_that_talks_nonsense_is_left(version: str, let_in: bool, nonsense: bytes, as_packet: bool) -> None:
    """Whatever comes, the connection ends and nothing else does: LinkDown is what the link knows how to cure."""

    async def meet() -> None:
        async with scripted_broker(version) as broker:
            connection = connection_to(broker.port, version)
            opening = asyncio.create_task(connection.open())
            session = await broker.session()
            if let_in:
                session.send(connack(version) + suback(version, b"\0\1", 1, 1, 1))
            body = bytes((nonsense[0], len(nonsense) - 1)) + nonsense[1:] if nonsense and as_packet else nonsense
            session.send(body)
            session.writer.close()
            with pytest.raises(LinkDown):
                await opening
                await connection.stay()
            connection.close()

    escaped: list[object] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: escaped.append(context))
        runner.run(meet())
    assert escaped == []


def test_filters_of_shards() -> None:
    kinds = ("up", "hello", "ask", "status")
    assert filters("0123456789abcdef") == [f"thingroom/1/+/+/{kind}" for kind in kinds]
    assert filters("a0a") == [f"thingroom/1/{digit}/+/{kind}" for digit in "0a" for kind in kinds]
