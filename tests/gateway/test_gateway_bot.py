"""The bot, in rooms of our homeserver, with matrix-nio as the people."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.bot_home import BOT, bot_home, person
from tests.gateway.gateway_support import Thing


async def test_asking_in_the_room_and_in_a_chat(tmp_path: Path) -> None:
    kitchen, cellar = Thing(1, "Kitchen"), Thing(2, "Cellar", profile="soil")
    async with bot_home(tmp_path, kitchen, cellar) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        await home.reading(cellar, 370)
        room = await owner.room("Kitchen")
        assert "`chart temperature 24h`" in await owner.ask(room, "!help")
        assert await owner.ask(room, "kitchen?") == "Kitchen: 21.4 °C, 45 %"
        assert await owner.ask(room, "!temperature") == "Kitchen: 21.4 °C"
        assert await owner.ask(room, "Thingroom: how humid is it?") == "Kitchen: 45 %"
        assert "Did you mean `temperature`?" in await owner.ask(room, "!tempratur")
        assert await owner.ask(room, "!yes") == "Kitchen: 21.4 °C"
        await owner.say(room, "the kitchen is a mess")
        await owner.say(room, "chart temperature 24h")
        await owner.silent(room)

        chat = await owner.chat()
        assert await owner.ask(chat, "status") == "Kitchen: 21.4 °C, 45 %\nCellar: 37 %"
        assert (await owner.ask(chat, "devices")).startswith("Kitchen: Temperature and humidity, online, heard ")
        await owner.say(chat, "chart kitchen temperature 1h")
        picture = await owner.answer(chat)
        assert (picture["msgtype"], picture["info"]["mimetype"]) == ("m.image", "image/png")
        assert picture["body"].startswith("Kitchen: Temperature, 1 h. Temperature: 21.4 to 21.4 °C")
        downloaded = await owner.client.download(picture["url"])
        assert downloaded.body.startswith(b"\x89PNG")
        await owner.say(chat, "export kitchen 1h")
        file = await owner.answer(chat)
        assert (file["msgtype"], file["filename"]) == ("m.file", "Kitchen.csv")
        csv = (await owner.client.download(file["url"])).body.decode()
        assert csv.splitlines()[1].split(",")[1:4] == ["Kitchen", "temperature", "Cel"]
        assert "21.4" in await owner.ask(chat, "history kitchen temperature 1h")
        assert await owner.ask(chat, "kitchen on") == "Kitchen only measures: there is nothing to switch or set."
        assert BOT in owner.client.rooms[chat].users
