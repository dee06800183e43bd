"""Plain MQTT devices with a real Mosquitto: seen, adopted, stored as attested, commanded; kept off thingroom/."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, stuck_disk
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig, PlainConfig
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.links.plain_mqtt import CATCH_UP_SECONDS
from thingroom_gateway.plain.command import Publish
from thingroom_gateway.plain.devices import Adopted, Message, NotAdopted, kid_of
from thingroom_gateway.registration import EVERY_SHARD
from thingroom_gateway.storage import received

Start = Callable[..., Mosquitto]
SENSOR = '{"Time":"2024-02-24T22:20:38","BME280":{"Temperature":21.7,"Humidity":66.6,"Pressure":988.6},"TempUnit":"C"}'
DIALECTS = ("tasmota", "zigbee2mqtt", "homeassistant", "shelly", "esphome")


def _config(directory: Path, homeserver: FakeHomeserver, broker: Mosquitto, *more: PlainConfig) -> GatewayConfig:
    config = make_config(directory, homeserver.url, broker)
    return msgspec.structs.replace(config, plain=(*(PlainConfig(dialect=name) for name in DIALECTS), *more))


@contextlib.asynccontextmanager
async def _device(broker: Mosquitto, config: GatewayConfig) -> AsyncIterator[aiomqtt.Client]:
    """A plain device at the broker, with the account that all of them share."""
    account = app.plain_account(config)
    assert account is not None
    async with aiomqtt.Client("127.0.0.1", broker.port, username=account[0], password=account[1]) as client:
        yield client


@contextlib.asynccontextmanager
async def _running(config: GatewayConfig, *things: Thing) -> AsyncIterator[app.Gateway]:
    async with gateway(config, *things) as running:
        assert running.plain_link is not None
        await asyncio.wait_for(running.plain_link.connected.wait(), PATIENCE_SECONDS)
        yield running


async def _adopt(running: app.Gateway, base: str, name: str, profile: str = "") -> str:
    assert running.plain is not None
    result = await running.plain.adopt(base, name, "", profile)
    assert isinstance(result, Adopted), result
    return result.device.kid_hex


def _seen(running: app.Gateway) -> dict[str, dict[str, Any]]:
    assert running.plain is not None
    return {one["topic"]: one for one in running.plain.list_seen()}


async def test_a_device_is_seen_adopted_and_attested(tmp_path: Path, homeserver: FakeHomeserver, broker: Start) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    async with _running(config) as running, _device(mosquitto, config) as device:
        await device.publish("tele/attic/SENSOR", SENSOR, qos=1)
        await eventually(lambda: "tele/attic" in _seen(running))
        one = _seen(running)["tele/attic"]
        assert one["profile"] == "bme280" and one["values"]["pressure"] == "988.6 hPa" and not one["adopted_as"]
        assert not homeserver.events()
        assert not list(running.core.registry)
        kid = await _adopt(running, "tele/attic", "Attic")
        assert kid == kid_of("tele/attic", EVERY_SHARD).hex()
        assert isinstance(await running.plain.adopt("tele/attic", "Again", ""), NotAdopted)  # type: ignore[union-attr]
        await asyncio.sleep(CATCH_UP_SECONDS)
        await device.publish("tele/attic/SENSOR", SENSOR, qos=1)
        await eventually(lambda: homeserver.events())
        (event,) = homeserver.events()
        content = event["content"]
        assert content["attested_by"] == "gateway" and "envelopes" not in content
        assert content["originals"] == [{"topic": "tele/attic/SENSOR", "payload": SENSOR}]
        assert [(r["name"], r["value"], r["unit"], r["sequence"]) for r in content["readings"]] == [
            ("temperature", "21.7", "Cel", 1),
            ("humidity", "66.6", "%RH", 1),
            ("pressure", "98860", "Pa", 1),
        ]
        assert not any("clock" in reading for reading in content["readings"])
        (room,) = (room for room in homeserver.rooms.values() if room.create.get("name") == "Attic")
        state = room.state[("org.thingroom.device", kid)]
        assert state["attested_by"] == "gateway" and "key" not in state and state["name"] == "Attic"
        assert homeserver.users[f"@thing_{kid}:home.test"] == "Attic (not signed)"
        await eventually(lambda: homeserver.events("m.room.message"))
        notices = homeserver.events("m.room.message")
        assert [notice["content"]["body"] for notice in notices] == ["Attic 21.7 °C, 67 %, 988.6 hPa"]
        row = running.core.registry.get(bytes.fromhex(kid)).row  # type: ignore[union-attr]
        samples = running.core.database.read(
            lambda c: c.execute(
                "SELECT s.quantity, r.value FROM samples r, series s WHERE s.id = r.series AND s.device = ?",
                (row.id,),
            ).fetchall()
        )
        assert {(s[0], s[1]) for s in samples} == {("temperature", "21.7"), ("humidity", "66.6"), ("pressure", "98860")}


async def test_nobody_signs_for_a_plain_device_and_it_signs_for_nobody(
    tmp_path: Path, homeserver: FakeHomeserver, broker: Start
) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    thing = Thing()
    async with _running(config, thing) as running, _device(mosquitto, config) as device:
        heard: list[str] = []

        async def listen() -> None:
            async for message in device.messages:
                heard.append(str(message.topic))

        await device.subscribe("#", qos=1)
        await device.subscribe("thingroom/#", qos=1)
        listening = asyncio.create_task(listen())
        # Its account may not write below thingroom/: what it sends there does not arrive.
        await device.publish(f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope(), qos=1)
        await device.publish("tele/x/SENSOR", SENSOR, qos=1)
        await eventually(lambda: "tele/x" in _seen(running))
        # What a Thingroom device sends is not delivered to it.
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, username=thing.hex, password=thing.password) as board:
            await board.publish(f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope(), qos=1)
            await eventually(lambda: homeserver.sequences(thing.hex) == [2])
        await eventually(lambda: "tele/x/SENSOR" in heard)
        assert not [topic for topic in heard if topic.startswith("thingroom/")]
        listening.cancel()
        # And an envelope under its id is refused, whoever brings it.
        kid = await _adopt(running, "tele/x", "X")
        impostor = Thing(7)
        impostor.kid = bytes.fromhex(kid)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, username="gateway", password=GATEWAY_PASSWORD) as owner:
            await owner.publish(f"thingroom/1/{kid[0]}/{kid}/up", impostor.envelope(), qos=1)
        await eventually(lambda: running.core.counters.all().get("mqtt.rejected.unknown_device") == 1)


async def test_sequences_go_on_after_a_restart_and_retained_messages_are_no_new_readings(
    tmp_path: Path, homeserver: FakeHomeserver, broker: Start
) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    async with contextlib.AsyncExitStack() as stack:
        async with _running(config) as running:
            device = await stack.enter_async_context(_device(mosquitto, config))
            await device.publish("node/sensor/node_temperature/state", "20.5", qos=1, retain=True)
            await eventually(lambda: "node" in _seen(running))
            kid = await _adopt(running, "node", "Node", "climate")
            for value in ("20.6", "20.7"):
                await device.publish("node/sensor/node_temperature/state", value, qos=1, retain=True)
            await eventually(lambda: homeserver.sequences(kid) == [1, 2])
        async with _running(config) as running:
            await eventually(lambda: running.core.counters.all().get("plain.duplicate") == 1)
            await device.publish("node/sensor/node_temperature/state", "20.7", qos=1, retain=True)
            await eventually(lambda: homeserver.sequences(kid) == [1, 2, 3])
        # What changed while the gateway was away is told once, at a time that nobody is sure of.
        await device.publish("node/sensor/node_temperature/state", "19.0", qos=1, retain=True)
        await asyncio.sleep(0.1)
        async with _running(config):
            await eventually(lambda: homeserver.sequences(kid) == [1, 2, 3, 4])
        last = homeserver.events()[-1]["content"]["readings"]
        assert [(r["value"], r.get("clock")) for r in last] == [("19.0", "unset")]


async def test_presence_commands_and_discovery(tmp_path: Path, homeserver: FakeHomeserver, broker: Start) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    switch = {
        "~": "garden/valve", "name": "Valve", "cmd_t": "~/set", "stat_t": "~/state", "avty_t": "~/alive",
        "dev": {"ids": ["valve-1"], "name": "Garden valve", "mf": "Somebody"},
    }  # fmt: skip
    async with _running(config) as running, _device(mosquitto, config) as device:
        asked: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

        async def obey() -> None:
            async for message in device.messages:
                assert isinstance(message.payload, bytes)
                await asked.put((str(message.topic), message.payload))
                await device.publish("garden/valve/state", message.payload, qos=1)

        await device.subscribe("garden/valve/set", qos=1)
        obeying = asyncio.create_task(obey())
        await device.publish("homeassistant/switch/valve/config", json.dumps(switch), qos=1, retain=True)
        await eventually(lambda: "homeassistant/valve-1" in _seen(running))
        # The gateway subscribes to a topic that it learnt a moment ago.
        for _ in tries():
            await device.publish("garden/valve/state", "OFF", qos=1)
            if _seen(running)["homeassistant/valve-1"]["values"]:
                break
            await asyncio.sleep(0.1)
        assert _seen(running)["homeassistant/valve-1"]["settable"] == ["on"]
        kid = await _adopt(running, "homeassistant/valve-1", "Valve")
        row = running.core.registry.get(bytes.fromhex(kid))
        assert row is not None and row.row.profile == "switch" and running.plain is not None
        sent = running.plain.command(row, "on", "on")
        assert sent == Publish("garden/valve/set", b"ON") and running.plain_link is not None
        assert running.plain_link.send(sent)
        assert await asyncio.wait_for(asked.get(), PATIENCE_SECONDS) == ("garden/valve/set", b"ON")
        await eventually(lambda: homeserver.events())
        assert homeserver.events()[-1]["content"]["readings"][0]["value"] == "true"
        await device.publish("garden/valve/alive", "offline", qos=1)
        await eventually(lambda: row.presence.status == "offline")
        obeying.cancel()
    # What discovery told is kept, so that commands work at once after a restart, without the broker's help.
    mosquitto.restart()
    async with _running(config) as running:
        device_again = running.core.registry.get(bytes.fromhex(kid))
        assert device_again is not None and running.plain is not None
        assert running.plain.command(device_again, "on", "off") == Publish("garden/valve/set", b"OFF")


async def test_a_stuck_disk_loses_nothing_and_a_flood_is_held_to_a_quota(
    tmp_path: Path, homeserver: FakeHomeserver, broker: Start
) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    async with _running(config) as running, _device(mosquitto, config) as device:
        await device.publish("shellies/s/sensor/temperature", "20.0", qos=1)
        await eventually(lambda: "shellies/s" in _seen(running))
        kid = await _adopt(running, "shellies/s", "S", "climate")
        row = running.core.registry.get(bytes.fromhex(kid))
        assert row is not None
        with stuck_disk(running, config):
            for index in range(20):
                await device.publish("shellies/s/sensor/temperature", f"20.{index:02}", qos=1)
            await eventually(lambda: running.core.counters.all().get("storage.failed"))
        await eventually(lambda: len(homeserver.sequences(kid)) == 20)
        for index in range(400):
            await device.publish("shellies/s/sensor/temperature", f"21.{index:03}", qos=1)
        await eventually(lambda: running.core.counters.all().get("plain.refused.too_often", 0) > 100)
        intervals = running.core.database.read(lambda c: received.intervals(c, row.row.id))
        assert len(intervals) == 1 and intervals[0].first == 1


async def test_what_the_broker_delivers_again_is_stored_once(
    tmp_path: Path, homeserver: FakeHomeserver, broker: Start
) -> None:
    """A kill between commit and PUBACK: several messages of one topic come again, under their packet identifiers."""
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto)
    topic = "shellies/s/sensor/temperature"
    async with _running(config) as running, _device(mosquitto, config) as device:
        await device.publish(topic, "20.0", qos=1)
        await eventually(lambda: "shellies/s" in _seen(running))
        kid = await _adopt(running, "shellies/s", "S", "climate")
        plain = running.plain
        assert plain is not None
        acknowledged: list[int] = []
        messages = [(101, b"20.1"), (102, b"20.2"), (103, b"20.1")]
        for packet, payload in messages:
            plain.hear(Message(topic, payload, packet=packet), lambda packet=packet: acknowledged.append(packet))
        await eventually(lambda: acknowledged == [101, 102, 103])
        for packet, payload in [*messages, (104, b"20.2")]:
            again = Message(topic, payload, repeated=True, packet=packet)
            plain.hear(again, lambda packet=packet: acknowledged.append(packet))
        await eventually(lambda: len(acknowledged) == 7)
        await eventually(lambda: homeserver.sequences(kid) == [1, 2, 3, 4])
        values = [r["value"] for event in homeserver.events() for r in event["content"]["readings"]]
        assert values == ["20.1", "20.2", "20.1", "20.2"]
        assert running.core.counters.all()["plain.duplicate"] == 3


async def test_the_owner_on_the_control_socket(tmp_path: Path, homeserver: FakeHomeserver, broker: Start) -> None:
    mosquitto = broker()
    config = _config(tmp_path, homeserver, mosquitto, PlainConfig(dialect="topics", prefix="greenhouse/+/data"))

    def ask(**command: Any) -> dict[str, Any]:
        from thingroom_gateway.control import ask as ask_gateway

        return ask_gateway(config.directory, command)

    async with _running(config) as running, _device(mosquitto, config) as device:
        assert (await asyncio.to_thread(ask, command="seen"))["seen"] == []
        await device.publish("greenhouse/1/data", '{"air":{"temp":"18.5","humidity":71}}', qos=1)
        await eventually(lambda: "greenhouse/1/data" in _seen(running))
        (one,) = (await asyncio.to_thread(ask, command="seen"))["seen"]
        assert one["values"] == {"humidity": "71 %RH", "temperature": "18.5 Cel"}
        for wrong, word in (
            ({"topic": "greenhouse/2/data", "name": "G"}, "no device was heard"),
            ({"topic": "greenhouse/1/data", "name": ""}, "printable"),
            ({"topic": "greenhouse/1/data", "name": "G", "profile": "teapot"}, "there is no profile teapot"),
        ):
            answer = await asyncio.to_thread(ask, command="adopt", **wrong)
            assert not answer["ok"] and word in answer["error"]
        adopt = {"topic": "greenhouse/1/data", "name": "Greenhouse", "place": "Garden"}
        answer = await asyncio.to_thread(ask, command="adopt", **adopt)
        assert answer["ok"] and answer["profile"] == "climate" and answer["place"] == "Garden"
        (listed,) = (await asyncio.to_thread(ask, command="devices"))["devices"]
        assert listed["name"] == "Greenhouse"
        # Revoked: its words are nothing; adopted anew: they count again, and the numbers go on.
        kid = answer["device"]
        await device.publish("greenhouse/1/data", '{"air":{"temp":"18.6","humidity":71}}', qos=1)
        await eventually(lambda: homeserver.sequences(kid) == [1])
        assert (await asyncio.to_thread(ask, command="revoke", device=kid))["ok"]
        await device.publish("greenhouse/1/data", '{"air":{"temp":"18.7","humidity":71}}', qos=1)
        await eventually(lambda: running.core.counters.all().get("plain.rejected.revoked_device") == 1)
        assert (await asyncio.to_thread(ask, command="adopt", **adopt))["ok"]
        await device.publish("greenhouse/1/data", '{"air":{"temp":"18.8","humidity":71}}', qos=1)
        await eventually(lambda: homeserver.sequences(kid) == [1, 2])


async def test_a_gateway_without_plain_devices_says_so(config: GatewayConfig) -> None:
    async with app.running(config, EventsOut(None), asyncio.Event()) as running:
        assert running.plain is None and app.plain_account(config) is None
        from thingroom_gateway.control import ask as ask_gateway

        answer = await asyncio.to_thread(ask_gateway, config.directory, {"command": "seen"})
        assert not answer["ok"] and "[[gateway.plain]]" in answer["error"]


def test_the_id_of_a_plain_device_is_in_the_gateways_shards() -> None:
    bases = [f"tele/plug{number}" for number in range(200)]
    usual = [kid_of(base, EVERY_SHARD) for base in bases]
    narrow = [kid_of(base, "5a") for base in bases]
    assert {kid.hex()[0] for kid in usual} == set(EVERY_SHARD)
    assert {kid.hex()[0] for kid in narrow} == {"5", "a"}
    assert [kid.hex()[1:] for kid in narrow] == [kid.hex()[1:] for kid in usual]
    assert all(kid_of(base, kid.hex()[0]) == kid for base, kid in zip(bases, usual, strict=True))
