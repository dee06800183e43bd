"""SIGKILL at random moments while readings cross a threshold: every crossing is told, in order, each once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import Any

import aiocoap
from tests.gateway.bot_home import person, running_gateway_here, running_homeserver_for_gateway
from tests.gateway.gateway_support import Thing, write_config
from tests.gateway.test_gateway_coap import client
from tests.gateway.test_gateway_crash import process
from tests.patience import tries

from thingroom_gateway.config import GatewayConfig

CROSSINGS = 12
KILLS = 5


def is_alert(event: dict[str, Any]) -> bool:
    return (
        event["type"] == "m.room.message"
        and event["sender"].startswith("@thing_")
        and (event["content"].get("msgtype") == "m.text")
    )


async def test_no_alert_is_lost_or_told_twice(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with running_homeserver_for_gateway(tmp_path) as (server, config), person(server, "owner") as owner:
        async with running_gateway_here(server, config) as home:
            await home.enrol(kitchen)
            await home.reading(kitchen, 200)
            room = await owner.room("Kitchen")
            await owner.ask(room, "!alert when temperature above 30")
        config_file = write_config(tmp_path / "thingroom.toml", config)
        dice = random.Random(7)
        sent = 0
        for _ in range(KILLS):
            async with process(config_file, config) as running:
                for _ in range(dice.randint(1, CROSSINGS // KILLS + 1)):
                    if sent == CROSSINGS:
                        break
                    tenths = 310 if sent % 2 == 0 else 250
                    now = time.time_ns() // 1_000_000
                    await deliver(config, kitchen.envelope(payload=kitchen.pack(tenths, now)))
                    sent += 1
                await asyncio.sleep(dice.uniform(0, 0.6))
                running.kill()
                await running.wait()
        async with running_gateway_here(server, config) as home:
            said: list[str] = []
            while len(said) < sent:
                said.append((await owner.until(room, is_alert))["content"]["body"])
            await owner.silent(room)
        assert [text[0] for text in said] == ["⚠✅"[number % 2] for number in range(sent)]
        assert len([event for where, event in owner.seen if where == room and is_alert(event)]) == sent


async def deliver(config: GatewayConfig, envelope: bytes) -> None:
    """Post an envelope by CoAP until the gateway says that it is on disk."""
    for _ in tries():
        async with client(config) as node:
            with contextlib.suppress(TimeoutError, aiocoap.error.NetworkError):
                answer = await asyncio.wait_for(node.post("up", envelope), 1)
                assert answer.code.is_successful(), answer.code
                return
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway never took it")
