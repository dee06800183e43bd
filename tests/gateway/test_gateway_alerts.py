"""Alerts in rooms of our homeserver: said once, to whom they matter, held back at night, never twice after a crash."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.gateway.bot_home import (
    BOT,
    BotHome,
    bot_home,
    person,
    running_gateway_here,
    running_homeserver_for_gateway,
)
from tests.gateway.gateway_support import Thing, eventually

from thingroom_gateway.alerts.engine import Alerts
from thingroom_gateway.storage import alerts as store


def is_alert(event: dict[str, Any]) -> bool:
    return (
        event["type"] == "m.room.message"
        and event["content"].get("msgtype") == "m.text"
        and (event["sender"].startswith(("@thing_", BOT)))
    )


def presence(event: dict[str, Any]) -> str:
    return str(event["content"].get("presence")) if event["type"] == "org.thingroom.presence" else ""


def alerts_of(home: BotHome) -> Alerts:
    return home.gateway.alerts


async def test_an_alert_and_its_end_once_each_with_a_mention_and_a_snooze(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        answer = await owner.ask(room, "!alert when temperature above 30")
        assert answer == "I will tell you here. Kitchen: Temperature above 30 °C (over when it is back at 29.7 °C)."
        for tenths in (299, 301, 305, 300):
            await home.reading(kitchen, tenths)
        alert = await owner.until(room, is_alert)
        assert alert["sender"] == f"@thing_{kitchen.hex}:localhost"
        assert alert["content"]["body"] == "⚠️ Kitchen: Temperature is 30.1 °C, above 30 °C."
        assert alert["content"]["m.mentions"] == {"user_ids": [owner.user_id]}
        button = await owner.until(room, lambda e: e["type"] == "m.reaction")
        assert button["content"]["m.relates_to"]["event_id"] == alert["event_id"]
        listed = await owner.ask(room, "!alerts")
        assert "raised for" in listed and "silent" in listed
        await home.reading(kitchen, 297)
        ended = await owner.until(room, is_alert)
        assert ended["content"]["body"].startswith(
            "✅ Kitchen: Temperature is 29.7 °C again, after 0 s (it was 30.5 °C"
        )
        await home.reading(kitchen, 310)
        again = await owner.until(room, is_alert)
        await owner.react(room, again["event_id"], "⏰")
        assert (await owner.answer(room))["body"].startswith("⏰ I will remind you in 1 h")
        now = time.time_ns() // 1_000_000
        await alerts_of(home).tick(now + 3_601_000)
        still = await owner.until(room, lambda e: is_alert(e) and e["content"]["body"].startswith("⏰"))
        assert still["content"]["body"].startswith("⏰ Kitchen: still Temperature above 30 °C")
        number = next(line for line in listed.splitlines() if "above 30" in line).partition(":")[0]
        gone = await owner.ask(room, f"!remove alert {number}")
        assert gone.startswith(f"Alert {number} is gone"), (gone, listed)


async def test_a_backlog_never_alarms_for_the_present(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        await owner.ask(room, "!alert when temperature above 30")
        for hours in (24, 12, 1):
            await home.reading(kitchen, 400, hours * 3_600_000)
        await home.reading(kitchen, 250)
        await owner.silent(room)
        said = [event for where, event in owner.seen if where == room and is_alert(event)]
        assert said == []


async def test_silence_is_told_and_the_return_too(tmp_path: Path) -> None:
    things = [Thing(number, f"Sensor {number}") for number in range(1, 7)]
    async with bot_home(tmp_path) as home, person(home.homeserver, "owner") as owner:
        for thing in things:
            await home.enrol(thing, "Hall")
            await home.reading(thing, 214)
        room = await owner.room("Hall")
        alerts = alerts_of(home)
        await eventually(lambda: all(alerts.heard(thing_id) for thing_id in range(1, 7)))
        now = time.time_ns() // 1_000_000
        await alerts.tick(now + 12 * 3_600_000)
        told = await owner.until(room, is_alert)
        assert told["sender"] == BOT, "a device that is silent says nothing"
        assert told["content"]["body"] == "🔕 No word from 6 devices: " + ", ".join(t.name for t in things) + "."
        assert told["content"]["m.mentions"] == {"user_ids": [owner.user_id]}
        silent = await owner.until(room, lambda e: presence(e) == "silent")
        assert silent["state_key"] == things[0].hex
        await home.reading(things[0], 214)
        back = await owner.until(room, is_alert)
        assert back["content"]["body"].startswith("✅ Sensor 1 is back after")
        await alerts.tick(now + 1000)
        await owner.until(room, lambda e: presence(e) == "online")


async def test_quiet_hours_hold_back_and_tell_afterwards(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        await owner.ask(room, "!alert when temperature above 30")
        hour = time.localtime().tm_hour
        assert "wait from" in await owner.ask(room, "!quiet 0:00 to 23:59")
        assert hour < 23 or time.localtime().tm_min < 58, "one minute of the day is not covered"
        await home.reading(kitchen, 310)
        await home.reading(kitchen, 250)
        await owner.silent(room, 1.5)
        assert not [event for where, event in owner.seen if where == room and is_alert(event)]
        await owner.ask(room, "!quiet off")
        told = await owner.until(room, is_alert)
        lines = told["content"]["body"].splitlines()
        assert lines[0] == "While it was quiet:" and len(lines) == 3
        assert "above 30 °C" in lines[1] and "✅" in lines[2]
        assert told["content"]["m.mentions"] == {"user_ids": [owner.user_id]}


async def test_a_crash_neither_repeats_an_alert_nor_loses_one(tmp_path: Path) -> None:
    """The gateway is cut off at any point; it starts again on what was on disk then."""
    kitchen = Thing(1, "Kitchen")
    async with running_homeserver_for_gateway(tmp_path) as (server, config), person(server, "owner") as owner:
        async with running_gateway_here(server, config) as home:
            await home.enrol(kitchen)
            await home.reading(kitchen, 214)
            room = await owner.room("Kitchen")
            await owner.ask(room, "!alert when temperature above 30")
            before = home.gateway.core.database.read(store.progress)
        for tenths in (310, 250, 320):
            async with running_gateway_here(server, config) as home:
                await home.reading(kitchen, tenths)
                # Not a moment for the alerts: what they did not look at, they find at the next start.
        async with running_gateway_here(server, config) as home:
            await eventually(lambda: home.gateway.core.database.read(store.progress) != before)
            seen = [(await owner.until(room, is_alert))["content"]["body"] for _ in range(3)]
            await owner.silent(room)
        assert [text[0] for text in seen] == ["⚠", "✅", "⚠"]
        said = [event["content"]["body"] for where, event in owner.seen if where == room and is_alert(event)]
        assert said == seen
