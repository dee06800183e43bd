"""An owner's room on our server with devices that sign, and a watcher's account on another server: a command as
a process, as an integrator runs it. The bot is a plain account of the owner's server here; nothing checks but us."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.flows.gateway_stack import Device
from tests.homeserver.running import PASSWORD, MatrixClient, escape
from tests.watch.signed_room import state_of

from thingroom_gateway.matrix_event import readings_content
from thingroom_watch.home import Account, save_account

LEVELS = {"org.thingroom.device": 100}


@dataclass
class House:
    """The room "Kitchen". `bot` made it and speaks for the gateway."""

    bot: MatrixClient
    room_id: str
    _numbers: Any = field(default_factory=itertools.count)

    @classmethod
    async def build(cls, bot: MatrixClient, **body: Any) -> House:
        override = {"power_level_content_override": {"events": LEVELS}}
        made = await bot.post("v3/createRoom", {"preset": "private_chat", "name": "Kitchen", **override, **body})
        return cls(bot, made.ok()["room_id"])

    async def device(self, device: Device, status: str = "active", name: str = "", **extra: str) -> None:
        content = state_of(device, status, name, **extra)
        await self.state("org.thingroom.device", device.kid.hex(), content)

    async def state(self, kind: str, key: str, content: dict[str, Any]) -> None:
        (await self.bot.put(f"v3/rooms/{escape(self.room_id)}/state/{kind}/{escape(key)}", content)).ok()

    async def readings(self, device: Device, *envelopes: bytes, by: MatrixClient | None = None) -> str:
        content = json.loads(readings_content(device.kid.hex(), envelopes, []))
        path = f"v3/rooms/{escape(self.room_id)}/send/org.thingroom.readings/{next(self._numbers)}"
        event_id: str = (await (by or self.bot).put(path, content)).ok()["event_id"]
        return event_id

    async def invite(self, client: MatrixClient) -> None:
        (await self.bot.post(f"v3/rooms/{escape(self.room_id)}/invite", {"user_id": client.user_id})).ok()


def keep_account(home: Path, client: MatrixClient) -> Account:
    """As if that account had logged in by `thingroom watch --user`."""
    account = Account(client.base_url, client.user_id, client.device_id or "WATCH", client.token or "")
    save_account(home, account)
    return account


class Command:
    """`thingroom watch ...` or `thingroom audit ...` as a process."""

    def __init__(self, *words: str, password: str = PASSWORD) -> None:
        self._words = words
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "THINGROOM_WATCH_PASSWORD": password,
        }
        self.process: asyncio.subprocess.Process

    async def start(self) -> Command:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "thingroom", *self._words), stdout=pipe, stderr=pipe, env=self._environment
        )
        return self

    async def finish(self) -> tuple[int, str, str]:
        """Its exit code, what it said and what it complained about."""
        out, complaints = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), complaints.decode()

    async def __aenter__(self) -> Command:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


async def run(*words: str, wanted: int = 0) -> str:
    """What the command says; fails unless it ends with `wanted`."""
    async with Command(*words) as command:
        code, out, complaints = await command.finish()
    assert code == wanted, (code, out, complaints)
    return out


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The JSON lines in a file as far as they are whole."""
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]
