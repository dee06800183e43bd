"""MQTT with a real Mosquitto, versions 5 and 3.1.1: readings, answers, refusals, limits, back-pressure, users."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import pytest
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto, certificate
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, stuck_disk

from thingroom_gateway.app import Gateway
from thingroom_gateway.app import running as running_gateway
from thingroom_gateway.events_out import EventsOut
from thingroom_wire.downlink import parse_answer
from thingroom_wire.keys import pairing_keys

Start = Callable[..., Mosquitto]
VERSIONS = ["5", "3.1.1"]


class Board:
    """A device at the broker: publishes, and hears what comes down."""

    def __init__(self, client: aiomqtt.Client, thing: Thing) -> None:
        self.client, self.thing = client, thing
        self.down: list[bytes] = []

    def topic(self, kind: str) -> str:
        return f"thingroom/1/{self.thing.hex[0]}/{self.thing.hex}/{kind}"

    async def send(self, payload: bytes, kind: str = "up") -> None:
        await self.client.publish(self.topic(kind), payload, qos=1)

    async def listen(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            self.down.append(message.payload)

    def acknowledged(self) -> set[int]:
        found: set[int] = set()
        for data in self.down:
            for first, last in self.thing.answer(data).acknowledged:
                found.update(range(first, last + 1))
        return found


@contextlib.asynccontextmanager
async def board(
    broker: Mosquitto, thing: Thing, username: str | None = None, password: str | None = None
) -> AsyncIterator[Board]:
    async with aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        username=username or thing.hex,
        password=password if username else thing.password,
        identifier=thing.hex,
    ) as client:
        one = Board(client, thing)
        await client.subscribe(one.topic("down"), qos=1)
        listening = asyncio.create_task(one.listen())
        try:
            yield one
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening


def counted(running: Gateway, name: str) -> int:
    return running.core.counters[name]


@pytest.mark.parametrize("version", VERSIONS)
async def test_readings_over_mqtt(tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str) -> None:
    thing, mosquitto = Thing(), broker()
    config = make_config(tmp_path, homeserver.url, mosquitto, protocol=version)
    async with gateway(config, thing) as running, board(mosquitto, thing) as node:
        for _ in range(50):
            await node.send(thing.envelope())
        await node.send(thing.envelope(50))
        await eventually(lambda: node.acknowledged() == set(range(1, 51)))
        await eventually(lambda: counted(running, "mqtt.duplicate") == 1)
        assert counted(running, "mqtt.accepted") == 50
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 51)))


@pytest.mark.parametrize("version", VERSIONS)
async def test_tls(tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str) -> None:
    thing, files = Thing(), certificate(tmp_path)
    mosquitto = broker(certificate=files)
    options = {"protocol": version, "port": mosquitto.tls_port, "tls": True}
    config = make_config(tmp_path, homeserver.url, mosquitto, ca_file=str(files[0]), **options)
    async with gateway(config, thing) as running, board(mosquitto, thing) as node:
        with stuck_disk(running, config):
            for _ in range(400):
                await node.send(thing.envelope())
        await eventually(lambda: node.acknowledged() == set(range(1, 401)))


async def test_a_certificate_that_nobody_vouches_for(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto = broker(certificate=certificate(tmp_path))
    config = make_config(tmp_path, homeserver.url, mosquitto, port=mosquitto.tls_port, tls=True)
    async with running_gateway(config, EventsOut(None), asyncio.Event()) as running:
        await eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert running.mqtt is not None and not running.mqtt.connected.is_set()


@pytest.mark.parametrize("version", VERSIONS)
async def test_bad_messages_are_counted_and_disturb_nothing(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str
) -> None:
    """On a broker without any limit or rule: the gateway defends itself."""
    thing, stranger = Thing(), Thing(2)
    mosquitto = broker(open_to_all=True, size_limit=False)
    config = make_config(tmp_path, homeserver.url, mosquitto, protocol=version)
    good = thing.envelope(7)
    bad = {
        b"": "truncated",
        good[:-1]: "length_exceeds_input",
        good[:40]: "length_exceeds_input",
        good + b"\0": "trailing_bytes",
        b"\xff" * 100: "unexpected_break",
        good[:-1] + bytes((good[-1] ^ 1,)): "bad_signature",
        stranger.envelope(): "unknown_device",
        bytes(8193): "too_large",
        bytes(1_000_000): "too_large",
    }
    async with gateway(config, thing) as running, board(mosquitto, thing, "anybody", "") as node:
        for payload, reason in bad.items():
            name = f"mqtt.rejected.{reason}"
            # Version 5 brokers keep from the gateway what it said it will not take.
            unseen = version == "5" and len(payload) > 10_000
            expected = counted(running, name) + (0 if unseen else 1)
            await node.send(payload)
            await eventually(lambda name=name, expected=expected: counted(running, name) == expected)  # type: ignore[misc]
        await node.client.publish(node.topic("elsewhere"), b"x", qos=1)
        await node.client.publish("thingroom/1/a/nonsense/status", b"online", qos=1, retain=True)
        await node.send(b"\0" * 10, "hello")
        await node.send(good)
        await eventually(lambda: node.acknowledged() == {7})
        assert counted(running, "mqtt.rejected.bad_status") == 1
        await eventually(lambda: homeserver.sequences(thing.hex) == [7])


async def test_mosquitto_itself_refuses_large_messages(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    thing, mosquitto = Thing(), broker()
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto), thing) as running:
        with contextlib.suppress(aiomqtt.MqttError):
            async with board(mosquitto, thing) as node:
                await node.send(bytes(1_000_000))
        async with board(mosquitto, thing) as node:
            await node.send(thing.envelope())
            await eventually(lambda: node.acknowledged() == {1})
        assert counted(running, "mqtt.rejected.too_large") == 0


async def test_refused_content_is_answered(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    thing, mosquitto = Thing(), broker()
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto), thing), board(mosquitto, thing) as node:
        await node.send(thing.envelope(payload=thing.pack(5000)))
        await eventually(lambda: node.down)
        assert thing.answer(node.down[0]).refused == [(1, 1, "above_range")]


async def test_pairing_over_mqtt_through_the_brokers_users(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """From no user at all to the device's own, on a broker whose users the gateway manages."""
    thing, mosquitto = Thing(5, name="Porch"), broker()
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto)) as running:
        with pytest.raises(aiomqtt.MqttError):
            async with board(mosquitto, thing, "pairing", "guess"):
                pass
        window = running.core.pairing.open(1)
        made = pairing_keys(bytes.fromhex(window.code.replace(" ", "")))
        async with _patiently(mosquitto, thing, "pairing", made.broker_password) as node:
            await node.send(thing.pairing_hello("11" * 16), "hello")
            await eventually(lambda: counted(running, "mqtt.rejected.wrong_pairing_code") == 1)
            await node.send(thing.pairing_hello(window.code), "hello")
            await eventually(lambda: node.down)
            answer = parse_answer(node.down[0], made.gateway)
        thing.learn(answer.gateway_key, answer.agreement_key)
        running.core.pairing.close()
        async with _patiently(mosquitto, thing, thing.hex, thing.password) as node:
            await node.send(thing.hello(b"01234567"), "hello")
            await eventually(lambda: node.down)
            assert thing.answer(node.down[0]).nonce == b"01234567"
            await node.send(thing.envelope())
            await eventually(lambda: node.acknowledged() == {1})
        with pytest.raises(aiomqtt.MqttError):
            async with board(mosquitto, thing, "pairing", made.broker_password):
                pass


