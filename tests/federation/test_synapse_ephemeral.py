"""With a real Synapse: events, typing, receipts, presence, messages to devices, profiles, device lists, keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import nio
from tests.federation.peers import (
    Authority,
    Peer,
    running_peer,
    running_synapse_peer,
    synapse_client,
    synapse_place,
)
from tests.federation.shared_room import Syncing, history, say, shared_room, until
from tests.flows.test_matrix_nio_encryption import ENCRYPTION, Device, good, verify
from tests.flows.test_matrix_nio_encryption import say as say_in_secret
from tests.homeserver.encryption.key_support import Identity, Key, publish_device, query
from tests.homeserver.running import PASSWORD, MatrixClient, escape
from tests.patience import PATIENCE_SECONDS
from tests.synapse_peer.server import Synapse


@dataclass
class Two:
    """One of our servers and a Synapse, with a client on each."""

    peer: Peer
    synapse: Synapse
    alice: MatrixClient
    sam: MatrixClient


@contextlib.asynccontextmanager
async def both(directory: Path, authority: Authority) -> AsyncIterator[Two]:
    async with (
        running_synapse_peer(directory / "synapse", authority) as synapse,
        running_peer(directory / "ours", authority) as peer,
        aiohttp.ClientSession() as http,
    ):
        alice = await peer.register("alice")
        alice.sends_odd_events = True  # Synapse puts null where nothing should be
        yield Two(peer, synapse, alice, await synapse_client(http, synapse, "sam"))


async def test_what_passes_between_us_and_synapse(tmp_path: Path, authority: Authority):
    async with both(tmp_path, authority) as two:
        alice, sam = two.alice, two.sam
        room_id = await shared_room(alice, two.peer.server_name, sam, version="11")
        ours, theirs = Syncing(alice), Syncing(sam)
        event_id = await say(alice, room_id, "hello-synapse")
        await theirs.until(lambda: "hello-synapse" in theirs.bodies())
        reply = await say(sam, room_id, "hello-thingroom")
        await ours.until(lambda: "hello-thingroom" in ours.bodies())
        await _typing_and_receipts(alice, theirs, room_id, reply)
        await _typing_and_receipts(sam, ours, room_id, event_id)
        made_there = await shared_room(sam, two.synapse.settings.server_name, alice, version="12")
        event_id, reply = await say(alice, made_there, "hello-again"), await say(sam, made_there, "so-you-came")
        await theirs.until(lambda: "hello-again" in theirs.bodies())
        await ours.until(lambda: "so-you-came" in ours.bodies())
        await _typing_and_receipts(alice, theirs, made_there, reply)
        await _typing_and_receipts(sam, ours, made_there, event_id)
        await _presence(alice, theirs)
        await _presence(sam, ours)
        await _messages_to_devices(alice, theirs)
        await _messages_to_devices(sam, ours)
        await _profiles(alice, sam)
        await _profiles(sam, alice)
        await _device_lists(alice, theirs)
        await _device_lists(sam, ours)


async def test_synapse_has_everything_after_it_was_away(tmp_path: Path, authority: Authority):
    """Little is missed: it is all sent. Much is missed: the newest is sent, and Synapse asks for the rest."""
    place = synapse_place(tmp_path / "synapse", authority)
    async with running_peer(tmp_path / "ours", authority) as peer, aiohttp.ClientSession() as http:
        alice = await peer.register("alice")
        alice.sends_odd_events = True
        synapse = await place.start()
        try:
            sam = await synapse_client(http, synapse, "sam")
            room_id = await shared_room(alice, peer.server_name, sam, version="11")
            said: list[str] = []
            for count in (60, 600):
                await synapse.stop()
                for _ in range(count):
                    said.append(f"number-{len(said)}")
                    await say(alice, room_id, said[-1])
                synapse = await place.start()
                sam.base_url = synapse.base_url
                await until(partial(_reads, sam, room_id, said))
        finally:
            await synapse.stop()


async def _reads(client: MatrixClient, room_id: str, said: list[str]) -> bool:
    """Whether the client reads these messages, all of them and in that order."""
    events = await history(client, room_id)
    return [event["content"].get("body") for event in events if event["type"] == "m.room.message"] == said


async def _typing_and_receipts(user: MatrixClient, seen: Syncing, room_id: str, event_id: str) -> None:
    await _typing(user, seen, room_id)
    await _receipts(user, seen, room_id, event_id)


async def _typing(writer: MatrixClient, seen: Syncing, room_id: str) -> None:
    path = f"v3/rooms/{escape(room_id)}/typing/{escape(writer.user_id)}"
    (await writer.put(path, {"typing": True, "timeout": 30_000})).ok()
    await seen.until(lambda: seen.typing == [writer.user_id])
    (await writer.put(path, {"typing": False})).ok()
    await seen.until(lambda: seen.typing == [])


async def _receipts(reader: MatrixClient, seen: Syncing, room_id: str, event_id: str) -> None:
    path = f"v3/rooms/{escape(room_id)}/receipt"
    (await reader.post(f"{path}/m.read.private/{escape(event_id)}", {})).ok()
    (await reader.post(f"{path}/m.read/{escape(event_id)}", {"thread_id": "main"})).ok()

    def found() -> Any:
        return [
            content[event_id]["m.read"][reader.user_id]
            for content in seen.receipts
            if reader.user_id in content.get(event_id, {}).get("m.read", {})
        ]

    assert (await seen.until(found))[-1]["thread_id"] == "main"
    assert "m.read.private" not in str([content.get(event_id) for content in seen.receipts])


async def _presence(user: MatrixClient, seen: Syncing) -> None:
    body = {"presence": "online", "status_msg": f"says {user.user_id}"}
    (await user.put(f"v3/presence/{escape(user.user_id)}/status", body)).ok()
    await seen.until(
        lambda: (
            (user.user_id, body["status_msg"])
            in {(event["sender"], event["content"].get("status_msg")) for event in seen.presence}
        )
    )


async def _messages_to_devices(sender: MatrixClient, seen: Syncing) -> None:
    receiver = seen.client
    for number in range(5):
        messages = {receiver.user_id: {receiver.device_id: {"n": number}}}
        (await sender.put(f"v3/sendToDevice/org.example.ping/{number}", {"messages": messages})).ok()
    await seen.until(lambda: len(seen.to_device) == 5)
    assert [event["content"]["n"] for event in seen.to_device] == list(range(5))
    assert {event["sender"] for event in seen.to_device} == {sender.user_id}


async def _profiles(owner: MatrixClient, asker: MatrixClient) -> None:
    profile = f"v3/profile/{escape(owner.user_id)}"
    (await owner.put(f"{profile}/displayname", {"displayname": "Somebody"})).ok()
    assert (await asker.get(profile)).ok()["displayname"] == "Somebody"


async def _device_lists(owner: MatrixClient, seen: Syncing) -> None:
    """Devices, a change of one, cross-signing keys: each is told of, and found when asked for."""
    asker = seen.client
    seen.changed.clear()
    await publish_device(owner, Key())
    await seen.until(lambda: owner.user_id in seen.changed)

    async def devices() -> Any:
        return (await query(asker, owner.user_id))["device_keys"].get(owner.user_id, {}).get(owner.device_id)

    await until(devices)
    seen.changed.clear()
    (await owner.put(f"v3/devices/{owner.device_id}", {"display_name": "The phone"})).ok()

    async def named() -> bool:
        return (await devices()).get("unsigned", {}).get("device_display_name") == "The phone"

    await until(named)
    identity = Identity(owner.user_id)
    body = identity.upload_body()
    answer = await owner.post("v3/keys/device_signing/upload", body)
    if answer.status == 401:
        user = {"type": "m.id.user", "user": owner.user_id}
        auth = {"type": "m.login.password", "session": answer.body["session"], "identifier": user}
        answer = await owner.post("v3/keys/device_signing/upload", {**body, "auth": {**auth, "password": PASSWORD}})
    answer.ok()

    async def are_known() -> bool:
        found = await query(asker, owner.user_id)
        of_owner = [found[f"{usage}_keys"].get(owner.user_id, {}) for usage in ("master", "self_signing")]
        return [key.get("keys") for key in of_owner] == [
            body[f"{usage}_key"]["keys"] for usage in ("master", "self_signing")
        ]

    await until(are_known)


@contextlib.asynccontextmanager
async def nio_device(base_url: str, user_id: str, password: str, folder: Path) -> AsyncIterator[Device]:
    folder.mkdir()
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
    client = nio.AsyncClient(base_url, user_id, store_path=str(folder), config=config)
    try:
        good(await client.login(password, folder.name), nio.LoginResponse)
        yield Device(client)
    finally:
        await client.close()


async def test_clients_here_and_on_synapse_talk_in_secret(tmp_path: Path, authority: Authority):
    async with both(tmp_path, authority) as two:
        account = await two.synapse.register("nora")
        await two.peer.register("nick")
        async with (
            nio_device(two.peer.base_url, f"@nick:{two.peer.server_name}", PASSWORD, tmp_path / "phone") as nick,
            nio_device(two.synapse.base_url, account.user_id, account.password, tmp_path / "laptop") as nora,
        ):
            pair = (nick, nora)
            room_id = await _secret_room(nick, nora)
            await patiently(pair, lambda: nick.device_of(nora) and nora.device_of(nick))
            await verify(nick, nora, patiently)
            await say_in_secret(nick, room_id, "the key is under the mat")
            await patiently(pair, lambda: nora.read)
            await say_in_secret(nora, room_id, "found it")
            await patiently(pair, lambda: "found it" in nick.read)
            made_there = await _secret_room(nora, nick)
            await patiently(pair, lambda: made_there in nick.client.rooms and made_there in nora.client.rooms)
            await say_in_secret(nora, made_there, "come over here")
            await patiently(pair, lambda: "come over here" in nick.read)
            await say_in_secret(nick, made_there, "on my way")
            await patiently(pair, lambda: "on my way" in nora.read)
            assert nora.read == ["the key is under the mat", "found it", "come over here", "on my way"]
            assert nick.unreadable == nora.unreadable == []


async def _secret_room(maker: Device, guest: Device) -> str:
    """An encrypted room that the guest has come into."""
    created = await maker.client.room_create(initial_state=[ENCRYPTION], invite=[guest.client.user_id])
    room_id = good(created, nio.RoomCreateResponse).room_id
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not isinstance(await guest.client.join(room_id), nio.JoinResponse):
            await asyncio.sleep(0.2)
    return str(room_id)


async def patiently(devices: tuple[Device, ...], done: Any) -> None:
    """Like `until` of the tests with one server, but news takes its time between two."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():
            for each in devices:
                await each.step()
            await asyncio.sleep(0.1)
