"""What application services are told beside events: receipts, typing, presence, and what encrypted bridges need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.app_service import AppServiceProcess, as_client, make_ghost, write_registration
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.appservice_api import extras
from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.storage.appservices import SavedStream, load_stream
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.storage.schema_appservice import APPSERVICE_MIGRATIONS

ENCRYPTING = {"org.matrix.msc3202": True, "io.element.msc4190": True}
TO_DEVICE = "de.sorunome.msc2409.to_device"


@pytest.fixture
async def process() -> AsyncIterator[AppServiceProcess]:
    running = AppServiceProcess()
    async with running.up():
        yield running


def config_for(process: AppServiceProcess, folder: Path, **changes: Any) -> HomeserverConfig:
    return make_config(folder / "data", appservice_files=(write_registration(folder, process.url, **changes),))


async def say(client: MatrixClient, room_id: str, text: str, **query: Any) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{escape(text)}"
    return (await client.put(path, {"msgtype": "m.text", "body": text}, **query)).ok()["event_id"]


async def room_with_ghost(server: RunningHomeserver, owner: MatrixClient) -> tuple[str, str]:
    bridge = as_client(server)
    ghost = await make_ghost(bridge, "thing_a")
    room_id = (await owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bridge.post(f"v3/join/{escape(room_id)}", {}, user_id=ghost)).ok()
    return room_id, ghost


async def read(client: MatrixClient, room_id: str, event_id: str, kind: str = "m.read", **query: Any) -> None:
    (await client.post(f"v3/rooms/{escape(room_id)}/receipt/{kind}/{escape(event_id)}", {}, **query)).ok()


async def set_typing(client: MatrixClient, room_id: str, typing: bool) -> None:
    path = f"v3/rooms/{escape(room_id)}/typing/{escape(client.user_id)}"
    (await client.put(path, {"typing": typing, "timeout": 60_000})).ok()


async def test_receipts_typing_and_presence(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path, receive_ephemeral=True)) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        bridge = as_client(server)
        room_id, ghost = await room_with_ghost(server, alice)
        elsewhere = (await alice.post("v3/createRoom", {})).ok()["room_id"]
        hidden, event_id = await say(alice, elsewhere, "not for it"), await say(alice, room_id, "one")
        await read(alice, elsewhere, hidden)
        await set_typing(alice, elsewhere, True)
        (await bob.put(f"v3/presence/{escape(bob.user_id)}/status", {"presence": "online"})).ok()

        await read(alice, room_id, event_id, "m.read.private")
        await read(bridge, room_id, event_id, "m.read.private", user_id=ghost)
        await read(alice, room_id, event_id)
        await set_typing(alice, room_id, True)
        (await alice.put(f"v3/presence/{escape(alice.user_id)}/status", {"presence": "unavailable"})).ok()
        await process.until(lambda: any(each["type"] == "m.presence" for each in process.told("ephemeral")))
        await set_typing(alice, room_id, False)
        await process.until(lambda: {"user_ids": []} in [each["content"] for each in process.told("ephemeral")])
        told = process.told("ephemeral")
        assert {each.get("room_id") for each in told} == {room_id, None}
        receipts = [each["content"][event_id] for each in told if each["type"] == "m.receipt"]
        readers = {(kind, user) for receipt in receipts for kind, users in receipt.items() for user in users}
        assert readers == {("m.read", alice.user_id), ("m.read.private", ghost)}
        typing = [each["content"]["user_ids"] for each in told if each["type"] == "m.typing"]
        assert typing == [[alice.user_id], []]
        (presence,) = (each for each in told if each["type"] == "m.presence")
        assert presence["sender"] == alice.user_id
        assert presence["content"]["presence"] == "unavailable" and "room_id" not in presence
        assert process.told("de.sorunome.msc2409.ephemeral") == []


async def test_nothing_of_it_without_being_asked_for(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path)) as server:
        alice = await server.register("alice")
        room_id, _ = await room_with_ghost(server, alice)
        await read(alice, room_id, await say(alice, room_id, "one"))
        await set_typing(alice, room_id, True)
        await say(alice, room_id, "two")
        await process.until(lambda: process.bodies() == ["one", "two"])
        assert all(set(body) == {"events"} for body in process.transactions.values())


async def test_the_name_of_the_draft(process: AppServiceProcess, tmp_path: Path) -> None:
    flags = {"de.sorunome.msc2409.push_ephemeral": True}
    async with running_homeserver(config_for(process, tmp_path, **flags)) as server:
        alice = await server.register("alice")
        room_id, _ = await room_with_ghost(server, alice)
        await set_typing(alice, room_id, True)
        await process.until(lambda: bool(process.told("ephemeral")))
        assert process.told("de.sorunome.msc2409.ephemeral") == process.told("ephemeral")


async def test_after_a_long_absence_only_the_last_state_is_told(tmp_path: Path) -> None:
    process = AppServiceProcess()
    async with process.up():
        config = config_for(process, tmp_path, receive_ephemeral=True)
        async with running_homeserver(config) as server:
            alice = await server.register("alice")
            room_id, _ = await room_with_ghost(server, alice)
            await process.until(lambda: len(process.events()) == 1)
    async with running_homeserver(config) as server:
        alice.base_url, alice.http = server.base_url, server.http
        for number in range(30):
            await read(alice, room_id, await say(alice, room_id, f"message {number}"))
            await set_typing(alice, room_id, number % 2 == 0)
    async with process.up(), running_homeserver(config):
        await process.until(lambda: len(process.bodies()) == 30 and bool(process.told("ephemeral")))
        receipts = [each for each in process.told("ephemeral") if each["type"] == "m.receipt"]
        # One that was on its way when it was left, and the last one.
        assert 1 <= len(receipts) <= 2
        last = process.events()[-1]["event_id"]
        assert set(receipts[-1]["content"]) == {last}


async def bot_device(bridge: MatrixClient, device_id: str = "BOT") -> dict[str, str]:
    """A device of the bot with keys, made without logging in; the query to act as it."""
    made = await bridge.put(f"v3/devices/{device_id}", {"display_name": "the bot"}, user_id=bridge.user_id)
    assert made.status == 201
    query = {"user_id": bridge.user_id, "org.matrix.msc3202.device_id": device_id}
    one_time = {f"signed_curve25519:K{number}": {"key": f"key {number}", "signatures": {}} for number in range(3)}
    keys = {"device_keys": device_keys(bridge.user_id, device_id), "one_time_keys": one_time}
    assert (await bridge.post("v3/keys/upload", keys, **query)).ok()["one_time_key_counts"]["signed_curve25519"] == 3
    return query


async def send(client: MatrixClient, number: str, user_id: str, device_id: str, text: str = "x") -> None:
    body = {"messages": {user_id: {device_id: {"number": text}}}}
    (await client.put(f"v3/sendToDevice/org.test/{number}", body)).ok()


def numbers(process: AppServiceProcess) -> list[str]:
    return [message["content"]["number"] for message in process.told(TO_DEVICE)]


async def test_messages_to_its_devices_with_key_counts(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path, **ENCRYPTING)) as server:
        alice, bridge = await server.register("alice"), as_client(server)
        query = await bot_device(bridge)
        assert (await bridge.get("v3/account/whoami", **query)).ok()["device_id"] == "BOT"
        claimed = await alice.post("v3/keys/claim", {"one_time_keys": {bridge.user_id: {"BOT": "signed_curve25519"}}})
        assert bridge.user_id in claimed.ok()["one_time_keys"]
        await send(alice, "1", bridge.user_id, "BOT", "one")
        await send(alice, "2", bridge.user_id, "*", "two")
        await send(alice, "3", alice.user_id, alice.device_id, "not for it")
        await process.until(lambda: numbers(process) == ["one", "two"])
        first = process.told(TO_DEVICE)[0]
        assert first == {
            "type": "org.test",
            "sender": alice.user_id,
            "content": {"number": "one"},
            "to_user_id": bridge.user_id,
            "to_device_id": "BOT",
        }
        body = next(body for body in process.transactions.values() if TO_DEVICE in body)
        for name in ("device_one_time_keys_count", "device_one_time_key_counts"):
            assert body[f"org.matrix.msc3202.{name}"] == {bridge.user_id: {"BOT": {"signed_curve25519": 2}}}
        assert body["org.matrix.msc3202.device_unused_fallback_key_types"] == {bridge.user_id: {"BOT": []}}
        await send(alice, "4", bridge.user_id, "BOT", "three")
        await process.until(lambda: numbers(process) == ["one", "two", "three"])
        # They do not come a second time by /sync.
        assert (await bridge.get("v3/sync", **query)).ok()["to_device"]["events"] == []


async def test_people_in_a_namespace_that_is_not_exclusive_keep_theirs(
    process: AppServiceProcess, tmp_path: Path
) -> None:
    everybody = {"users": [{"regex": "@.*", "exclusive": False}], "aliases": [], "rooms": []}
    async with running_homeserver(config_for(process, tmp_path, namespaces=everybody, **ENCRYPTING)) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        await send(alice, "1", bob.user_id, bob.device_id, "one")
        await process.until(lambda: numbers(process) == ["one"])
        await send(alice, "2", bob.user_id, bob.device_id, "two")
        await process.until(lambda: numbers(process) == ["one", "two"])
        got = (await bob.get("v3/sync")).ok()["to_device"]["events"]
        assert [message["content"]["number"] for message in got] == ["one", "two"]


async def test_messages_survive_until_they_are_acknowledged(tmp_path: Path) -> None:
    process = AppServiceProcess()
    async with process.up():
        config = config_for(process, tmp_path, **ENCRYPTING)
        async with running_homeserver(config) as server:
            alice, bridge = await server.register("alice"), as_client(server)
            await bot_device(bridge)
            process.status = 500
            await send(alice, "1", bridge.user_id, "BOT", "one")
            await process.until(lambda: len(process.requests) > 0)
            await send(alice, "2", bridge.user_id, "BOT", "two")
        async with running_homeserver(config) as server:
            await process.until(lambda: len(process.requests) > 1)
            process.status = 200
            await process.until(lambda: numbers(process) == ["one", "two"])
    async with process.up(), running_homeserver(config) as server:
        alice.base_url, alice.http = server.base_url, server.http
        await send(alice, "3", bridge.user_id, "BOT", "three")
        await process.until(lambda: numbers(process) == ["one", "two", "three"])


async def test_many_messages_come_in_bounded_transactions_in_order(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path, **ENCRYPTING)) as server:
        alice, bridge = await server.register("alice"), as_client(server)
        await bot_device(bridge)
        process.slowness = 0.2
        wanted = [f"{number:03}" for number in range(250)]
        for number in wanted:
            await send(alice, number, bridge.user_id, "BOT", number)
        process.slowness = 0.0
        await process.until(lambda: len(numbers(process)) == 250)
        assert numbers(process) == wanted
        sizes = [len(body.get(TO_DEVICE, ())) for body in process.transactions.values()]
        assert max(sizes) <= extras.MESSAGES_A_LOOK


async def test_one_sending_is_not_divided(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path, **ENCRYPTING)) as server:
        alice, bridge = await server.register("alice"), as_client(server)
        many = extras.MESSAGES_A_LOOK + 20
        for number in range(many):
            assert (await bridge.put(f"v3/devices/D{number}", {}, user_id=bridge.user_id)).status == 201
        await send(alice, "1", bridge.user_id, "D1", "before")
        await send(alice, "2", bridge.user_id, "*", "all")
        await send(alice, "3", bridge.user_id, "D1", "after")
        await process.until(lambda: "after" in numbers(process))
        assert numbers(process) == ["before", *["all"] * many, "after"]


async def test_whose_keys_changed_and_who_left(process: AppServiceProcess, tmp_path: Path) -> None:
    async with running_homeserver(config_for(process, tmp_path, **ENCRYPTING)) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        room_id, _ = await room_with_ghost(server, alice)
        lists = "org.matrix.msc3202.device_lists"

        def told(kind: str) -> list[str]:
            return [user for body in process.transactions.values() for user in body.get(lists, {}).get(kind, ())]

        await process.until(lambda: alice.user_id in told("changed"))
        process.transactions.clear()
        await upload(bob)
        await upload(alice)
        await process.until(lambda: alice.user_id in told("changed"))
        assert bob.user_id not in told("changed"), "nobody of its users shares a room with him"
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        await process.until(lambda: bob.user_id in told("changed"))
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        await process.until(lambda: told("left") == [bob.user_id])


def device_keys(user_id: str, device_id: str) -> dict[str, Any]:
    keys = {f"{algorithm}:{device_id}": "a key" for algorithm in ("curve25519", "ed25519")}
    algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
    signatures = {user_id: {f"ed25519:{device_id}": "a signature"}}
    return {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": algorithms,
        "keys": keys,
        "signatures": signatures,
    }


async def upload(client: MatrixClient) -> None:
    (await client.post("v3/keys/upload", {"device_keys": device_keys(client.user_id, client.device_id)})).ok()


async def test_a_stream_from_before_begins_with_the_present(tmp_path: Path) -> None:
    path = tmp_path / "homeserver.db"
    before = MIGRATIONS[: MIGRATIONS.index(APPSERVICE_MIGRATIONS[0])]

    def write_old(transaction: Transaction) -> None:
        transaction.execute("UPDATE stream_position SET position = 77")
        transaction.execute("INSERT INTO appservice_streams VALUES ('gateway', x'00', 70, 5, NULL)")

    old = await Database.open(path, before)
    await old.write(write_old)
    await old.close()
    database = await Database.open(path, MIGRATIONS)
    stream = database.read(lambda connection: load_stream(connection, "gateway"))
    await database.close()
    assert stream == SavedStream(b"\0", 70, 5, None, 77)