@contextlib.asynccontextmanager
async def _patiently(broker: Mosquitto, thing: Thing, user: str, password: str) -> AsyncIterator[Board]:
    """Connect once Mosquitto has read its new users."""
    for attempt in range(50):
        try:
            async with contextlib.AsyncExitStack() as stack:
                node = await stack.enter_async_context(board(broker, thing, user, password))
                kept = stack.pop_all()
            break
        except aiomqtt.MqttError:
            if attempt == 49:
                raise
            await asyncio.sleep(0.05)
    async with kept:
        yield node


async def test_devices_reach_their_own_topics_only(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    one, two, mosquitto = Thing(1), Thing(2, name="Cellar"), broker()
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto), one, two) as running:
        async with _patiently(mosquitto, two, two.hex, two.password):
            pass
        async with board(mosquitto, one) as node, board(mosquitto, two) as other:
            await node.client.subscribe(other.topic("down"), qos=1)
            await node.client.publish(other.topic("up"), b"\0" * 20, qos=1)
            await other.send(two.envelope())
            await eventually(lambda: other.acknowledged() == {1})
            await node.send(one.envelope())
            await eventually(lambda: len(node.down) == 1)
            assert node.acknowledged() == {1}
            assert not [name for name in running.core.counters.all() if "rejected" in name]


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_broker_restarts(tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str) -> None:
    thing, mosquitto = Thing(), broker()
    config = make_config(tmp_path, homeserver.url, mosquitto, protocol=version)
    async with gateway(config, thing) as running:
        assert running.mqtt is not None
        mosquitto.stop()
        await eventually(lambda: not running.mqtt.connected.is_set())  # type: ignore[union-attr]
        mosquitto.restart()
        await eventually(running.mqtt.connected.is_set)
        async with board(mosquitto, thing) as node:
            await node.send(thing.envelope())
            await eventually(lambda: node.acknowledged() == {1})


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_slow_disk_holds_messages_back_at_the_broker(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str
) -> None:
    """While another process holds the database's write lock nothing is acknowledged; afterwards everything is."""
    thing, mosquitto = Thing(), broker(window=64)
    config = make_config(tmp_path, homeserver.url, mosquitto, protocol=version, window=64)
    async with gateway(config, thing) as running, board(mosquitto, thing) as node:
        with stuck_disk(running, config):
            for _ in range(500):
                await node.send(thing.envelope())
            await eventually(lambda: counted(running, "storage.failed") > 0)
            await asyncio.sleep(0.3)
            assert node.down == []
            # What the gateway holds is bounded by the window: the broker has the rest.
            assert len(running.ingest._queue) <= 64
        await eventually(lambda: node.acknowledged() == set(range(1, 501)))
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 501)))


async def test_two_gateways_share_a_broker_by_shards(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto = broker()
    things = [Thing(seed) for seed in range(1, 40)]
    low = next(thing for thing in things if thing.hex[0] < "8")
    high = next(thing for thing in things if thing.hex[0] >= "8")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = make_config(tmp_path / "a", homeserver.url, mosquitto, shards="01234567", password_file="")
    second = make_config(tmp_path / "b", homeserver.url, mosquitto, shards="89abcdef", password_file="")
    async with gateway(first, low, high) as one, gateway(second, low, high) as other:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, username="gateway", password=GATEWAY_PASSWORD) as client:
            for thing in (low, high):
                await client.publish(f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope(), qos=1)
            await eventually(lambda: counted(one, "mqtt.accepted") == 1 and counted(other, "mqtt.accepted") == 1)
        assert one.core.registry.get(low.kid) is not None
        assert counted(one, "mqtt.rejected.other_shard") == 0
