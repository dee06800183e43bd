"""Hostile input where homeservers, browsers and people come in, while a device goes on measuring: all of it is refused
and counted, none of the device's readings is late or lost, and the gateway does not grow.

The doors of devices (MQTT, CoAP, serial lines) are in tests/gateway/test_gateway_hostile.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from tests.flows.gateway_stack import Device
from tests.flows.household import PASSWORD, SECONDS, Home, household, proven_in
from tests.flows.test_gateway_on_synapse import broker_client, enrol
from tests.gateway.bot_home import Person
from tests.gateway.dashboard_support import Visitor

from thingroom_gateway.registration import load_registration
from thingroom_wire.downlink import parse_answer

WARM_UP, ROUNDS = 2, 3
MAX_GROWTH = 8_000_000
HANGING = 100
HUGE = 20_000_000
BOT = "@thingroom:thingroom.test"


class Honest:
    """A device that measures on, whatever happens elsewhere."""

    def __init__(self, home: Home, device: Device, downlink: bytes) -> None:
        self._home, self.device, self._downlink = home, device, downlink
        self.acknowledged: set[int] = set()
        self.is_over = False

    async def run(self) -> None:
        """Publishes one reading after the other until `is_over`, then waits until the gateway has them all."""
        async with (
            broker_client(self._home.broker, self.device, self._downlink) as client,
            asyncio.TaskGroup() as group,
        ):
            await client.subscribe(self.device.topic("down"), qos=1)
            listening = group.create_task(self._listen(client))
            while not self.is_over:
                await client.publish(self.device.topic("up"), self.device.climate(214, 45), qos=1)
                await asyncio.sleep(0.02)
            async with asyncio.timeout(SECONDS):
                while len(self.acknowledged) < self.device.sequence:
                    await asyncio.sleep(0.05)
            listening.cancel()

    async def _listen(self, client: Any) -> None:
        async for message in client.messages:
            for first, last in parse_answer(message.payload, self._downlink).acknowledged:
                self.acknowledged.update(range(first, last + 1))


class Villain:
    """Makes odd values, by a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def text(self, most: int = 200) -> str:
        alphabet = "ab 0🌡️\0\u202e\ud7ff\n`*<>\"'&%/\\{}[]é" + chr(self.chance.randrange(0x20, 0xD7FF))
        return "".join(self.chance.choice(alphabet) for _ in range(self.chance.randrange(most)))

    def value(self, depth: int = 3) -> Any:
        """Some JSON, seldom what is wanted."""
        chance = self.chance
        kind = chance.randrange(9 if depth else 6)
        if kind < 2:
            return self.text()
        if kind < 6:
            return chance.choice([None, True, 0, -1, 1 << 60, 1.5, "", BOT, "m.room.message", []])
        if kind == 6:
            return [self.value(depth - 1) for _ in range(chance.randrange(6))]
        names = ("events", "type", "content", "sender", "event_id", "room_id", "body", "msgtype", "membership", "x")
        return {chance.choice(names): self.value(depth - 1) for _ in range(chance.randrange(8))}

    def event(self, room: str) -> Any:
        """An event as a homeserver gone bad would pass it on."""
        event = {
            "type": self.chance.choice(["m.room.message", "m.reaction", "m.room.member", "m.room.redaction", "m.x"]),
            "event_id": f"${self.text(30)}",
            "room_id": self.chance.choice([room, "!nowhere:thingroom.test", self.text()]),
            "sender": self.chance.choice(["@villain:elsewhere.test", self.text(), BOT]),
            "origin_server_ts": self.chance.choice([0, -5, 1 << 70, "now"]),
            "content": {"msgtype": "m.text", "body": f"!{self.text()}", "m.relates_to": self.value()},
        }
        for _ in range(self.chance.randrange(3)):
            event[self.chance.choice(list(event))] = self.value()
        return event

    def transaction(self, room: str) -> bytes:
        kind = self.chance.randrange(6)
        if kind == 0:
            return self.chance.randbytes(self.chance.randrange(2000))
        if kind == 1:
            return b'{"events":' + b"[" * self.chance.randrange(1, 100_000)
        if kind == 2:
            return json.dumps(self.value(5)).encode()
        if kind == 3:
            return b'{"events":[{"type":"m.room.message","content":{"body":"\\ud800","n":1e999999}}]}'
        return json.dumps({"events": [self.event(room) for _ in range(self.chance.randrange(60))]}).encode()

    def words(self) -> dict[str, Any]:
        """What somebody says in a room."""
        chance = self.chance
        asked = chance.choice(
            [
                "chart temperature 99999999 years",
                "history kitchen temperature " + "9" * 500 + "d",
                "alert when temperature above 1e999999",
                "rename kitchen to " + "x" * 5000,
                "move kitchen to \u202eneht",
                "set kitchen " + "9" * 3000,
                "revoke kitchen",
                "pair 100000000",
                "quiet hours 99:99 to -1:00",
                "kitchen? " * 2000,
                self.text(3000),
            ]
        )
        content: dict[str, Any] = {
            "msgtype": chance.choice(["m.text", "m.text", "m.notice", "m.x"]),
            "body": f"!{asked}",
        }
        if chance.randrange(3) == 0:
            content["m.relates_to"] = {"rel_type": chance.choice(["m.replace", "m.thread", "m.x"]), "event_id": "$no"}
        if chance.randrange(4) == 0:
            content["m.new_content"] = {"msgtype": "m.text", "body": f"!{asked}"}
        return content


