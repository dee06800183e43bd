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


async def test_who_may_and_who_is_refused(tmp_path: Path) -> None:
    kitchen, cellar = Thing(1, "Kitchen"), Thing(2, "Cellar", profile="soil")
    async with (
        bot_home(tmp_path, kitchen, cellar) as home,
        person(home.homeserver, "owner") as owner,
        person(home.homeserver, "guest") as guest,
    ):
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        await owner.room("Cellar")
        await owner.client.room_invite(room, guest.user_id)
        assert await guest.room("Kitchen") == room
        # A member reads, and changes nothing.
        assert await guest.ask(room, "!kitchen") == "Kitchen: 21.4 °C, 45 %"
        assert (
            await guest.ask(room, "!alert when temperature above 30")
            == "Sorry, that is for those who may change this room."
        )
        assert await guest.ask(room, "!rename kitchen to Mine") == "Sorry, that is for those who may change this room."
        assert await guest.ask(room, "!quiet 22-7") == "Sorry, that is for those who may change this room."
        assert await guest.ask(room, "!pair") == "Sorry, that is for the owner."
        assert await guest.ask(room, "!revoke kitchen") == "Sorry, that is for the owner."
        # What is in other rooms is not theirs to know.
        assert "I did not understand" in await guest.ask(room, "!cellar")
        chat = await guest.chat()
        assert await guest.ask(chat, "devices") != ""
        assert "Cellar" not in await guest.ask(chat, "status")
        # Nobody but the gateway says what a device is.
        forged = {"key": "AAAA", "profile": "climate", "name": "Mine", "status": "active"}
        refused = await owner.client.room_put_state(room, "org.thingroom.device", forged, kitchen.hex)
        assert refused.status_code == "M_FORBIDDEN"  # type: ignore[union-attr]
        # With the power to change the room comes the power to change what is in it.
        levels = await owner.client.room_get_state_event(room, "m.room.power_levels")
        content = {**levels.content, "users": {**levels.content["users"], guest.user_id: 50}}  # type: ignore[union-attr]
        await owner.client.room_put_state(room, "m.room.power_levels", content)
        assert (await guest.ask(room, "!alert when temperature above 30")).startswith(
            "I will tell you here. Kitchen: Temp"
        )
        assert await guest.ask(room, "!revoke kitchen") == "Sorry, that is for the owner."


async def test_managing_devices(tmp_path: Path) -> None:
    kitchen, spare = Thing(1, "Kitchen"), Thing(2, "Kitchen 2")
    async with bot_home(tmp_path, kitchen, spare) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        assert await owner.ask(room, "!rename kitchen to Pantry") == "Kitchen is Pantry now."
        ghost = f"@thing_{kitchen.hex}:localhost"
        await owner.until(room, lambda e: e["type"] == "m.room.member" and e["content"].get("displayname") == "Pantry")
        state = await owner.until(
            room, lambda e: e["type"] == "org.thingroom.device" and e["content"]["name"] == "Pantry"
        )
        assert state["state_key"] == kitchen.hex

        assert (await owner.ask(room, "!move pantry to Attic")).startswith(
            "Pantry moves from Kitchen to Attic (a new room)"
        )
        attic = await owner.room("Attic")
        left = await owner.until(room, lambda e: e["type"] == "m.room.member" and e["content"]["membership"] == "leave")
        assert left["state_key"] == ghost
        moved = [e for r, e in owner.seen if r == room and e["type"] == "org.thingroom.device"][-1]
        assert moved["content"]["status"] == "moved"
        await home.reading(kitchen, 300)
        readings = await owner.until(attic, lambda e: e["type"] == "org.thingroom.readings")
        assert readings["sender"] == ghost
        assert await owner.ask(attic, "!pantry") == "Pantry: 30.0 °C, 45 %"

        chat = await owner.chat()
        asked = await owner.say(chat, "replace pantry with kitchen 2")
        assert asked
        question = await owner.until(chat, lambda e: e["sender"] == BOT and e["type"] == "m.room.message")
        assert "👍 or `yes` within five minutes" in question["content"]["body"]
        button = await owner.until(chat, lambda e: e["type"] == "m.reaction")
        assert button["content"]["m.relates_to"] == {
            "rel_type": "m.annotation", "event_id": question["event_id"], "key": "👍",
        }  # fmt: skip
        await owner.react(chat, question["event_id"], "👍")
        assert (await owner.answer(chat))["body"] == "Pantry has a new key now; the old one counts no more."
        rows = {device.kid_hex: device.row for device in home.gateway.core.registry}
        assert (rows[kitchen.hex].status, rows[spare.hex].name, rows[spare.hex].place) == ("revoked", "Pantry", "Attic")
        state = await owner.until(attic, lambda e: e["type"] == "org.thingroom.device" and e["state_key"] == spare.hex)
        assert state["content"]["replaces"] == kitchen.hex

        assert "👍 or `yes`" in await owner.ask(chat, "revoke pantry")
        assert await owner.ask(chat, "no") == "All right, I leave it."
        assert rows[spare.hex].status == "active"
        await owner.ask(chat, "revoke pantry")
        assert (await owner.ask(chat, "yes")).startswith("Pantry is revoked")
        assert all(device.row.status == "revoked" for device in home.gateway.core.registry)
        assert await owner.ask(chat, "yes") == "There is nothing to say yes or no to."


async def test_the_pairing_code_is_told_in_a_direct_chat_only_and_taken_back(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        assert await owner.ask(room, "!pair") == "Pairing is open. You have the code in our direct chat."
        window = home.gateway.core.pairing.current()
        assert window is not None
        chat = await owner.room("Thingroom")
        text = await owner.until(chat, lambda e: e["type"] == "m.room.message")
        picture = await owner.until(chat, lambda e: e["type"] == "m.room.message")
        assert window.code in text["content"]["body"]
        assert picture["content"]["msgtype"] == "m.image"
        assert not any(window.code in str(event) for r, event in owner.seen if r == room)
        new = Thing(7, "Greenhouse")
        await home.door.send(new.pairing_hello(window.code), "hello")
        assert "Greenhouse (Temperature and humidity) is paired" in (await owner.answer(chat))["body"]
        assert await owner.ask(chat, "pairing off") == "Pairing is closed."
        redacted = set()
        while len(redacted) < 2:
            event = await owner.until(chat, lambda e: e["type"] == "m.room.redaction")
            redacted.add(event.get("redacts") or event["content"]["redacts"])
        assert redacted == {text["event_id"], picture["event_id"]}
