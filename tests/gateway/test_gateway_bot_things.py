"""Switching and setting by word: what is there, what is elsewhere, what there is instead; live messages of a room."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from tests.gateway.bot_home import bot_home, person
from tests.gateway.gateway_support import Thing

from thingroom_gateway.bot.commands.actuate import accepted, actuator_meant, nothing_called
from thingroom_gateway.bot.commands.elsewhere import named_in, said_of
from thingroom_gateway.bot.conversation import Where
from thingroom_gateway.bot.language import parse
from thingroom_gateway.bot.names import vocabulary_of
from thingroom_gateway.bot.requests import Actuate
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.profiles import load_profiles
from thingroom_gateway.storage.devices import DeviceRow

PROFILES = load_profiles()


def device(number: int, name: str, place: str, profile: str) -> Device:
    thing = Thing(number)
    row = DeviceRow(number, thing.kid, thing.public, b"", b"", name, place, profile, ACTIVE, 1)
    return Registry([row], PROFILES).by_id(number)


LAMP = device(1, "Lamp", "Living room", "switch")
HEATER = device(2, "Heater", "Living room", "thermostat")
LIGHT = device(3, "Ceiling light", "Living room", "dimmer")
KITCHEN = device(4, "Kitchen", "Kitchen", "climate")
LIVING_ROOM = [LAMP, HEATER, LIGHT]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("LAMP ON, please!", ("Lamp", "true")),
        ("turn the lamp off", ("Lamp", "false")),
        ("turn on the lamp in the living room", ("Lamp", "true")),
        ("ceiling light on", ("Ceiling light", "true")),
        ("ceiling lights 50%", ("Ceiling light", "50")),
        ("dim the ceiling light to 30 percent", ("Ceiling light", "30")),
        ("heater 21,5", ("Heater", "21.5")),
        ("heater to 19 °C", ("Heater", "19")),
        ("set heating to 21 degrees", ("Heater", "21")),
        ("heater 70 F", ("Heater", "21.0")),
        ("heater auto", ("Heater", "auto")),
        ("Heater aus", ("Heater", "off")),
        ("lamp an", ("Lamp", "true")),
        ("heater 100", "None of them can be set to 100: Heater Target (5 to 30 °C, in steps of 0.5), Heater Mode "
         "(off, heat, auto)."),
        ("on", ""),
    ],
)  # fmt: skip
def test_what_is_meant(said: str, meant: tuple[str, str] | str) -> None:
    request = parse(said, vocabulary_of(LIVING_ROOM))
    if not meant:
        assert not isinstance(request, Actuate)
        return
    assert isinstance(request, Actuate) and not request.unknown, request
    found = actuator_meant(request, Where("!room", "$event", "@owner:home", "Living room", LIVING_ROOM))
    if isinstance(found, str):
        assert found == meant
        return
    value = accepted(found[1], request.value)
    if found[1].name == "mode" and request.value == "off":
        value = "off"
    assert (found[0].row.name, value) == meant


def test_a_number_of_another_unit_is_rounded_to_what_the_actuator_takes() -> None:
    target = HEATER.profile.actuators["target"]
    assert accepted(target, "70 F") == "21.0" and accepted(target, "200 F") is None
    assert accepted(target, "21 apples") is None and accepted(target, "x F") is None
    assert (target.step or Decimal(1)) == Decimal("0.5")


def test_what_there_is_where_something_is_not() -> None:
    assert nothing_called("boiler", [LAMP]) == "There is no boiler here. You can switch or set: Lamp (on or off)."
    assert nothing_called("lamp", [KITCHEN]) == (
        "There is no lamp here, and nothing else to switch or set: Kitchen only measures."
    )
    assert nothing_called("lamp", []) == "There is no lamp here, and nothing else to switch or set."
    assert nothing_called("everything", LIVING_ROOM).startswith("One at a time, please. You can switch or set: Lamp")
    assert [one.row.name for one in named_in("lamp on!", LIVING_ROOM)] == ["Lamp"]
    assert len(named_in("what of the living room?", LIVING_ROOM)) == 3
    assert named_in("toaster on", LIVING_ROOM) == [] and said_of([]) == ""
    text = "Lamp (in Living room) is elsewhere: say it in the room Living room, or in a chat with me."
    assert said_of([LAMP]) == text


async def test_in_rooms_and_in_a_chat(tmp_path: Path) -> None:
    kitchen, lamp = Thing(1, "Kitchen"), Thing(2, "Lamp", profile="switch")
    async with bot_home(tmp_path) as home, person(home.homeserver, "owner") as owner:
        await home.enrol(kitchen)
        await home.enrol(lamp, "Hall")
        room, hall = await owner.room("Kitchen"), await owner.room("Hall")
        assert await owner.ask(room, "!lamp on") == (
            "Lamp (in Hall) is elsewhere: say it in the room Hall, or in a chat with me."
        )
        assert await owner.ask(room, "!toaster on") == (
            "There is no toaster here, and nothing else to switch or set: Kitchen only measures."
        )
        assert (
            await owner.ask(hall, "!toaster on") == "There is no toaster here. You can switch or set: Lamp (on or off)."
        )
        assert await owner.ask(hall, "!Lamp ON please") == "Lamp: Switch on, on its way."
        assert (await owner.ask(room, "!live on")).startswith("Kitchen: one message per device from now on")
        assert await owner.ask(room, "!live") == "One message that changes: Kitchen."
        await home.reading(kitchen, 300)
        live = await owner.until(room, lambda e: e["content"].get("body", "").startswith("Kitchen 30.0 °C, 45 % ("))
        assert live["sender"] == f"@thing_{kitchen.hex}:localhost"
        chat = await owner.chat()
        assert await owner.ask(chat, "alert when kitchen temperature above 31") == (
            "I will tell you in the room Kitchen. Kitchen: Temperature above 31 °C (over when it is back at 30.7 °C)."
        )
        assert (await owner.ask(chat, "quiet kitchen 22:00 to 7:00")).startswith("Alerts of the room Kitchen wait from")
        assert await owner.ask(chat, "stop quiet hours") == (
            "Quiet hours belong to a room: name one, or say it in the room whose alerts should wait."
        )
        assert (await owner.ask(chat, "temperature of the last hour")).startswith("Kitchen\n")
        assert await owner.ask(chat, "live on") == (
            "Say it in a device's room, or name a device or a place: `live kitchen on`."
        )
