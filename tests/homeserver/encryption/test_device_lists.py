"""Whose device lists are told as changed or left, in /sync and /keys/changes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from tests.homeserver.encryption.key_support import Identity, Key, publish_device
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS


async def token(client: MatrixClient) -> str:
    return (await client.get("v3/sync")).ok()["next_batch"]


async def news(client: MatrixClient, since: str, timeout: int = 0) -> tuple[list[str], list[str]]:
    """(changed, left) of /sync, which /keys/changes must agree with."""
    answer = (await client.get("v3/sync", since=since, timeout=timeout)).ok()
    lists = answer["device_lists"]
    changes = (await client.get("v3/keys/changes", **{"from": since, "to": answer["next_batch"]})).ok()
    assert changes == lists
    return lists["changed"], lists["left"]


async def room_of(creator: MatrixClient, *others: MatrixClient) -> str:
    room_id = (await creator.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    for other in others:
        await join(other, room_id)
    return room_id


async def join(client: MatrixClient, room_id: str) -> None:
    (await client.post(f"v3/join/{escape(room_id)}")).ok()


async def leave(client: MatrixClient, room_id: str) -> None:
    (await client.post(f"v3/rooms/{escape(room_id)}/leave")).ok()


async def test_changes_of_keys_reach_who_shares_a_room(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    carol = await homeserver.register("carol")
    await room_of(alice, bob)
    everyone = (alice, bob, carol)

    async def told_of(change: Any) -> list[list[str]]:
        tokens = [await token(client) for client in everyone]
        await change
        return [(await news(client, since))[0] for client, since in zip(everyone, tokens, strict=True)]

    alices = [[alice.user_id], [alice.user_id], []]
    key = Key()
    assert await told_of(publish_device(alice, key)) == alices
    identity = Identity(alice.user_id)
    assert await told_of(alice.post("v3/keys/device_signing/upload", identity.upload_body())) == alices
    assert await told_of(alice.post("v3/keys/device_signing/upload", identity.upload_body())) == [[], [], []]
    signed = key.sign(identity.master_json(), alice.user_id, f"ed25519:{alice.device_id}")
    body = {alice.user_id: {identity.master.public: signed}}
    assert await told_of(alice.post("v3/keys/signatures/upload", body)) == alices
    assert await told_of(alice.put(f"v3/devices/{alice.device_id}", {"display_name": "x"})) == alices
    bobs = Identity(bob.user_id)
    (await bob.post("v3/keys/device_signing/upload", bobs.upload_body())).ok()
    signed = identity.user_signing.sign(bobs.master_json(), alice.user_id)
    body = {bob.user_id: {bobs.master.public: signed}}
    # Whom Alice trusts is for Alice's devices only.
    assert await told_of(alice.post("v3/keys/signatures/upload", body)) == [[bob.user_id], [], []]
    one_time = {"one_time_keys": {"signed_curve25519:A": {"key": "x"}}}
    assert await told_of(alice.post("v3/keys/upload", one_time)) == [[], [], []]


async def test_logging_out_a_device_with_keys_is_told(alice: MatrixClient, bob: MatrixClient) -> None:
    await room_of(alice, bob)
    await publish_device(alice, Key())
    since = await token(bob)
    (await alice.post("v3/logout")).ok()
    assert await news(bob, since) == ([alice.user_id], [])
    assert (await bob.post("v3/keys/query", {"device_keys": {alice.user_id: []}})).ok()["device_keys"] == {
        alice.user_id: {}
    }


async def test_coming_and_going(homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient) -> None:
    carol = await homeserver.register("carol")
    first = await room_of(alice)
    alices, bobs = await token(alice), await token(bob)
    await join(bob, first)
    assert await news(alice, alices) == ([bob.user_id], [])
    assert await news(bob, bobs) == ([alice.user_id], [])
    second = await room_of(alice, bob, carol)
    alices, bobs = await token(alice), await token(bob)
    await leave(bob, first)
    # They share the second room still.
    assert (await news(alice, alices))[1] == (await news(bob, bobs))[1] == []
    await leave(bob, second)
    assert await news(alice, alices) == ([], [bob.user_id])
    assert await news(bob, bobs) == ([], sorted([alice.user_id, carol.user_id]))
    # What changes meanwhile is made up for when they meet again.
    alices = await token(alice)
    await publish_device(bob, Key())
    assert await news(alice, alices) == ([], [])
    await join(bob, second)
    assert await news(alice, alices) == ([bob.user_id], [])


async def test_one_leaves_while_the_other_does(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await room_of(alice, bob)
    alices, bobs = await token(alice), await token(bob)
    await leave(bob, room_id)
    await leave(alice, room_id)
    assert await news(alice, alices) == ([], [bob.user_id])
    assert await news(bob, bobs) == ([], [alice.user_id])


async def test_a_waiting_sync_hears_of_new_keys(alice: MatrixClient, bob: MatrixClient) -> None:
    await room_of(alice, bob)
    since = await token(bob)
    waiting = asyncio.create_task(news(bob, since, 20_000))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await publish_device(alice, Key())
    assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS))[0] == [alice.user_id]


async def test_changes_are_known_after_a_restart(tmp_path: Any) -> None:
    config = make_config(tmp_path / "data")
    async with running_homeserver(config) as server:
        alice, bob = await server.register("alice"), await server.register("bob")
        room_id = await room_of(alice)
        since = await token(alice)
        await join(bob, room_id)
        access = alice.token
    async with running_homeserver(config) as server:
        assert await news(server.client(access), since) == (["@bob:localhost"], [])


async def test_the_cost_does_not_grow_with_the_rooms_joined(homeserver: RunningHomeserver) -> None:
    counts = []
    for number in (1, 20):
        watcher, other = await homeserver.register(), await homeserver.register()
        for _ in range(number):
            await room_of(watcher, other)
        since = await token(watcher)
        await publish_device(other, Key())
        statements: list[str] = []
        reader = homeserver.services.database._reader
        reader.set_trace_callback(statements.append)
        assert (await watcher.get("v3/sync", since=since)).ok()["device_lists"]["changed"] == [other.user_id]
        reader.set_trace_callback(None)
        counts.append(len(statements))
        plans = [row["detail"] for text in statements for row in reader.execute(f"EXPLAIN QUERY PLAN {text}")]
        assert not [step for step in plans if re.match("SCAN", step)]
    assert counts[0] == counts[1]


async def test_key_changes_errors(alice: MatrixClient, anyone: MatrixClient) -> None:
    since = await token(alice)
    (await anyone.get("v3/keys/changes", **{"from": since, "to": since})).is_error(401, "M_MISSING_TOKEN")
    (await alice.get("v3/keys/changes", **{"from": since})).is_error(400, "M_MISSING_PARAM")
    (await alice.get("v3/keys/changes", **{"from": "x", "to": since})).is_error(400, "M_INVALID_PARAM")
