"""The bot under trouble: backlogs, edits, encryption, floods, odd transactions, strangers, crashes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import nio
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.bot_home import (
    BOT,
    bot_home,
    person,
    running_gateway_here,
    running_homeserver_for_gateway,
)
from tests.gateway.fake_homeserver import HS_TOKEN
from tests.gateway.gateway_support import Thing

from thingroom_gateway.bot.inbox import pick
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.storage import bot as store

GHOSTS = "@thing_"


async def push(config: GatewayConfig, txn: str, body: bytes) -> int:
    """A transaction as the homeserver would send it; the status of the answer."""
    url = f"http://127.0.0.1:{config.appservice.port}/_matrix/app/v1/transactions/{txn}"
    headers = {"Authorization": f"Bearer {HS_TOKEN}"}
    async with aiohttp.ClientSession() as session, session.put(url, data=body, headers=headers) as response:
        return response.status


def message(room: str, sender: str, body: str, event_id: str, ts: int | None = None, **content: Any) -> dict[str, Any]:
    return {
        "type": "m.room.message",
        "room_id": room,
        "sender": sender,
        "event_id": event_id,
        "origin_server_ts": time.time_ns() // 1_000_000 if ts is None else ts,
        "content": {"msgtype": "m.text", "body": body, **content},
    }


async def test_what_was_said_during_an_outage_is_not_done_and_said_so_once(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        old = time.time_ns() // 1_000_000 - 40 * 60_000
        events = [message(room, owner.user_id, f"!rename kitchen to Wrong {n}", f"$old{n}", old + n) for n in range(3)]
        events.append(message(room, owner.user_id, "just talking", "$old9", old))
        assert await push(home.config, "a1", json.dumps({"events": events}).encode()) == 200
        told = (await owner.answer(room))["body"]
        assert told == (
            "“rename kitchen to Wrong 2” was 40 min ago, and 2 before it. I was away and did not do it."
            " Say it again if it still matters."
        )
        await owner.silent(room)
        assert next(iter(home.gateway.core.registry)).row.name == "Kitchen"


async def test_each_event_is_answered_once_whatever_the_homeserver_repeats(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        body = json.dumps({"events": [message(room, owner.user_id, "!temperature", "$once")]}).encode()
        for txn in ("b1", "b1", "b2"):
            assert await push(home.config, txn, body) == 200
        assert (await owner.answer(room))["body"] == "Kitchen: 21.4 °C"
        await owner.silent(room)
        ghost = f"@thing_{kitchen.hex}:localhost"
        own = [message(room, who, "!temperature", f"$own{n}") for n, who in enumerate((BOT, ghost))]
        own.append(message(room, owner.user_id, "!temperature", "$notice", msgtype="m.notice"))
        await push(home.config, "b3", json.dumps({"events": own}).encode())
        await owner.silent(room)


async def test_an_edit_of_what_was_not_understood_is_a_new_try(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")

        async def edit(event_id: str, text: str) -> None:
            new = {"msgtype": "m.text", "body": text}
            relation = {"rel_type": "m.replace", "event_id": event_id}
            await owner.say(room, f"* {text}", **{"m.new_content": new, "m.relates_to": relation})

        said = await owner.say(room, "!rename kitchen")
        assert "its new name" in (await owner.answer(room))["body"]
        await edit(said, "!rename kitchen to Pantry")
        assert (await owner.answer(room))["body"] == "Kitchen is Pantry now."
        await edit(said, "!rename pantry to Larder")
        await owner.silent(room)


async def test_in_an_encrypted_room_it_says_once_that_it_cannot_read(tmp_path: Path) -> None:
    async with bot_home(tmp_path) as home, person(home.homeserver, "owner") as owner:
        chat = await owner.chat()
        encrypted = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AAAA", "session_id": "x", "device_id": "D"}
        for _ in range(2):
            sent = await owner.client.room_send(chat, "m.room.encrypted", encrypted)
            assert isinstance(sent, nio.RoomSendResponse)
        assert "I cannot read encrypted messages" in (await owner.answer(chat))["body"]
        await owner.silent(chat)


async def test_a_flood_is_slowed_down_and_others_are_served(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with (
        bot_home(tmp_path, kitchen) as home,
        person(home.homeserver, "owner") as owner,
        person(home.homeserver, "guest") as guest,
    ):
        await home.reading(kitchen, 214)
        room = await owner.room("Kitchen")
        await owner.client.room_invite(room, guest.user_id)
        await guest.room("Kitchen")
        chat = await guest.chat()
        events = [message(room, guest.user_id, "!temperature", f"$flood{n}") for n in range(500)]
        assert await push(home.config, "f1", json.dumps({"events": events}).encode()) == 200
        await owner.say(room, "!help")
        bodies: list[str] = []
        while not any("at once" in body for body in bodies) or not any("You can say" in body for body in bodies):
            bodies.append((await owner.answer(room))["body"])
        assert len(bodies) < 30
        await owner.silent(room)
        assert "at once" not in await owner.ask(room, "!temperature")
        assert chat


async def test_huge_and_odd_messages(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        chat = await owner.chat()
        assert "more than I can take in" in await owner.ask(chat, "temperature " * 4000)
        assert await push(home.config, "o1", b"\xff not JSON") == 200
        assert await push(home.config, "o2", b"[" * 100_000) == 200
        odd: list[Any] = [
            None,
            7,
            {},
            {"type": "m.room.message"},
            {**message(chat, owner.user_id, "help", "$e1"), "content": {"msgtype": "m.text", "body": 7}},
            {**message(chat, owner.user_id, "help", "$e2"), "event_id": ["$"]},
            {**message(chat, owner.user_id, "help", "$e3"), "origin_server_ts": "now"},
            {**message(chat, owner.user_id, "help", "$e4"), "content": []},
            message(chat, owner.user_id, "help", "$" + "x" * 70_000),
            message("!elsewhere:localhost", owner.user_id, "help", "$e5"),
        ]
        assert await push(home.config, "o3", json.dumps({"events": odd}).encode()) == 200
        assert await owner.ask(chat, "temperature") == "Kitchen: 21.4 °C"


async def test_nobody_reads_in_a_third_room_what_is_not_theirs(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with bot_home(tmp_path, kitchen) as home, person(home.homeserver, "owner") as owner:
        await home.reading(kitchen, 214)
        await owner.room("Kitchen")
        made = await owner.client.room_create(name="Party", preset=nio.RoomPreset.public_chat)
        async with person(home.homeserver, "guest") as guest:
            await guest.client.join(made.room_id)
            await owner.client.room_invite(made.room_id, BOT)
            assert "in direct chats" in (await owner.answer(made.room_id))["body"]
            assert "21.4" not in await owner.ask(made.room_id, "!temperature")


async def test_what_was_taken_in_is_answered_after_a_restart(tmp_path: Path) -> None:
    """The homeserver was told 200; whatever happens then, the answer comes, and once."""
    kitchen = Thing(1, "Kitchen")
    async with running_homeserver_for_gateway(tmp_path) as (server, config), person(server, "owner") as owner:
        async with running_gateway_here(server, config) as home:
            await home.enrol(kitchen)
            await home.reading(kitchen, 214)
            room = await owner.room("Kitchen")
            for task in asyncio.all_tasks():
                if task.get_name() == "bot":
                    task.cancel()
            await asyncio.sleep(0.1)
            await owner.say(room, "!temperature")
            while not home.gateway.core.database.read(store.rooms_waiting):
                await asyncio.sleep(0.05)
            await owner.silent(room, 0.5)
        async with running_gateway_here(server, config) as home:
            assert (await owner.answer(room))["body"] == "Kitchen: 21.4 °C"
            await owner.silent(room)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["m.room.message", "m.reaction", "m.room.member", "m.room.encrypted"]) | json_values,
        "event_id": st.just("$a") | json_values,
        "room_id": st.just("!a:b") | json_values,
        "sender": st.sampled_from(["@a:b", BOT, "@thing_x:b"]) | json_values,
        "state_key": st.just(BOT) | json_values,
        "origin_server_ts": st.integers() | json_values,
        "content": st.fixed_dictionaries(
            {},
            optional={
                "msgtype": st.just("m.text") | json_values,
                "body": st.text() | json_values,
                "membership": st.sampled_from(["invite", "leave"]) | json_values,
                "m.mentions": json_values | st.just({"user_ids": [BOT]}),
                "m.new_content": json_values,
                "m.relates_to": st.fixed_dictionaries(
                    {},
                    optional={
                        "rel_type": st.sampled_from(["m.replace", "m.annotation", "m.thread"]) | json_values,
                        "event_id": st.just("$b") | json_values,
                        "key": st.text() | json_values,
                        "m.in_reply_to": json_values,
                    },
                )
                | json_values,
            },
        )
        | json_values,
    },
)


@given(st.fixed_dictionaries({"events": st.lists(fields | json_values, max_size=5)}) | json_values)
def test_no_transaction_hurts(body: Any) -> None:
    picked = pick(body, BOT, GHOSTS)
    for heard in picked.heard:
        assert heard.sender != BOT and not heard.sender.startswith(GHOSTS)
        assert len(json.dumps(heard.event)) < 40_000
