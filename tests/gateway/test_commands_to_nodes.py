"""Commands to the real firmware on MicroPython over a real Mosquitto, and over CoAP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.gateway.brokers import Mosquitto
from tests.gateway.command_support import ask, enrolled_board, latest, movements, queue_of, told
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import eventually, gateway, make_config
from tests.gateway.serial_cable import Cable
from tests.node.node_process import NodeProcess

from thingroom_gateway.commands.command import Settings
from thingroom_gateway.config import GatewayConfig, SerialConfig

Start = Callable[..., Mosquitto]


async def test_a_switch_is_turned_on_and_says_so(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config) as running:
        heard: list[tuple[str, str, str]] = []
        queue_of(running).watchers.append(lambda c, outcome, detail: heard.append((c.value, outcome, detail)))
        device, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock", state="synchronised")
            await eventually(lambda: latest(running, device, "on") == "false")
            assert await told(running, await ask(running, device, "on")) == ("done", "")
            assert movements(tmp_path) == (True, 1)
            # The state comes in the envelope that brings the result: it is there already.
            assert latest(running, device, "on") == "true"
            said: list[str] = []
            in_room = "SELECT content FROM outbox WHERE room_id = '!room:home.test'"
            queue_of(running).told.append(lambda t, _: said.extend(row[0] for row in t.execute(in_room)))
            assert await told(running, await ask(running, device, "off", event="$asked")) == ("done", "")
            assert movements(tmp_path) == (False, 2)
            # The bot's answer is in the same commit as the result.
            assert len(said) == 1 and "Lamp: Switch off. Done." in said[0] and "$asked" in said[0]
        assert node.stderr == b""
    assert heard == [("true", "done", ""), ("false", "done", "")]


async def test_numbers_and_options_arrive_as_they_are(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    brightness = {"name": "brightness", "kind": "dimmer", "unit": "%"}
    async with gateway(config) as running:
        device, settings = await enrolled_board(
            running, tmp_path, "dimmer", port=mosquitto.port, actuators=[brightness]
        )
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock")
            assert await told(running, await ask(running, device, "42", "brightness")) == ("done", "")
            assert latest(running, device, "brightness") == "42" and movements(tmp_path, "brightness") == (42, 1)
            # The profile has an actuator that this firmware lacks.
            assert await told(running, await ask(running, device, "on")) == ("failed", "unknown_actuator")
        refused = await queue_of(running).request(device, "brightness", "101", "", None)
        assert "a number from 0 to 100" in refused.reason  # type: ignore[union-attr]
        refused = await queue_of(running).request(device, "volume", "1", "", None)
        assert refused.reason == "Lamp has no volume; it has: on, brightness."  # type: ignore[union-attr]


async def test_a_command_waits_for_a_node_that_is_off(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """Asked while the node is off, across a restart of the gateway, and each in its order when it wakes."""
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)
        first = await ask(running, device, "on", event="$one")
        second = await ask(running, device, "off", event="$two")
        assert await ask(running, device, "on", event="$one") == first
    async with gateway(config) as running:
        device = running.core.registry.get(device.row.kid)  # type: ignore[assignment]
        assert [one.id for one in queue_of(running).waiting(device)] == [first, second]
        async with NodeProcess(tmp_path, settings) as node:
            assert await told(running, first) == ("done", "")
            assert await told(running, second) == ("done", "")
            assert movements(tmp_path) == (False, 2)
            assert [event["outcome"] for event in node.of("command")] == ["done", "done"]


async def test_over_coap_it_comes_with_the_next_answer(tmp_path: Path, config: GatewayConfig) -> None:
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, link="coap", port=config.coap.port, interval_ms=200)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock")
            assert await told(running, await ask(running, device, "on")) == ("done", "")
            assert movements(tmp_path) == (True, 1) and latest(running, device, "on") == "true"


async def test_over_a_serial_line(tmp_path: Path, config: GatewayConfig) -> None:
    port = tmp_path / "ttyBoard0"
    config = msgspec.structs.replace(config, serial=SerialConfig(ports=(str(port),)))
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, link="serial", host=str(tmp_path / "node-tty"))
        with Cable(tmp_path / "node-tty", port):
            async with NodeProcess(tmp_path, settings) as node:
                await node.event("clock")
                # Nothing is to come from the node for a minute: the gateway speaks first.
                assert await told(running, await ask(running, device, "on")) == ("done", "")
                assert movements(tmp_path) == (True, 1) and latest(running, device, "on") == "true"


async def test_too_late_is_too_late(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    config = msgspec.structs.replace(config, commands=msgspec.structs.replace(config.commands, expires_seconds=1))
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)
        device.presence.status = "offline"
        command = await ask(running, device, "on")
        assert await told(running, command) == ("expired", "not_sent")
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock")
            await eventually(lambda: latest(running, device, "on") == "false")
            await asyncio.sleep(0.5)
        assert movements(tmp_path) == (None, 0)


async def test_killed_between_taking_and_acting(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    """SIGKILL at random around the execution, tens of times: never twice, and what it says is true."""
    chance = random.Random(5)
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    outcomes: list[tuple[str, str]] = []
    async with gateway(config) as running:
        slow = {"name": "on", "kind": "switch", "delay_ms": 60}
        device, settings = await enrolled_board(running, tmp_path, port=mosquitto.port, actuators=[slow])
        moved = 0
        for number in range(30):
            command = await ask(running, device, "off" if number % 2 else "on")
            async with NodeProcess(tmp_path, settings) as node:
                await node.event("link", state="up")
                await asyncio.sleep(chance.random() * 0.25)
                await node.kill()
                assert node.stderr == b""
            _, before = movements(tmp_path)
            assert before - moved <= 1
            async with NodeProcess(tmp_path, settings) as node:
                outcome = await told(running, command)
                assert node.stderr == b""
            outcomes.append(outcome)
            _, after = movements(tmp_path)
            # Once at most; once exactly if it says so; interrupted may be either, and nothing else happens.
            assert after - moved <= 1
            assert outcome == ("failed", "interrupted") or (outcome == ("done", "") and after - moved == 1), outcome
            moved = after
    assert {("done", ""), ("failed", "interrupted")} <= set(outcomes)


async def test_a_configuration_changes_how_it_measures(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config) as running:
        device, settings = await enrolled_board(
            running,
            tmp_path,
            "climate",
            port=mosquitto.port,
            actuators=[],
            sensor={"kind": "simulated", "seed": 1},
            interval_ms=3_600_000,
        )
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock")
            await eventually(lambda: latest(running, device, "temperature"))
            assert len(node.sampled()) == 1
            queued = await queue_of(running).configure(
                device, Settings(interval_ms=50, calibration={"temperature": ("0", "12.5")}), ""
            )
            assert await told(running, queued.id) == ("done", "")  # type: ignore[union-attr]
            await eventually(lambda: latest(running, device, "temperature") == "12.5")
            await node.until(lambda: len(node.sampled()) > 5)
            # A calibration that puts the readings out of range: they are refused, the result is not.
            queued = await queue_of(running).configure(device, Settings(calibration={"temperature": ("0", "500")}), "")
            assert await told(running, queued.id) == ("done", "")  # type: ignore[union-attr]
            await eventually(lambda: running.core.counters["mqtt.refused.above_range"])
            queued = await queue_of(running).configure(device, Settings(calibration={"temperature": ("1", "0")}), "")
            assert await told(running, queued.id) == ("done", "")  # type: ignore[union-attr]
            # A threshold that no reading reaches: only the longest silence lets one through.
            queued = await queue_of(running).configure(
                device, Settings(thresholds={"temperature": "90", "humidity": "90"}, longest_ms=60_000), ""
            )
            assert await told(running, queued.id) == ("done", "")  # type: ignore[union-attr]
            count = len(node.sampled())
            await asyncio.sleep(0.5)
            assert len(node.sampled()) == count
        # It is kept over a restart.
        async with NodeProcess(tmp_path, settings) as node:
            await node.until(lambda: len(node.sampled()) == 1)
            await asyncio.sleep(0.3)
            assert len(node.sampled()) == 1
