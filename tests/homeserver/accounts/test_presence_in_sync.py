"""Presence over HTTP: in /sync, by set_presence, over time, over a restart, and switched off."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.homeserver.running import ManualClock, MatrixClient, RunningHomeserver, escape, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.config import HomeserverConfig


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def homeserver(homeserver_config: HomeserverConfig, clock: ManualClock) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(homeserver_config, clock=clock) as running:
        yield running


async def share_a_room(alice: MatrixClient, bob: MatrixClient) -> str:
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    return room_id


async def sync(client: MatrixClient, since: str | None = None, **query: Any) -> dict[str, Any]:
    query = {"set_presence": "offline", "timeout": 0} | query | ({"since": since} if since else {})
    return (await client.get("v3/sync", **query)).ok()


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """State by sender."""
    events = answer["presence"]["events"]
    assert all(event["type"] == "m.presence" for event in events)
    return {event["sender"]: event["content"]["presence"] for event in events}


async def sweep(homeserver: RunningHomeserver) -> None:
    homeserver.services.presence.sweep()
    await homeserver.services.presence.settled()


async def test_states_over_time(
    homeserver: RunningHomeserver, clock: ManualClock, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await share_a_room(alice, bob)
    carol = await homeserver.register("carol")
    token = (await sync(bob))["next_batch"]
    stranger = (await sync(carol))["next_batch"]
    await sync(alice, set_presence="online")
    await homeserver.services.presence.settled()
    answer = await sync(bob, token)
    assert said(answer) == {alice.user_id: "online"}
    content = answer["presence"]["events"][0]["content"]
    assert content["currently_active"] is True and content["last_active_ago"] == 0
    assert said(await sync(carol, stranger)) == {}
    assert said(await sync(bob)) == {alice.user_id: "online"}
    token = answer["next_batch"]

    # Syncing on without doing anything: no longer active, then idle, with no news in between.
    expected = {2: "online", 6: "unavailable"}
    for minute in range(1, 9):
        for _ in range(3):
            clock.advance(20)
            await sync(alice, set_presence="online")
        await sweep(homeserver)
        answer = await sync(bob, token)
        assert said(answer) == ({alice.user_id: expected[minute]} if minute in expected else {}), minute
        token = answer["next_batch"]

    (await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", {"body": "x", "msgtype": "m.text"})).ok()
    await homeserver.services.presence.settled()
    answer = await sync(bob, token)
    assert said(answer) == {alice.user_id: "online"}
    clock.advance(31)
    await sweep(homeserver)
    answer = await sync(bob, answer["next_batch"])
    assert said(answer) == {alice.user_id: "offline"}
    assert answer["presence"]["events"][0]["content"]["last_active_ago"] == 31_000
    await sweep(homeserver)
    assert said(await sync(bob, answer["next_batch"])) == {}
    assert said(await sync(bob)) == {}


async def test_set_presence_of_devices(homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient) -> None:
    await share_a_room(alice, bob)
    presence = homeserver.services.presence
    await sync(alice, set_presence="unavailable")
    assert presence.of(alice.user_id)["presence"] == "unavailable"
    await sync(alice, set_presence="offline")
    assert presence.of(alice.user_id)["presence"] == "unavailable"
    await sync(alice, set_presence="online")
    assert presence.of(alice.user_id)["presence"] == "online"
    async with presence.syncing(alice.user_id, "OTHER", "unavailable"):
        assert presence.of(alice.user_id)["presence"] == "online"
    await sync(alice, set_presence="unavailable")
    assert presence.of(alice.user_id)["presence"] == "unavailable"
    (await alice.get("v3/sync", set_presence="odd")).is_error(400, "M_INVALID_PARAM")


async def test_sliding_sync_makes_online(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    (await alice.post("v4/sync", {"set_presence": "offline"})).ok()
    assert homeserver.services.presence.of(alice.user_id)["presence"] == "offline"
    (await alice.post("v4/sync", {})).ok()
    assert homeserver.services.presence.of(alice.user_id)["presence"] == "online"


async def test_a_status_wakes_who_shares_a_room(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    await share_a_room(alice, bob)
    carol = await homeserver.register("carol")
    tokens = [(await sync(client))["next_batch"] for client in (bob, carol)]
    waiting = [
        asyncio.create_task(sync(client, token, timeout=wait))
        for client, token, wait in ((bob, tokens[0], 20_000), (carol, tokens[1], 500))
    ]
    await asyncio.sleep(0.1)
    path = f"v3/presence/{escape(alice.user_id)}/status"
    (await alice.put(path, {"presence": "online", "status_msg": "baking"})).ok()
    told, untold = [await asyncio.wait_for(task, PATIENCE_SECONDS) for task in waiting]
    assert told["presence"]["events"][0]["content"]["status_msg"] == "baking"
    assert untold["presence"]["events"] == []
    nobody = '{"presence": {"not_types": ["m.presence"]}}'
    assert said(await sync(bob, tokens[0], filter=nobody)) == {}


async def test_who_joins_is_told(homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    await sync(alice, set_presence="online")
    await homeserver.services.presence.settled()
    token = (await sync(bob))["next_batch"]
    assert said(await sync(bob, token)) == {}
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    assert said(await sync(bob, token)) == {alice.user_id: "online"}


async def test_the_status_outlives_the_server(homeserver_config: HomeserverConfig) -> None:
    clock = ManualClock()
    async with running_homeserver(homeserver_config, clock=clock) as running:
        alice, bob = await running.register("alice"), await running.register("bob")
        await share_a_room(alice, bob)
        path = f"v3/presence/{escape(alice.user_id)}/status"
        (await alice.put(path, {"presence": "online", "status_msg": "baking"})).ok()
        token = (await sync(bob))["next_batch"]
    async with running_homeserver(homeserver_config, clock=clock) as running:
        bob = running.client(bob.token)
        assert said(await sync(bob, token)) == {}
        clock.advance(31)
        await sweep(running)
        assert said(await sync(bob, token)) == {alice.user_id: "offline"}
        answer = (await bob.get(path)).ok()
        assert answer == {"presence": "offline", "status_msg": "baking", "last_active_ago": 31_000}
        await sync(running.client(alice.token), set_presence="online")
        assert (await bob.get(path)).ok()["status_msg"] == "baking"


async def test_switched_off(homeserver_config: HomeserverConfig) -> None:
    async with running_homeserver(msgspec.structs.replace(homeserver_config, presence=False)) as running:
        alice, bob = await running.register("alice"), await running.register("bob")
        await share_a_room(alice, bob)
        path = f"v3/presence/{escape(alice.user_id)}/status"
        (await alice.put(path, {"presence": "online"})).ok()
        await sync(alice, set_presence="online")
        assert (await bob.get(path)).ok() == {"presence": "offline"}
        assert said(await sync(bob)) == {}
