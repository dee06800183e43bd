"""The queue of updates with devices that are played: blocks, campaigns, cancelling, restarts, hostile questions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiocoap
from click.testing import CliRunner
from tests.gateway.gateway_support import Thing, eventually, gateway, write_config

from thingroom.cli import main
from thingroom_common.firmware_image import Image
from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.devices import Device
from thingroom_gateway.updates.queue import Refused, Updates
from thingroom_gateway.updates.update import OPEN
from thingroom_wire import manifest
from thingroom_wire.hello import Hello

BUNDLE = bytes(range(256)) * 6


def make(architecture: str, version: str | None, folder: Path | None) -> Image:
    return Image(version or "0.1.0", architecture, {"a": BUNDLE})


def updates_of(running: app.Gateway) -> Updates:
    assert running.updates is not None
    running.updates._make = make
    return running.updates


def hello(thing: Thing, counter: int = 0, outcome: str = "", can: bool = True) -> Any:
    update = ("x64", counter, outcome) if can else None
    return Hello(thing.kid, bytes(8), 1, 1, 0, "0.1.0", "climate", None, None, None, None, None, update)


def device_of(running: app.Gateway, thing: Thing) -> Device:
    return running.core.registry.by_kid(thing.kid)


async def announced(running: app.Gateway, thing: Thing) -> Any:
    """The Manifest that a device is told in answer to its hello."""
    found: list[bytes] = []

    def told() -> bool:
        found[:] = updates_of(running).greeting(device_of(running, thing), hello(thing))
        return bool(found)

    await eventually(told)
    return manifest.parse_manifest(found[0]).manifest


def states(running: app.Gateway, *things: Thing) -> list[str]:
    found = [updates_of(running).of_device(device_of(running, thing)) for thing in things]
    return [one[0].state if one else "" for one in found]


async def test_blocks_over_coap_and_hostile_questions(config: GatewayConfig) -> None:
    thing, other = Thing(1), Thing(2, "Cellar")
    async with gateway(config, thing, other) as running:
        updates = updates_of(running)
        await updates.request([device_of(running, thing)], "0.2.0", "", "")
        plain = await announced(running, thing)
        client = await aiocoap.Context.create_client_context()

        async def asked(data: bytes) -> Any:
            uri = f"coap://127.0.0.1:{config.coap.port}/ask"
            request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=data, content_format=17)
            return await client.request(request).response

        got = b""
        while len(got) < plain.size:
            ask = manifest.Ask(plain.counter, len(got), 512)
            response = await asked(manifest.encode_ask(thing.downlink, thing.kid, ask))
            got += manifest.parse_block(response.payload, thing.downlink).data
        assert Image("0.2.0", "x64", {"a": BUNDLE}).bundle == got
        assert states(running, thing) == ["fetching"]
        # Beyond its end, of another update, by another device: the update is over for them.
        for who, ask in (
            (thing, manifest.Ask(plain.counter, plain.size, 512)),
            (thing, manifest.Ask(plain.counter + 1, 0, 512)),
            (other, manifest.Ask(plain.counter, 0, 512)),
        ):
            response = await asked(manifest.encode_ask(who.downlink, who.kid, ask))
            assert manifest.parse_block(response.payload, who.downlink).data is None
        # Under another key, and no question at all.
        forged = await asked(manifest.encode_ask(other.downlink, thing.kid, manifest.Ask(plain.counter, 0, 512)))
        assert forged.code == aiocoap.UNAUTHORIZED and forged.payload == b"bad_signature"
        assert (await asked(b"\xff")).code == aiocoap.BAD_REQUEST
        await client.shutdown()


async def test_one_goes_ahead_and_the_others_follow(config: GatewayConfig) -> None:
    first, second, third = things = Thing(1), Thing(2, "Cellar"), Thing(3, "Attic")
    async with gateway(config, *things) as running:
        updates = updates_of(running)
        devices = [device_of(running, thing) for thing in things]
        await updates.request(devices, "0.2.0", "", "")
        plain = await announced(running, first)
        assert states(running, *things) == ["waiting", "staged", "staged"]
        assert updates.greeting(devices[1], hello(second)) == []
        updates.greeting(devices[0], hello(first, plain.counter))
        await eventually(lambda: states(running, *things) == ["trial", "staged", "staged"])
        updates.greeting(devices[0], hello(first, plain.counter, "done"))
        await eventually(lambda: states(running, *things) == ["done", "waiting", "waiting"])
        # Not so if the first fails; the third cannot be updated at all.
        updates.greeting(devices[1], hello(second, (await announced(running, second)).counter, "no_space"))
        updates.greeting(devices[2], hello(third, can=False))
        await eventually(lambda: states(running, *things) == ["done", "failed", "failed"])
        await updates.request(devices, "0.3.0", "", "")
        updates.greeting(devices[0], hello(first, (await announced(running, first)).counter, "did_not_start"))
        await eventually(lambda: states(running, *things) == ["failed"] * 3)
        assert updates.open_updates() == []


async def test_it_survives_a_restart_and_is_cancelled(config: GatewayConfig) -> None:
    thing = Thing(1)
    async with gateway(config, thing) as running:
        await updates_of(running).request([device_of(running, thing)], "0.2.0", "", "")
        before = await announced(running, thing)
    async with gateway(config) as running:
        updates, device = updates_of(running), device_of(running, thing)
        assert await announced(running, thing) == before
        refused = await updates.request([device], "0.2.0", "", "")
        assert isinstance(refused, Refused) and "already" in refused.reason
        assert await updates.cancel(device) and not await updates.cancel(device)
        assert updates.block(device, manifest.Ask(before.counter, 0, 512)).data is None
        # A gateway that was set back gives counters that the device has not seen.
        queued = await updates.request([device], "0.2.0", "", "")
        assert not isinstance(queued, Refused)
        ahead = queued[0].counter + 1000
        await eventually(lambda: updates.greeting(device, hello(thing, ahead, "done")))
        (message,) = updates.greeting(device, hello(thing, ahead, "done"))
        assert manifest.parse_manifest(message).manifest.counter == ahead + 1


async def test_the_command_line(tmp_path: Path, config: GatewayConfig) -> None:
    file = write_config(tmp_path / "thingroom.toml", config)

    async def run(*arguments: str) -> tuple[int, str]:
        argv = ["update", "--config", str(file), *arguments]
        done = await asyncio.to_thread(CliRunner().invoke, main, argv)
        return done.exit_code, done.output

    thing = Thing(1)
    async with gateway(config, thing) as running:
        updates, device = updates_of(running), device_of(running, thing)
        assert "No device was updated yet" in (await run())[1]
        assert (await run("Attic"))[1].startswith("Error: there is no device Attic")
        assert "updated to 0.2.0; see" in (await run("--all", "--version", "0.2.0", "--no-wait"))[1]
        assert "? to 0.2.0, waits for the device" in (await run())[1]
        assert (await run("Kitchen", "--cancel"))[1] == "Cancelled: 1.\n"
        watching = asyncio.create_task(run("Kitchen", "--version", "0.2.0"))
        await eventually(lambda: updates.open_updates())
        counter = (await announced(running, thing)).counter
        updates.greeting(device, hello(thing, counter, "no_space"))
        code, said = await watching
        assert code == 1 and "Kitchen: its storage is too full." in said
        assert not any(state in OPEN for state in states(running, thing))
