"""Brokers of others, real Mosquittos: certificates both ways, shards that two gateways share and take over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest
import trustme
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config

from thingroom_common.config_file import ConfigError
from thingroom_gateway.app import Gateway
from thingroom_gateway.app import running as running_gateway
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.events_out import EventsOut

Start = Callable[..., Mosquitto]
VERSIONS = ["5", "3.1.1"]


class Authority:
    """A certificate authority with a broker's certificate and a gateway's, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        broker = authority.issue_cert("127.0.0.1")
        self.broker = folder / "broker.pem", folder / "broker.key"
        broker.cert_chain_pems[0].write_to_path(str(self.broker[0]))
        broker.private_key_pem.write_to_path(str(self.broker[1]))
        own = authority.issue_cert("gateway.example")
        self.own = folder / "gateway.pem", folder / "gateway.key"
        own.cert_chain_pems[0].write_to_path(str(self.own[0]))
        own.private_key_pem.write_to_path(str(self.own[1]))


def topic(thing: Thing, kind: str = "up") -> str:
    return f"thingroom/1/{thing.hex[0]}/{thing.hex}/{kind}"


def publisher(broker: Mosquitto) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", broker.port, username="gateway", password=GATEWAY_PASSWORD)


def accepted(running: Gateway) -> int:
    return running.core.counters["mqtt.accepted"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_broker_that_asks_for_a_certificate(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str
) -> None:
    authority, thing = Authority(tmp_path), Thing()
    mosquitto = broker(certificate=authority.broker, client_ca=authority.ca)
    options = {"protocol": version, "port": mosquitto.tls_port, "tls": True, "ca_file": str(authority.ca)}
    own = {"cert_file": str(authority.own[0]), "key_file": str(authority.own[1])}
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto, **options, **own), thing) as running:
        async with publisher(mosquitto) as client:
            for _ in range(20):
                await client.publish(topic(thing), thing.envelope(), qos=1)
        await eventually(lambda: accepted(running) == 20)
        assert running.mqtt is not None
        mosquitto.restart()
        await eventually(lambda: not running.mqtt.connected.is_set())  # type: ignore[union-attr]
        await eventually(running.mqtt.connected.is_set)
        async with publisher(mosquitto) as client:
            await client.publish(topic(thing), thing.envelope(), qos=1)
        await eventually(lambda: accepted(running) == 21)


async def test_without_a_certificate_it_lets_nobody_in(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    mosquitto = broker(certificate=authority.broker, client_ca=authority.ca)
    config = make_config(
        tmp_path, homeserver.url, mosquitto, port=mosquitto.tls_port, tls=True, ca_file=str(authority.ca)
    )
    async with running_gateway(config, EventsOut(None), asyncio.Event()) as running:
        await eventually(lambda: caplog.text.count("next try") >= 2)
        assert running.mqtt is not None and not running.mqtt.connected.is_set()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"ca_file": "nowhere.pem"}, "ca_file"),
        ({"cert_file": "nowhere.pem"}, "cert_file"),
        ({"cert_file": "ca.pem"}, "cert_file"),
    ],
)
async def test_certificates_that_cannot_be_used_are_a_mistake_in_the_configuration(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, options: dict[str, str], key: str
) -> None:
    Authority(tmp_path)
    paths = {name: str(tmp_path / file) for name, file in options.items()}
    config = make_config(tmp_path, homeserver.url, broker(), tls=True, **paths)
    with pytest.raises(ConfigError, match=key):
        async with running_gateway(config, EventsOut(None), asyncio.Event()):
            pass


def halves(tmp_path: Path, homeserver: FakeHomeserver, broker: Mosquitto, version: str) -> list[GatewayConfig]:
    """Two gateways that own half of the shards each."""
    made = []
    for name, shards in (("low", "01234567"), ("high", "89abcdef")):
        (tmp_path / name).mkdir()
        config = make_config(tmp_path / name, homeserver.url, broker, shards=shards, password_file="", protocol=version)
        made.append(config)
    return made


@pytest.mark.parametrize("version", VERSIONS)
async def test_one_of_two_gateways_is_stopped_and_started_again(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, version: str
) -> None:
    """The other goes on meanwhile, and what came for the stopped one waits at the broker."""
    mosquitto = broker()
    low_config, high_config = halves(tmp_path, homeserver, mosquitto, version)
    things = [Thing(seed, name=f"Thing {seed}") for seed in range(1, 25)]
    low = [thing for thing in things if thing.hex[0] < "8"]
    high = [thing for thing in things if thing.hex[0] >= "8"]
    assert low and high
    async with publisher(mosquitto) as client, gateway(low_config, *low) as one:
        async with gateway(high_config, *high) as other:
            for thing in things:
                await client.publish(topic(thing), thing.envelope(), qos=1)
            await eventually(lambda: accepted(one) == len(low) and accepted(other) == len(high))
        for _ in range(5):
            for thing in things:
                await client.publish(topic(thing), thing.envelope(), qos=1)
        await eventually(lambda: accepted(one) == 6 * len(low))
        async with gateway(high_config, *high) as other:
            before = len(high)
            await eventually(lambda: accepted(other) == before + 5 * len(high))
            assert not [name for name in other.core.counters.all() if "rejected" in name]
        assert not [name for name in one.core.counters.all() if "rejected" in name]


async def test_a_broker_that_goes_and_comes_in_the_midst_of_a_stream(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """What the broker had not handed over, the sender repeats, and everything is in once."""
    thing, mosquitto = Thing(), broker()
    async with gateway(make_config(tmp_path, homeserver.url, mosquitto), thing) as running:
        envelopes = [thing.envelope() for _ in range(1000)]
        told: set[int] = set()

        async def send_and_listen() -> None:
            async with publisher(mosquitto) as client:
                await client.subscribe(topic(thing, "down"), qos=1)
                for sequence, envelope in enumerate(envelopes, 1):
                    if sequence not in told:
                        await client.publish(topic(thing), envelope, qos=1)
                async with asyncio.timeout(1):
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        for first, last in thing.answer(message.payload).acknowledged:
                            told.update(range(first, last + 1))
                        if len(told) == len(envelopes):
                            return

        async def send_until_told() -> None:
            while len(told) < len(envelopes):
                with contextlib.suppress(TimeoutError, aiomqtt.MqttError):
                    await send_and_listen()
                await asyncio.sleep(0.05)

        sending = asyncio.create_task(send_until_told())
        for _ in range(2):
            await asyncio.sleep(0.25)
            await asyncio.to_thread(mosquitto.restart)
        await asyncio.wait_for(sending, 30)
        assert accepted(running) == 1000
        # What a broker loses as it goes is sent again later: in whatever order, each is there once.
        await eventually(lambda: len(homeserver.sequences(thing.hex)) >= 1000, 60)
        assert sorted(homeserver.sequences(thing.hex)) == list(range(1, 1001))
