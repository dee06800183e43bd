"""A long day with sensors, on our homeserver and on Synapse: everything that people live through, and then the books.

Real firmware over MQTT, CoAP and a serial line, paired by code; a day of the calendar passes in steps of less than an
hour, each of which every live sensor speaks in. At the end every number that a board ever gave a reading is in a room
exactly once, or is told where else it is.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2
import nio
import pytest
from nacl.signing import VerifyKey
from PIL import Image
from tests.flows.household import HOMESERVERS, SECONDS, Board, Home, household, proven_in, said_in
from tests.flows.preloaded import MovedClock
from tests.flows.readings import Proven, device_keys, timeline, unpadded
from tests.flows.soak import soaked
from tests.gateway.bot_home import Person
from tests.gateway.command_support import SWITCH, movements
from tests.gateway.gateway_support import eventually
from tests.gateway.serial_cable import Cable

RESULTS = -65540
STEP_SECONDS = 50 * 60
"""Less than the hour after which a profile calls its device silent."""
DAYS = soaked(1, 7)
DAY_STEPS = 29


async def all_speak(boards: Sequence[Board], heard: Sequence[Board]) -> None:
    """Every board takes two more readings, the second surely now; the gateway has them of those that are `heard`."""
    before = {id(board): board.newest() + 1 for board in boards}
    for board in boards:
        number = before[id(board)]
        if board in heard:
            await board.now.until(lambda board=board, number=number: board.is_beyond(number), SECONDS)
        else:
            await board.now.until(lambda board=board, number=number: board.newest() > number, SECONDS)


async def hours_pass(clock: MovedClock, steps: int, boards: Sequence[Board], heard: Sequence[Board]) -> None:
    for _ in range(steps):
        clock.advance(STEP_SECONDS)
        await all_speak(boards, heard)


def ghost(home: Home, board: Board) -> str:
    return f"@thing_{board.kid}:{home.homeserver.server_name}"


def alerts(messages: Sequence[tuple[str, dict[str, Any]]], board: Board) -> list[dict[str, Any]]:
    """The contents of what was said about a device's alerts."""
    told = [content for _, content in messages if "org.thingroom.alert" in content]
    return [content for content in told if content["org.thingroom.alert"]["device"] == board.kid]


def notices(messages: Sequence[tuple[str, dict[str, Any]]], sender: str) -> list[str]:
    return [content["body"] for who, content in messages if who == sender and content["msgtype"] == "m.notice"]


def is_drawn(png: bytes) -> tuple[int, int]:
    """Width and height of a picture that has something on it: a line, text, a background."""
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        assert picture.format == "PNG"
        colours = picture.convert("RGB").getcolors(1 << 24)
        assert colours is not None
        most = max(count for count, _ in colours)
        pixels = picture.width * picture.height
        assert len(colours) > 50 and 0.005 * pixels < pixels - most < 0.7 * pixels, (len(colours), most / pixels)
        return picture.width, picture.height


def stamps(readings: Sequence[Proven]) -> list[int]:
    """When (Unix ms) each reading was taken, by what its board has signed: RFC 8428's base time, decimal seconds."""
    return [int(reading.records[0][-3] * 1000) for reading in readings]


async def ask(person: Person, room: str, text: str) -> dict[str, Any]:
    """Say something; the content of what the bot says next in the room, whatever it said there to others before."""
    asked = await person.say(room, text)
    await person.until(room, lambda event: event["event_id"] == asked, SECONDS)
    return await person.answer(room, SECONDS)


async def seen(person: Person, room: str, sender: str, pattern: str) -> str:
    """What `sender` said in the room that begins with `pattern`, however long ago; waits for it."""
    found: list[str] = []

    def look() -> bool:
        for where, event in person.seen:
            body = str(event["content"].get("body", ""))
            if (where, event["sender"]) == (room, sender) and re.match(pattern, body):
                found.append(body)
        return bool(found)

    async with asyncio.timeout(SECONDS):
        while not look():
            await person.sync()
    return found[0]


async def pair(owner: Person, home: Home) -> tuple[str, str]:
    """The direct chat with the bot, and the code that the bot gives there."""
    chat = await owner.chat()
    await owner.say(chat, "pair 60 minutes")
    found: list[str] = []

    def has_code(event: dict[str, Any]) -> bool:
        found.extend(re.findall(r"`([0-9a-f ]{32,})`", str(event["content"].get("body", ""))))
        return bool(found)

    await owner.until(chat, has_code, SECONDS)
    return chat, found[0]


