"""Typing, receipts, presence, messages to devices, device lists, keys and profiles between two of our servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.federation.peers import Peer, running_peers
from tests.federation.shared_room import Syncing, say, shared_room
from tests.homeserver.encryption.key_support import Identity, Key, publish_device, query
from tests.homeserver.running import PASSWORD, MatrixClient, escape
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[list[Peer]]:
    async with running_peers(tmp_path, 2) as both:
        yield both


async def friends(peers: list[Peer]) -> tuple[MatrixClient, MatrixClient, str]:
    """Alice on the first server and Bob on the second, in one room."""
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    return alice, bob, await shared_room(alice, one.server_name, bob)


async def second_device(peer: Peer, client: MatrixClient) -> MatrixClient:
    other = peer.client()
    session = (
        await other.post("v3/login", {"type": "m.login.password", "user": client.user_id, "password": PASSWORD})
    ).ok()
    other.token, other.user_id, other.device_id = session["access_token"], session["user_id"], session["device_id"]
    return other


async def test_typing_crosses_and_ends(peers: list[Peer]):
    alice, bob, room_id = await friends(peers)
    seen = Syncing(bob)
    await seen.step()
    path = f"v3/rooms/{escape(room_id)}/typing/{escape(alice.user_id)}"
    (await alice.put(path, {"typing": True, "timeout": 30_000})).ok()
    await seen.until(lambda: seen.typing == [alice.user_id])
    (await alice.put(path, {"typing": False})).ok()
    await seen.until(lambda: seen.typing == [])
    (await alice.put(path, {"typing": True, "timeout": 200})).ok()
    await seen.until(lambda: seen.typing == [alice.user_id])
    await seen.until(lambda: seen.typing == [])


async def test_receipts_cross_with_their_threads_and_private_ones_stay(peers: list[Peer]):
    alice, bob, room_id = await friends(peers)
    seen = Syncing(alice)
    event_id = await say(alice, room_id, "read-me")
    there = Syncing(bob)
    await there.until(lambda: "read-me" in there.bodies())
    path = f"v3/rooms/{escape(room_id)}/receipt"
    (await bob.post(f"{path}/m.read.private/{escape(event_id)}", {})).ok()
    (await bob.post(f"{path}/m.read/{escape(event_id)}", {"thread_id": "main"})).ok()

    def threads() -> set[Any]:
        return {
            receipt.get("thread_id")
            for content in seen.receipts
            for kinds in content.values()
            for kind, by_user in kinds.items()
            for user_id, receipt in by_user.items()
            if (kind, user_id) == ("m.read", bob.user_id)
        }

    await seen.until(lambda: threads() == {"main"})
    (await bob.post(f"{path}/m.read/{escape(event_id)}", {})).ok()
    await seen.until(lambda: threads() == {"main", None})
    assert "m.read.private" not in str(seen.receipts)


async def test_presence_crosses_where_a_room_is_shared(peers: list[Peer]):
    one, two = peers
    carol = await one.register("carol")
    alice, bob, _ = await friends(peers)
    seen = Syncing(bob)
    await seen.step()
    status = f"v3/presence/{escape(alice.user_id)}/status"
    (await alice.put(status, {"presence": "unavailable", "status_msg": "at lunch"})).ok()

    def told() -> dict[str, Any]:
        return {event["sender"]: event["content"] for event in seen.presence}

    await seen.until(lambda: told().get(alice.user_id, {}).get("status_msg") == "at lunch")
    assert told()[alice.user_id]["presence"] == "unavailable"
    body = (await bob.get(status)).ok()
    assert (body["presence"], body["status_msg"]) == ("unavailable", "at lunch")
    (await carol.put(f"v3/presence/{escape(carol.user_id)}/status", {"presence": "online"})).ok()
    (await bob.get(f"v3/presence/{escape(carol.user_id)}/status")).is_error(403, "M_FORBIDDEN")
    # Who begins to sync learns of those who are there.
    fresh = Syncing(await two.register("dora"))
    (await fresh.client.post(f"v3/join/{escape(await _room_of(bob))}")).ok()
    await fresh.until(lambda: alice.user_id in {event["sender"] for event in fresh.presence})


async def _room_of(client: MatrixClient) -> str:
    rooms: list[str] = (await client.get("v3/joined_rooms")).ok()["joined_rooms"]
    return rooms[0]


async def test_messages_to_devices_arrive_once_and_in_order_also_after_an_outage(peers: list[Peer]):
    one, two = peers
    alice, bob, _ = await friends(peers)
    tablet = await second_device(two, bob)
    seen, there = Syncing(bob), Syncing(tablet)

    async def send(number: int, device_id: str) -> None:
        messages = {bob.user_id: {device_id: {"n": number}}, "@nobody:unknown.invalid": {"*": {}}}
        (await alice.put(f"v3/sendToDevice/org.example.ping/{number}", {"messages": messages})).ok()
        (await alice.put(f"v3/sendToDevice/org.example.ping/{number}", {"messages": messages})).ok()

    for number in range(5):
        await send(number, bob.device_id)
    await send(5, "*")
    await seen.until(lambda: len(seen.to_device) == 6)
    assert [event["content"]["n"] for event in seen.to_device] == list(range(6))
    assert {event["sender"] for event in seen.to_device} == {alice.user_id}
    await there.until(lambda: [event["content"]["n"] for event in there.to_device] == [5])
    await two.stop()
    for number in range(6, 30):
        await send(number, bob.device_id)
    await one.stop()
    await one.start()
    await two.start()
    two.again(bob)
    await seen.until(lambda: len(seen.to_device) == 30)
    assert [event["content"]["n"] for event in seen.to_device] == list(range(30))


async def test_keys_of_remote_users_are_fetched_followed_and_forgotten(peers: list[Peer]):
    one, two = peers
    alice, bob, room_id = await friends(peers)
    seen = Syncing(bob)
    await seen.step()
    key = Key()
    phone_keys = await publish_device(alice, key)
    await seen.until(lambda: alice.user_id in seen.changed)
    answer = await query(bob, alice.user_id)
    assert answer["failures"] == {}
    assert answer["device_keys"][alice.user_id][alice.device_id]["keys"] == phone_keys["keys"]
    # A new device is told of by an update; nobody has to be asked.
    seen.changed.clear()
    tablet = await second_device(one, alice)
    await publish_device(tablet, Key())
    await seen.until(lambda: alice.user_id in seen.changed)
    await one.stop()
    answer = await query(bob, alice.user_id)
    assert answer["device_keys"][alice.user_id].keys() == {alice.device_id, tablet.device_id}
    assert answer["failures"] == {}
    await one.start()
    one.again(alice)
    # A name, and the end of a device.
    seen.changed.clear()
    (await alice.put(f"v3/devices/{tablet.device_id}", {"display_name": "Tablet"})).ok()
    await seen.until(lambda: alice.user_id in seen.changed)
    shown = (await query(bob, alice.user_id))["device_keys"][alice.user_id][tablet.device_id]
    assert shown["unsigned"] == {"device_display_name": "Tablet"}
    seen.changed.clear()
    one.again(tablet)
    (await tablet.post("v3/logout", {})).ok()
    await seen.until(lambda: alice.user_id in seen.changed)
    assert (await query(bob, alice.user_id))["device_keys"][alice.user_id].keys() == {alice.device_id}
    # Without a shared room they are not followed any more.
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave", {})).ok()
    await seen.until(lambda: alice.user_id in seen.left)
    known = two.services.database.read(lambda c: c.execute("SELECT * FROM remote_device_lists").fetchall())
    assert known == []
    assert alice.device_id in (await query(bob, alice.user_id))["device_keys"][alice.user_id]


async def test_cross_signing_keys_cross_and_own_signatures_on_them_stay(peers: list[Peer]):
    alice, bob, _ = await friends(peers)
    seen = Syncing(bob)
    await seen.step()
    await publish_device(alice, Key())
    theirs, mine = Identity(alice.user_id), Identity(bob.user_id)
    (await alice.post("v3/keys/device_signing/upload", theirs.upload_body())).ok()
    (await bob.post("v3/keys/device_signing/upload", mine.upload_body())).ok()

    async def found() -> Any:
        return (await query(bob, alice.user_id))["master_keys"].get(alice.user_id)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (master := await found()) is None:
            await asyncio.sleep(0.02)
    answer = await query(bob, alice.user_id)
    assert master["keys"] == theirs.master_json()["keys"]
    assert answer["self_signing_keys"][alice.user_id]["keys"] == theirs.upload_body()["self_signing_key"]["keys"]
    assert alice.user_id not in answer["user_signing_keys"]
    # Bob verifies Alice: the signature is his alone.
    signed = mine.user_signing.sign(theirs.master_json(), bob.user_id)
    body = {alice.user_id: {theirs.master.public: signed}}
    assert (await bob.post("v3/keys/signatures/upload", body)).ok()["failures"] == {}
    assert bob.user_id in (await query(bob, alice.user_id))["master_keys"][alice.user_id]["signatures"]
    assert bob.user_id not in str((await query(alice, alice.user_id))["master_keys"])
    # Alice's device, signed later by her self-signing key, is told of again.
    seen.changed.clear()
    device = (await query(alice, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    device.pop("unsigned", None)
    signed = theirs.self_signing.sign(device, alice.user_id)
    (await alice.post("v3/keys/signatures/upload", {alice.user_id: {alice.device_id: signed}})).ok()

    def key_ids(keys: Any) -> set[str]:
        return set(keys["signatures"][alice.user_id])

    async with asyncio.timeout(PATIENCE_SECONDS):
        while f"ed25519:{theirs.self_signing.public}" not in key_ids(
            (await query(bob, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
        ):
            await asyncio.sleep(0.02)
    assert alice.user_id in seen.changed or await seen.until(lambda: alice.user_id in seen.changed)


async def test_one_time_keys_are_claimed_across_and_dead_servers_named(peers: list[Peer]):
    one, _ = peers
    alice, bob, _ = await friends(peers)
    key = Key()
    await publish_device(alice, key)
    one_time = {"signed_curve25519:AAA": key.sign({"key": "a"}, alice.user_id, f"ed25519:{alice.device_id}")}
    (await alice.post("v3/keys/upload", {"one_time_keys": one_time})).ok()
    wanted = {
        alice.user_id: {alice.device_id: "signed_curve25519"},
        "@carol:localhost:1": {"X": "signed_curve25519"},
    }
    answer = (await bob.post("v3/keys/claim", {"one_time_keys": wanted, "timeout": 3000})).ok()
    assert answer["one_time_keys"] == {alice.user_id: {alice.device_id: one_time}}
    assert answer["failures"].keys() == {"localhost:1"}
    again = (await bob.post("v3/keys/claim", {"one_time_keys": {alice.user_id: wanted[alice.user_id]}})).ok()
    assert again["one_time_keys"] == {}
    await one.stop()
    answer = (await bob.post("v3/keys/query", {"device_keys": {alice.user_id: []}, "timeout": 2000})).ok()
    assert answer["failures"].keys() == {one.server_name}


async def test_profiles_of_remote_users(peers: list[Peer]):
    one, two = peers
    alice, bob, _ = await friends(peers)
    profile = f"v3/profile/{escape(alice.user_id)}"
    (await alice.put(f"{profile}/displayname", {"displayname": "Alice A."})).ok()
    (await alice.put(f"{profile}/org.example.pet", {"org.example.pet": "cat"})).ok()
    answer = await bob.get(profile)
    assert answer.ok() == {"displayname": "Alice A.", "org.example.pet": "cat"}
    assert (await bob.get(f"{profile}/displayname")).ok() == {"displayname": "Alice A."}
    (await bob.get(f"{profile}/avatar_url")).is_error(404, "M_NOT_FOUND")
    (await bob.get(f"v3/profile/{escape('@nobody:' + one.server_name)}")).is_error(404, "M_NOT_FOUND")
    # Who is not logged in makes the server ask nobody.
    (await two.client().get(profile)).is_error(404, "M_NOT_FOUND")
    # A server that is down: what it said last; of a user it was never asked about, what a room shows.
    seen = Syncing(bob)
    await seen.step()
    carol = await one.register("carol")
    (await carol.put(f"v3/profile/{escape(carol.user_id)}/displayname", {"displayname": "Carol"})).ok()
    (await carol.post(f"v3/join/{escape(await _room_of(bob))}")).ok()
    await seen.until(lambda: carol.user_id in {event.get("state_key") for event in seen.events})
    await one.stop()
    assert (await bob.get(profile)).ok()["displayname"] == "Alice A."
    assert (await bob.get(f"v3/profile/{escape(carol.user_id)}")).ok() == {"displayname": "Carol"}
