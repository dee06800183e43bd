"""A bridge on mautrix-python, the framework that most bridges share: ghosts, queries, ephemeral data, encryption."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nio
from tests.bridges.bridge_environment import bridges_python
from tests.bridges.person import person
from tests.bridges.processes import running, until_it_says
from tests.flows.test_matrix_nio_encryption import ENCRYPTION, Device, device, good, say
from tests.free_port import free_port
from tests.homeserver.app_service import AS_TOKEN, HS_TOKEN
from tests.homeserver.running import RunningHomeserver, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS

BOT = "@echobot:localhost"
GHOST = "@echo_alice:localhost"
PROGRAM = Path(__file__).with_name("mautrix_bot.py")


def write_settings(folder: Path, port: int, **changes: Any) -> str:
    """The registration, with the names that bridges on mautrix write. Its path."""
    registration = {
        "id": "echo",
        "url": f"http://127.0.0.1:{port}",
        "as_token": AS_TOKEN,
        "hs_token": HS_TOKEN,
        "sender_localpart": "echobot",
        "rate_limited": False,
        "namespaces": {
            "users": [{"regex": "@echo_.*:localhost", "exclusive": True}],
            "aliases": [{"regex": "#echo_.*:localhost", "exclusive": True}],
        },
        "de.sorunome.msc2409.push_ephemeral": True,
        "receive_ephemeral": True,
        **changes,
    }
    path = folder / "echo.json"
    path.write_text(json.dumps(registration))
    return str(path)


@contextlib.asynccontextmanager
async def running_bot(folder: Path, server: RunningHomeserver, *, encrypted: bool = False) -> AsyncIterator[None]:
    settings = json.loads((folder / "echo.json").read_text())
    port = int(settings["url"].rpartition(":")[2])
    settings |= {"homeserver": server.base_url, "domain": "localhost", "port": port, "encrypted": encrypted}
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    async with running(folder / "bot.log", str(bridges_python()), str(PROGRAM), str(path)) as process:
        await until_it_says(process, folder / "bot.log", "pinged in")
        yield


async def test_ghosts_answer_and_what_others_do_is_seen(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", appservice_files=(write_settings(tmp_path, free_port()),))
    async with running_homeserver(config) as server, running_bot(tmp_path, server), person(server, "alice") as alice:
        created = await alice.client.post("v3/createRoom", {"invite": [BOT], "preset": "private_chat"})
        room_id = created.ok()["room_id"]
        await alice.joined_by(room_id, BOT)

        asked = await alice.say(room_id, "echo hello there")
        said = await alice.told(room_id, "hello there", GHOST)
        member = await alice.joined_by(room_id, GHOST)
        assert member["content"]["displayname"] == "alice (echo)"
        question = next(event for _, event in alice.seen if event["event_id"] == asked)
        assert said["origin_server_ts"] == question["origin_server_ts"] - 1000
        receipt = await alice.until(
            lambda: [event for _, event in alice.ephemeral if asked in event["content"]], "a receipt of the ghost"
        )
        assert GHOST in receipt[-1]["content"][asked]["m.read"]

        await alice.say(room_id, "members ?")
        await alice.told(room_id, f"{alice.client.user_id} {GHOST} {BOT}", BOT)

        await alice.say(room_id, "watch")
        await alice.told(room_id, "watching", BOT)
        typing = f"v3/rooms/{escape(room_id)}/typing/{escape(alice.client.user_id)}"
        (await alice.client.put(typing, {"typing": True, "timeout": 30_000})).ok()
        await alice.told(room_id, f"typing in {room_id}: {alice.client.user_id}", BOT)
        (await alice.client.put(typing, {"typing": False})).ok()
        (await alice.client.post(f"v3/rooms/{escape(room_id)}/receipt/m.read/{escape(said['event_id'])}", {})).ok()
        await alice.told(room_id, f"read in {room_id}: {alice.client.user_id} {said['event_id']}", BOT)
        status = f"v3/presence/{escape(alice.client.user_id)}/status"
        (await alice.client.put(status, {"presence": "unavailable", "status_msg": "making tea"})).ok()
        await alice.told(room_id, f"presence: {alice.client.user_id} unavailable making tea", BOT)

        joined = (await alice.client.post(f"v3/join/{escape('#echo_room_1:localhost')}")).status
        assert joined == 403, "the bot made the room when it was asked for; it is private"
        assert (await alice.client.post(f"v3/join/{escape('#echo_other:localhost')}")).status == 404
        invite = f"v3/rooms/{escape(room_id)}/invite"
        (await alice.client.post(invite, {"user_id": "@echo_known_bob:localhost"})).ok()
        assert server.services.accounts.exists("@echo_known_bob:localhost")


async def test_an_encrypted_room_with_a_bridge_that_never_logs_in(tmp_path: Path) -> None:
    flags = {"org.matrix.msc3202": True, "io.element.msc4190": True}
    config = make_config(tmp_path / "data", appservice_files=(write_settings(tmp_path, free_port(), **flags),))
    async with (
        running_homeserver(config) as server,
        running_bot(tmp_path, server, encrypted=True),
        device(server, "alice", tmp_path / "phone") as alice,
    ):
        created = await alice.client.room_create(initial_state=[ENCRYPTION], invite=[BOT])
        room_id = good(created, nio.RoomCreateResponse).room_id
        await eventually(alice, lambda: BOT in users_of(alice, room_id) and alice.client.device_store[BOT])
        trust_all(alice, BOT)
        await say(alice, room_id, "the key is under the mat")
        await eventually(alice, lambda: "I read: the key is under the mat" in alice.read)
        await say(alice, room_id, "and the cat is in")
        await eventually(alice, lambda: "I read: and the cat is in" in alice.read)
        assert alice.unreadable == []

        # A further device of hers: the bridge is told that her devices changed, and encrypts for that one too.
        async with device(server, "alice", tmp_path / "tablet", is_new=False) as tablet:
            await eventually(alice, lambda: alice.device_of(tablet), tablet)
            alice.client.verify_device(alice.device_of(tablet))
            await eventually(tablet, lambda: room_id in tablet.client.rooms)
            await say(alice, room_id, "read this anywhere")
            await eventually(tablet, lambda: "I read: read this anywhere" in tablet.read, alice)
        # What was handed to the bridge does not stay in its device's queue.
        left = server.services.database.read(
            lambda connection: connection.execute(
                "SELECT COUNT(*) FROM to_device_messages WHERE user_id = ?", (BOT,)
            ).fetchone()[0]
        )
        assert left == 0
        login = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": "echobot"}}
        (await server.client(AS_TOKEN).post("v3/login", login)).is_error(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")


async def eventually(device: Device, done: Callable[[], Any], *others: Device) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():
            for each in (device, *others):
                await each.step()
            await asyncio.sleep(0.05)


def users_of(device: Device, room_id: str) -> Any:
    room = device.client.rooms.get(room_id)
    return () if room is None else [user for user in room.users if user not in room.invited_users]


def trust_all(device: Device, user_id: str) -> None:
    for known in device.client.device_store[user_id].values():
        device.client.verify_device(known)
