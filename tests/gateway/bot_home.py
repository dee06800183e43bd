"""A homeserver of ours, a gateway that it calls, and people with matrix-nio: for tests of the bot and of alerts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import nio
from tests.gateway.fake_homeserver import AS_TOKEN, HS_TOKEN
from tests.gateway.gateway_support import Thing, make_config
from tests.gateway.test_gateway_ingest import Door
from tests.homeserver.running import PASSWORD, RunningHomeserver, running_homeserver
from tests.homeserver.running import make_config as make_homeserver_config
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.enrolment import Enrolled
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.registration import make_registration

BOT = "@thingroom:localhost"


@dataclass
class Person:
    """Somebody with a Matrix client. `seen` are the events of every room, as they came."""

    client: nio.AsyncClient
    bot: str = BOT
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _read: dict[str, int] = field(default_factory=dict)

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    async def sync(self) -> None:
        """Take what is new, and accept every invitation."""
        answer = await self.client.sync(timeout=200, sync_filter={"room": {"timeline": {"limit": 1000}}})
        assert isinstance(answer, nio.SyncResponse), answer
        for room_id, room in answer.rooms.join.items():
            self.seen += [(room_id, event.source) for event in room.timeline.events]
        for room_id in answer.rooms.invite:
            await self.client.join(room_id)

    async def room(self, name: str) -> str:
        """The id of the joined room of that name."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for room_id, room in self.client.rooms.items():
                if room.name == name and room.users:
                    return str(room_id)
            await self.sync()
        raise AssertionError(f"no room {name}; there are {[room.name for room in self.client.rooms.values()]}")

    async def chat(self) -> str:
        """A new direct chat with the bot, once it is there."""
        answer = await self.client.room_create(
            is_direct=True, invite=[self.bot], preset=nio.RoomPreset.trusted_private_chat
        )
        assert isinstance(answer, nio.RoomCreateResponse), answer
        await self.until(answer.room_id, self._is_of_bot)
        return str(answer.room_id)

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        answer = await self.client.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": text, **more})
        assert isinstance(answer, nio.RoomSendResponse), answer
        return str(answer.event_id)

    async def react(self, room_id: str, event_id: str, key: str) -> None:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        answer = await self.client.room_send(room_id, "m.reaction", {"m.relates_to": relation})
        assert isinstance(answer, nio.RoomSendResponse), answer

    async def until(
        self, room_id: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_SECONDS
    ) -> Any:
        """The next event of the room (after the last one that was waited for) that is `wanted`."""
        deadline = time.monotonic() + seconds
        while True:
            while self._read.get(room_id, 0) < len(self.seen):
                where, event = self.seen[self._read.get(room_id, 0)]
                self._read[room_id] = self._read.get(room_id, 0) + 1
                if where == room_id and wanted(event):
                    return event
            tail = [event["content"].get("body") for _, event in self.seen[-8:]]
            assert time.monotonic() < deadline, f"it did not come; the last were {tail}"
            await self.sync()

    async def answer(self, room_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The content of the next message of the bot that is no alert."""
        event = await self.until(room_id, self._is_answer, seconds)
        return dict(event["content"])

    def _is_of_bot(self, event: dict[str, Any]) -> bool:
        return bool(event["sender"] == self.bot and event["type"] == "m.room.message")

    def _is_answer(self, event: dict[str, Any]) -> bool:
        return self._is_of_bot(event) and event["content"].get("msgtype") != "m.text"

    async def ask(self, room_id: str, text: str, **more: Any) -> str:
        """Say something; the body of the bot's next message."""
        await self.say(room_id, text, **more)
        return str((await self.answer(room_id))["body"])

    async def silent(self, room_id: str, seconds: float = 1.0) -> None:
        """Fails if the bot says something in the room within some time."""
        await asyncio.sleep(seconds)
        await self.sync()
        while self._read.get(room_id, 0) < len(self.seen):
            where, event = self.seen[self._read.get(room_id, 0)]
            self._read[room_id] = self._read.get(room_id, 0) + 1
            assert where != room_id or not self._is_of_bot(event), event


@dataclass
class BotHome:
    """What runs. `gateway` is in this process."""

    homeserver: RunningHomeserver
    gateway: app.Gateway
    config: GatewayConfig
    door: Door

    async def enrol(self, thing: Thing, place: str = "") -> None:
        enrolled = await self.gateway.core.enrolment.enrol(replace(thing.candidate, place=place))
        assert isinstance(enrolled, Enrolled), enrolled
        keys = self.gateway.core.keys
        thing.learn(keys.signing_public, keys.agreement_public)

    async def reading(self, thing: Thing, tenths: int, ago_ms: int = 0) -> None:
        """A reading of `thing`, taken some time ago, stored now."""
        when = time.time_ns() // 1_000_000 - ago_ms
        await self.door.send(thing.envelope(payload=thing.pack(tenths, when)))


def home_config(directory: Path, homeserver_url: str) -> GatewayConfig:
    """A gateway of the server "localhost", owned by @owner:localhost."""
    config = make_config(directory, homeserver_url)
    return msgspec.structs.replace(config, server_name="localhost", owner="@owner:localhost", timezone="Europe/Berlin")


@contextlib.asynccontextmanager
async def running_homeserver_for_gateway(directory: Path) -> AsyncIterator[tuple[RunningHomeserver, GatewayConfig]]:
    """Our homeserver, which knows a gateway by its registration, and the configuration of that gateway."""
    directory.mkdir(parents=True, exist_ok=True)
    config = home_config(directory, "")
    registration = directory / "registration.yaml"
    url = f"http://127.0.0.1:{config.appservice.port}"
    registration.write_text(json.dumps(make_registration("localhost", url, AS_TOKEN, HS_TOKEN)))
    settings = make_homeserver_config(directory / "homeserver", appservice_files=(str(registration),))
    async with running_homeserver(settings) as server:
        yield server, msgspec.structs.replace(config, homeserver_url=server.base_url)


@contextlib.asynccontextmanager
async def bot_home(directory: Path, *things: Thing) -> AsyncIterator[BotHome]:
    """The homeserver and the gateway, with `things` enrolled."""
    async with (
        running_homeserver_for_gateway(directory) as (server, config),
        running_gateway_here(server, config) as home,
    ):
        for thing in things:
            await home.enrol(thing)
        yield home


@contextlib.asynccontextmanager
async def running_gateway_here(server: RunningHomeserver, config: GatewayConfig) -> AsyncIterator[BotHome]:
    async with app.running(config, EventsOut(None), asyncio.Event()) as running:
        yield BotHome(server, running, config, Door(running))


@contextlib.asynccontextmanager
async def person(server: RunningHomeserver, name: str) -> AsyncIterator[Person]:
    """A registered person who is signed in."""
    client = nio.AsyncClient(server.base_url, name)
    try:
        registered = await client.register(name, PASSWORD, f"{name}'s phone")
        assert isinstance(registered, nio.RegisterResponse), registered
        yield Person(client)
    finally:
        await client.close()
