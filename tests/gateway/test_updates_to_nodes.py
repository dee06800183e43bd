"""Updates of the real firmware on MicroPython by the real gateway, over each link; and versions that do not live."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.brokers import Mosquitto
from tests.gateway.command_support import enrolled_board
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import eventually, gateway, make_config
from tests.gateway.serial_cable import Cable
from tests.micropython_runner import FIRMWARE
from tests.node.slotted_node import SlottedNode, flash
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig, SerialConfig, UpdatesConfig
from thingroom_gateway.devices import Device
from thingroom_gateway.storage import received
from thingroom_gateway.updates.queue import Refused, Updates
from thingroom_gateway.updates.update import OPEN, Update

Start = Callable[..., Mosquitto]
SIMULATED: dict[str, Any] = {"actuators": [], "sensor": {"kind": "simulated", "seed": 1}, "interval_ms": 100}


async def board(running: app.Gateway, folder: Path, **changes: Any) -> tuple[Device, dict[str, Any]]:
    """A board with version 0.1.0 in the slot a, enrolled."""
    flash(folder, "0.1.0")
    return await enrolled_board(running, folder, "climate", "Kitchen", **{**SIMULATED, **changes})


def updates_of(running: app.Gateway) -> Updates:
    assert running.updates is not None
    return running.updates


async def begun(running: app.Gateway, *devices: Device, version: str = "0.2.0", folder: Path | None = None) -> Update:
    queued = await updates_of(running).request(devices, version, str(folder or ""), "")
    assert not isinstance(queued, Refused), queued
    return queued[0]


async def over(running: app.Gateway, update: Update) -> tuple[str, str]:
    """State and reason of an update, waiting until it is over."""

    def state() -> Update:
        found = updates_of(running).find(update.id)
        assert found is not None
        return found[0]

    await eventually(lambda: state().state not in OPEN, 2 * PATIENCE_SECONDS)
    return state().state, state().reason


async def hears(homeserver: FakeHomeserver, sentence: str) -> None:
    """Wait until the room was told so."""
    await eventually(lambda: sentence in str(homeserver.events("m.room.message")))


async def nothing_lost(running: app.Gateway, device: Device, node: SlottedNode) -> None:
    """Every reading that the node kept reaches the gateway."""
    kept = set(node.sampled())

    def missing() -> set[int]:
        there = running.core.database.read(lambda c: received.intervals(c, device.row.id, 10_000))
        return {one for one in kept if not any(i.first <= one <= i.last for i in there)}

    await eventually(lambda: not missing())


def broken(folder: Path, **changes: str) -> Path:
    """A copy of the firmware, some of its modules with more at their end: `runner="1 / 0"`."""
    for package in ("thingroom_wire", "thingroom_node"):
        shutil.copytree(FIRMWARE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module, text in changes.items():
        with (folder / "thingroom_node" / f"{module}.py").open("a") as file:
            file.write(f"\n\n{text}\n")
    return folder


async def updated(running: app.Gateway, device: Device, node: SlottedNode) -> None:
    await node.event("clock", PATIENCE_SECONDS)
    update = await begun(running, device)
    assert await over(running, update) == ("done", ""), node.events[-20:]
    assert device.presence.firmware == "0.2.0"
    assert (node.state["active"], node.state["trial"], node.state["floor"]) == ("b", "", 2_000)
    await nothing_lost(running, device, node)
    assert node.stderr == b""


async def test_over_mqtt_and_back_never(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config) as running:
        device, settings = await board(running, tmp_path, port=mosquitto.port)
        async with SlottedNode(tmp_path, settings) as node:
            await updated(running, device, node)
            await hears(homeserver, "Kitchen runs 0.2.0 now.")
            # And again, into the other slot.
            assert await over(running, await begun(running, device, version="0.3.0")) == ("done", "")
            assert node.state["active"] == "a"
            refused = await updates_of(running).request([device], "0.2.9", "", "")
            assert isinstance(refused, Refused) and "versions do not go back" in refused.reason
            # A gateway that thinks otherwise is not obeyed.
            device.presence.firmware = ""
            assert await over(running, await begun(running, device, version="0.2.9")) == ("failed", "old_version")


async def test_over_coap(tmp_path: Path, config: GatewayConfig) -> None:
    async with gateway(config) as running:
        device, settings = await board(running, tmp_path, link="coap", port=config.coap.port)
        async with SlottedNode(tmp_path, settings) as node:
            await updated(running, device, node)


async def test_over_a_serial_line(tmp_path: Path, config: GatewayConfig) -> None:
    port = tmp_path / "ttyBoard0"
    config = msgspec.structs.replace(config, serial=SerialConfig(ports=(str(port),)))
    async with gateway(config) as running:
        device, settings = await board(running, tmp_path, link="serial", host=str(tmp_path / "node-tty"))
        with Cable(tmp_path / "node-tty", port):
            async with SlottedNode(tmp_path, settings) as node:
                await updated(running, device, node)


async def test_versions_that_do_not_live(tmp_path: Path, config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    """One that ends at its import, one whose readings never arrive, one that does not compile."""
    config = msgspec.structs.replace(config, updates=UpdatesConfig(confirm_seconds=3))
    async with gateway(config) as running:
        device, settings = await board(running, tmp_path, link="coap", port=config.coap.port)
        async with SlottedNode(tmp_path, settings) as node:
            await node.event("clock", PATIENCE_SECONDS)
            crashing = broken(tmp_path / "crashing", signs="raise RuntimeError('not this one')")
            update = await begun(running, device, folder=crashing)
            assert await over(running, update) == ("failed", "did_not_start")
            assert (node.state["active"], node.state["trial"], node.state["tries"]) == ("a", "", 4)
            assert b"not this one" in node.stderr and device.presence.firmware == "0.1.0"
            mute = broken(tmp_path / "mute", node="def sign(identity, protected, payload):\n    return b'nothing'")
            update = await begun(running, device, folder=mute)
            assert await over(running, update) == ("failed", "no_healthy_reading")
            assert device.presence.firmware == "0.1.0"
            update = await begun(running, device, folder=broken(tmp_path / "torn", node="x = = 1"))
            assert await over(running, update) == ("failed", "not_built")
            await hears(homeserver, "Kitchen went back to 0.1.0: the new version did not start.")
            await hears(homeserver, "Kitchen went back to 0.1.0: no healthy reading came from the new version.")
            # The way forward is open, and nothing was lost.
            assert await over(running, await begun(running, device)) == ("done", "")
            await nothing_lost(running, device, node)


async def test_killed_at_random_and_the_gateway_restarted(tmp_path: Path, config: GatewayConfig) -> None:
    chance = random.Random(7)
    async with gateway(config) as running:
        device, settings = await board(running, tmp_path, link="coap", port=config.coap.port)
        async with SlottedNode(tmp_path, settings) as node:
            await node.event("clock", PATIENCE_SECONDS)
            update = await begun(running, device)
            await eventually(lambda: updates_of(running).find(update.id)[1] > 0)  # type: ignore[index]
            for _ in range(6):
                node.cut_power()
                await asyncio.sleep(chance.random())
    async with gateway(config) as running:
        device = running.core.registry.by_kid(device.row.kid)
        async with SlottedNode(tmp_path, settings) as again:
            for _ in range(6):
                await asyncio.sleep(chance.random())
                again.cut_power()
            assert await over(running, update) == ("done", "")
            again.events[:0] = node.events
            await nothing_lost(running, device, again)
            assert again.stderr == node.stderr == b""