async def transactions(villain: Villain, http: aiohttp.ClientSession, home: Home, room: str, token: str) -> None:
    url = f"http://127.0.0.1:{home.appservice_port}/_matrix/app/v1/transactions"
    for number in range(60):
        given = token if number % 3 else villain.chance.choice(["", "Bearer", f"{token}x", "é" * 50])
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        data = villain.transaction(room) if number != 1 else bytes(HUGE)
        async with http.put(f"{url}/{villain.chance.randrange(1 << 40)}", data=data, headers=headers) as answer:
            assert answer.status in ((200, 413) if given == token else (403, 413)), await answer.text()


async def pages(villain: Villain, http: aiohttp.ClientSession, home: Home) -> None:
    """Odd visits to the dashboard."""
    base = f"http://127.0.0.1:{home.dashboard_port}"
    paths = ("/", "/sign-in", "/devices", "/status", "/pair", "/api/devices", "/live", "/device/00", "/static/../../x")
    for _ in range(80):
        chance = villain.chance
        path = chance.choice([*paths, f"/{chance.randbytes(20).hex()}", "/device/" + "%00" * 40, "/" + "a" * 7000])
        method = chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "BREW"])
        headers = {"Content-Type": chance.choice(["application/x-www-form-urlencoded", "application/json", "\u00e9"])}
        if chance.randrange(2):
            headers["Cookie"] = f"session={chance.randbytes(32).hex()}"
        data = chance.choice([b"", chance.randbytes(3000), b"form=x&user=a&password=b", b"x" * 100_000])
        asked = http.request(method, base + path, headers=headers, data=data, allow_redirects=False)
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with asked as answer:
                assert answer.status < 500, (method, path, answer.status)


async def noise(villain: Villain, port: int) -> None:
    """Bytes that are no HTTP, or never become a whole request."""
    for _ in range(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = villain.chance.choice(
            [b"", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"\x16\x03\x01"]
        )
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(head + villain.chance.randbytes(villain.chance.randrange(20_000)))
            async with asyncio.timeout(0.2):
                await reader.read(1000)
        writer.close()


async def talk(villain: Villain, guest: Person, room: str) -> None:
    for _ in range(25):
        await guest.client.room_send(room, "m.room.message", villain.words())
    await guest.client.room_send(
        room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$no", "key": "👍"}}
    )


async def test_hostile_input_at_the_doors_of_people_and_homeservers(tmp_path: Path) -> None:
    villain = Villain(3)
    token = ""
    async with (
        household(tmp_path, "thingroom") as home,
        home.person("owner") as owner,
        home.person("guest") as guest,
        aiohttp.ClientSession() as http,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as signed_in,
        asyncio.TaskGroup() as group,
    ):
        token = load_registration(tmp_path / "registration.yaml").hs_token
        device = Device("Kitchen")
        honest = Honest(home, device, await enrol(home.gateway, device))
        measuring = group.create_task(honest.run())
        room = await owner.room("Kitchen")
        await owner.client.room_invite(room, guest.user_id)
        assert await guest.room("Kitchen") == room
        page = await Visitor(signed_in, f"http://127.0.0.1:{home.dashboard_port}").sign_in(guest.user_id, PASSWORD)
        assert "You are signed in" in page.words
        watched, sizes = psutil.Process(home.gateway.pid), []
        hanging = [await asyncio.open_connection("127.0.0.1", home.dashboard_port) for _ in range(HANGING)]
        for _, writer in hanging:
            writer.write(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Le")
        for _ in range(WARM_UP + ROUNDS):
            await transactions(villain, http, home, room, token)
            await pages(villain, signed_in, home)
            await pages(villain, http, home)
            await noise(villain, home.dashboard_port)
            await noise(villain, home.appservice_port)
            await talk(villain, guest, room)
            before = device.sequence
            async with asyncio.timeout(SECONDS):
                while not any(number > before for number in honest.acknowledged):
                    await asyncio.sleep(0.02)
            sizes.append(watched.memory_info().rss)
        for _, writer in hanging:
            writer.close()
        honest.is_over = True
        await measuring
        # The bot still listens to those who mean it.
        assert "Kitchen: 21.4 °C, 45 %" in await until_answered(owner, room)
        counters = await home.counters()
        expected = list(range(1, device.sequence + 1))
        async with asyncio.timeout(SECONDS):
            while True:
                found = (await proven_in(owner.client, [room])).get(device.kid.hex(), [])
                if len(found) >= len(expected):
                    break
                await asyncio.sleep(0.2)
        assert [reading.sequence for reading in found] == expected
    assert max(sizes) - sizes[WARM_UP - 1] < MAX_GROWTH, sizes
    assert counters["mqtt.accepted"] == len(expected)
    assert {name: counters.get(name, 0) > 0 for name in COUNTED} == dict.fromkeys(COUNTED, True), counters
    assert len(counters) < 100, counters
    print(sizes, counters)


COUNTED = (
    "appservice.wrong_token",
    "appservice.too_large",
    "appservice.not_json",
    "appservice.events_odd",
    "dashboard.rejected.not_signed_in",
    "dashboard.rejected.not_allowed",
    "dashboard.rejected.no_such_page",
    "dashboard.rejected.too_large",
)


async def until_answered(person: Person, room: str) -> str:
    event_id = await person.say(room, "!kitchen")
    await person.until(room, lambda event: event["event_id"] == event_id, SECONDS)
    event = await person.until(
        room,
        lambda event: event["sender"] == person.bot and str(event["content"].get("body")).startswith("Kitchen: 2"),
        SECONDS,
    )
    return str(event["content"]["body"])