async def configure(home: Home, board: Board, **settings: Any) -> None:
    answer = await home.gateway.ask("configure", device=board.kid, **settings)
    assert answer.get("outcome") == "done", answer


@pytest.mark.timeout(600 * DAYS)
@pytest.mark.parametrize("kind", HOMESERVERS)
async def test_a_long_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    clock = MovedClock(tmp_path, monkeypatch)
    async with (
        household(tmp_path, kind) as home,
        home.person("owner") as owner,
        home.person("flatmate") as flatmate,
        home.person("guest") as guest,
    ):
        with Cable(tmp_path / "node-tty", home.serial) as cable:
            day = Day(home, clock, cable, owner, flatmate, guest)
            try:
                await day.morning()
                await day.midday()
                await day.night()
                await day.next_morning()
                await day.books()
            except BaseException:
                print(home.gateway.log_tail())
                raise
            finally:
                for board in day.boards:
                    await board.now.kill()


class Day:
    """The story. Its parts come in the order of the methods."""

    def __init__(
        self, home: Home, clock: MovedClock, cable: Cable, owner: Person, flatmate: Person, guest: Person
    ) -> None:
        self.home, self.clock, self.cable = home, clock, cable
        self.owner, self.flatmate, self.guest = owner, flatmate, guest
        self.boards: list[Board] = []
        self.rooms: dict[str, str] = {}

    async def morning(self) -> None:
        """Boards are paired and speak in rooms of their own; two people are let into them."""
        home, owner = self.home, self.owner
        self.chat, code = await pair(owner, home)
        lamp = {"profile": "switch", "sensor": {"kind": "none"}, "actuators": [SWITCH]}
        self.kitchen = home.board("Kitchen", "mqtt", code)
        self.porch = home.board("Porch", "coap", code)
        self.cellar = home.board("Cellar", "serial", code)
        self.lamp = home.board("Lamp", "mqtt", code, **lamp)
        for board in (self.kitchen, self.porch, self.cellar, self.lamp):
            await board.switch_on()
            self.boards.append(board)
        for board in self.boards:
            await board.now.event("enrolled", SECONDS)
        await all_speak(self.boards, self.boards)
        for name in ("Kitchen", "Porch", "Cellar", "Lamp"):
            self.rooms[name] = await owner.room(name)
            for person in (self.flatmate, self.guest):
                await owner.client.room_invite(self.rooms[name], person.user_id)
                assert await person.room(name) == self.rooms[name]
        levels = await owner.client.room_get_state_event(self.rooms["Lamp"], "m.room.power_levels")
        levels.content["users"][self.flatmate.user_id] = 50
        await owner.client.room_put_state(self.rooms["Lamp"], "m.room.power_levels", levels.content)
        kitchen = ghost(home, self.kitchen)
        await seen(self.guest, self.rooms["Kitchen"], kitchen, r"Kitchen \d\d\.\d °C, \d\d %$")
        said = (await ask(self.guest, self.rooms["Kitchen"], "!kitchen"))["body"]
        assert re.fullmatch(r"Kitchen: \d\d\.\d °C, \d\d %", said), said

    async def midday(self) -> None:
        """Some hours on: a chart; an alert and its end; the lamp obeys who may, and nobody else."""
        home, owner, rooms = self.home, self.owner, self.rooms
        await hours_pass(self.clock, 6, self.boards, self.boards)
        chart = await ask(owner, rooms["Kitchen"], "!chart temperature 24h")
        assert (chart["msgtype"], chart["info"]["mimetype"]) == ("m.image", "image/png"), chart
        picture = await owner.client.download(chart["url"])
        assert isinstance(picture, nio.DownloadResponse)
        assert is_drawn(bytes(picture.body)) == (chart["info"]["w"], chart["info"]["h"])

        answer = (await ask(owner, rooms["Kitchen"], "!alert when temperature above 30"))["body"]
        assert answer.startswith("I will tell you here. Kitchen: Temperature above 30 °C"), answer
        kitchen = ghost(home, self.kitchen)
        await configure(home, self.kitchen, calibration={"temperature": ("0", "33.5")})
        await seen(owner, rooms["Kitchen"], kitchen, "⚠️ Kitchen: Temperature is 33.5 °C, above 30 °C.")
        await hours_pass(self.clock, 1, self.boards, self.boards)
        await configure(home, self.kitchen, calibration={"temperature": ("1", "0")})
        await seen(owner, rooms["Kitchen"], kitchen, r"✅ Kitchen: Temperature is \d\d\.\d °C again, after 50 min")

        assert "may change this room" in (await ask(self.guest, rooms["Lamp"], "!lamp on"))["body"]
        assert movements(self.lamp.folder) == (None, 0)
        assert (await ask(self.flatmate, rooms["Lamp"], "!lamp on"))["body"] == "Lamp: Switch on, on its way."
        assert (await self.flatmate.answer(rooms["Lamp"], SECONDS))["body"] == "Lamp: Switch on. Done."
        assert movements(self.lamp.folder) == (True, 1)
        await eventually(lambda: home.query("SELECT 1 FROM commands WHERE outcome = 'done' AND actuator = 'on'"), 30)

    async def night(self) -> None:
        """A day in which the porch is dead and the cellar is cut off. Each is missed once."""
        await self.porch.switch_off()
        self.cable.gateway.unplug()
        self.cut_at = self.clock.now_ms()
        self.cellar_then = self.cellar.newest()
        alive = [self.kitchen, self.lamp]
        await hours_pass(self.clock, DAYS * DAY_STEPS, [*alive, self.cellar], alive)
        # What the cellar has to tell of this day is beyond it, and it is not now.
        answer = (await ask(self.owner, self.rooms["Cellar"], "!alert when temperature above 5"))["body"]
        assert answer.startswith("I will tell you here."), answer
        for name in ("Porch", "Cellar"):
            await seen(self.owner, self.rooms[name], self.owner.bot, f"🔕 {name}: Nothing was heard for a while since")

    async def next_morning(self) -> None:
        """The cellar is heard again and catches up; one device moves, is renamed; the porch is revoked."""
        home, owner = self.home, self.owner
        self.back_at = self.clock.now_ms()
        self.cellar_back = self.cellar.newest()
        await self.cellar.switch_off()
        await self.cellar.switch_on()
        self.cable.gateway.plug_in()
        await self.cellar.now.until(lambda: self.cellar.is_beyond(self.cellar_back), SECONDS)
        await seen(
            owner, self.rooms["Cellar"], owner.bot, f"✅ Cellar is back after {'24 h' if DAYS == 1 else f'{DAYS} days'}"
        )
        await seen(owner, self.rooms["Cellar"], ghost(home, self.cellar), "⚠️ Cellar: Temperature is ")

        assert (await ask(owner, self.rooms["Kitchen"], "!rename kitchen to Pantry"))[
            "body"
        ] == "Kitchen is Pantry now."
        moved = (await ask(owner, self.rooms["Kitchen"], "!move pantry to Hall"))["body"]
        assert moved.startswith("Pantry moves from Kitchen to Hall (a new room)."), moved
        self.rooms["Hall"] = await owner.room("Hall")
        alive = [self.kitchen, self.lamp, self.cellar]
        await hours_pass(self.clock, 2, alive, alive)
        await seen(owner, self.rooms["Hall"], ghost(home, self.kitchen), r"Pantry \d\d\.\d °C, \d\d %$")

        assert ((await ask(owner, self.chat, "revoke porch"))["body"]).startswith("Revoke Porch?")
        assert ((await ask(owner, self.chat, "yes"))["body"]).startswith("Porch is revoked")
        await self.porch.switch_on()
        for _ in range(600):
            counters = await home.counters()
            if counters.get("coap.rejected.revoked_device", 0) >= 2:
                break
            await asyncio.sleep(0.1)
        assert counters["coap.rejected.revoked_device"] >= 2, counters
        await self.porch.switch_off()

    async def books(self) -> None:
        """Made = in the rooms + still on a board; nothing lost, nothing twice, and everything at its own time."""
        alive = [self.kitchen, self.lamp, self.cellar]
        for board in alive:
            await configure(self.home, board, interval_ms=3_600_000, longest_ms=7_200_000)
        for board in alive:
            await board.now.until(lambda board=board: board.is_beyond(board.newest() - 1), SECONDS)
            await board.switch_off()
            assert board.waiting() == []
        made = {board.kid: board.sampled() for board in self.boards}
        porch = self.porch.waiting()
        # What was on its flash when its power went is there whether it had said so or not.
        made[self.porch.kid] = sorted({*made[self.porch.kid], *porch})
        expected = {
            kid: sorted(set(numbers) - (set(porch) if kid == self.porch.kid else set()))
            for kid, numbers in made.items()
        }
        for _ in range(100):
            found = await proven_in(self.owner.client, self.rooms.values())
            if all(len(found.get(kid, ())) >= len(numbers) for kid, numbers in expected.items()):
                break
            await asyncio.sleep(0.3)
        for board in self.boards:
            numbers, there = made[board.kid], sorted(found[board.kid], key=lambda reading: reading.sequence)
            assert numbers == sorted(set(numbers)) and board.lost() == 0, board.folder
            in_rooms = [reading.sequence for reading in there]
            if board is self.porch:
                # It may have been killed before it heard that one was taken, and never heard since.
                assert in_rooms == sorted(set(in_rooms)) and sorted({*in_rooms, *porch}) == numbers
            else:
                assert in_rooms == numbers, board.folder
            # Numbers that a restart has skipped were never a reading's: each reading names the one before it.
            before = dict(zip(numbers, [None, *numbers], strict=False))
            for reading in there:
                assert (reading.predecessor and reading.predecessor[0]) == before[reading.sequence], board.folder
        assert set(found) == {board.kid for board in self.boards}
        devices = (await self.home.gateway.ask("devices"))["devices"]
        assert not [gap for device in devices for gap in device["missing"] if gap["kind"] == "lost"], devices
        self._at_their_own_times(found)
        await self._confirmed_by_the_lamp()
        await self._said_once()

    def _at_their_own_times(self, found: dict[str, list[Proven]]) -> None:
        late = [r for r in found[self.cellar.kid] if self.cellar_then < r.sequence <= self.cellar_back]
        times = stamps(late)
        assert len(late) >= 2 * DAYS * DAY_STEPS and times == sorted(times)
        assert self.cut_at - 10_000 < times[0] and times[-1] < self.back_at
        assert times[-1] - times[0] > DAYS * 20 * 3_600_000
        for board in self.boards:
            rows = self.home.query(
                "SELECT m.sequence, m.time FROM samples m JOIN series s ON s.id = m.series"
                " JOIN devices d ON d.id = s.device WHERE lower(hex(d.kid)) = ?",
                board.kid,
            )
            stored = dict(rows)
            readings = found[board.kid]
            assert stored == dict(zip((r.sequence for r in readings), stamps(readings), strict=True))
            quantities = len(readings[0].records)
            assert len(rows) == quantities * len(readings)

    async def _confirmed_by_the_lamp(self) -> None:
        """The room itself proves that the lamp did it: its signature is over the result of the command."""
        client, room = self.owner.client, self.rooms["Lamp"]
        key = (await device_keys(client, room))[self.lamp.kid]
        results = []
        for event in await timeline(client, room):
            for text in event["content"].get("envelopes", ()) if event["type"] == "org.thingroom.readings" else ():
                protected, _, payload, signature = cbor2.loads(unpadded(text)).value
                VerifyKey(key).verify(cbor2.dumps(["Signature1", protected, b"", payload]), signature)
                for counter, outcome in cbor2.loads(protected).get(RESULTS, ()):
                    results.append((counter, outcome, cbor2.loads(payload)[0].get(4)))
        # The switch, and the configuration at the end of the day.
        assert [outcome for _, outcome, _ in results] == ["done", "done"] and results[0][2] is True, results

    async def _said_once(self) -> None:
        client = self.owner.client
        said = {name: await said_in(client, room) for name, room in self.rooms.items()}
        kitchen = alerts(said["Kitchen"], self.kitchen)
        assert [one["org.thingroom.alert"]["state"] for one in kitchen] == ["raised", "ended"], kitchen
        porch = alerts(said["Porch"], self.porch)
        assert [one["org.thingroom.alert"]["state"] for one in porch] == ["raised"], porch
        cellar = alerts(said["Cellar"], self.cellar)
        silence = [one for one in cellar if "Temperature" not in one["body"]]
        assert [one["org.thingroom.alert"]["state"] for one in silence] == ["raised", "ended"], cellar
        warm = [one["org.thingroom.alert"] for one in cellar if "Temperature" in one["body"]]
        # Of the day that it told afterwards nothing was said as if it were news, and of its warmth at most once.
        assert [one["at"] >= self.back_at - 1000 for one in warm if one["state"] == "raised"] == [True], cellar
        assert [one["state"] for one in warm if one["state"] != "raised"] in ([], ["missed"]), cellar
        steps = 6 + 1 + 2
        assert len(notices(said["Cellar"], ghost(self.home, self.cellar))) <= steps + 2
        assert len(notices(said["Kitchen"], ghost(self.home, self.kitchen))) <= steps + DAYS * DAY_STEPS + 2
        assert alerts(said["Lamp"], self.lamp) == []
        refused = [content["body"] for _, content in said["Lamp"] if "may change this room" in content["body"]]
        assert len(refused) == 1
