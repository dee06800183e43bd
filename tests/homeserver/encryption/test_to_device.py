"""Messages to devices: each arrives once, in order, also when the answer that carried it was lost."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.encryption.to_device import ToDevice
from thingroom_homeserver.storage.to_device import waiting


async def send(client: MatrixClient, transaction_id: str, messages: Any, kind: str = "org.example.ping") -> None:
    (await client.put(f"v3/sendToDevice/{kind}/{transaction_id}", {"messages": messages})).ok()


async def received(client: MatrixClient, since: str | None = None, timeout: int = 0) -> tuple[list[Any], str]:
    query = {"timeout": timeout} | ({} if since is None else {"since": since})
    answer = (await client.get("v3/sync", **query)).ok()
    return answer["to_device"]["events"], answer["next_batch"]


def numbers(events: list[Any]) -> list[int]:
    return [event["content"]["n"] for event in events]


async def second_device(server: RunningHomeserver, client: MatrixClient) -> MatrixClient:
    other = server.client()
    body = {"type": "m.login.password", "user": client.user_id, "password": PASSWORD}
    session = (await other.post("v3/login", body)).ok()
    other.token, other.user_id, other.device_id = session["access_token"], session["user_id"], session["device_id"]
    return other


async def test_a_message_is_kept_until_the_device_comes_back(alice: MatrixClient, bob: MatrixClient) -> None:
    _, since = await received(bob)
    await send(alice, "1", {bob.user_id: {bob.device_id: {"n": 1}}})
    expected = {"sender": alice.user_id, "type": "org.example.ping", "content": {"n": 1}}
    events, later = await received(bob, since)
    assert events == [expected]
    # The answer was lost: the same token brings the same message.
    assert (await received(bob, since))[0] == [expected]
    assert (await received(bob, later))[0] == []
    # Now it is gone for good.
    assert (await received(bob, since))[0] == []
    assert (await received(bob))[0] == []


async def test_a_retry_sends_nothing_even_after_a_restart(tmp_path: Any) -> None:
    config = make_config(tmp_path / "data")
    async with running_homeserver(config) as server:
        alice = await server.register("alice")
        await send(alice, "same", {alice.user_id: {alice.device_id: {"n": 1}}})
        await send(alice, "same", {alice.user_id: {alice.device_id: {"n": 2}}})
        await send(alice, "same", {alice.user_id: {alice.device_id: {"n": 3}}}, "org.example.other")
        token, device_id, user_id = alice.token, alice.device_id, alice.user_id
    async with running_homeserver(config) as server:
        alice = server.client(token)
        await send(alice, "same", {user_id: {device_id: {"n": 4}}})
        assert numbers((await received(alice))[0]) == [1, 3]


async def test_all_devices_and_unknown_ones(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    tablet = await second_device(homeserver, alice)
    await send(alice, "1", {alice.user_id: {"*": {"n": 1}, tablet.device_id: {"n": 2}, "NOBODY": {"n": 3}}})
    await send(alice, "2", {"@nobody:localhost": {"*": {"n": 4}}})
    assert numbers((await received(alice))[0]) == [1]
    assert numbers((await received(tablet))[0]) == [2]


async def test_many_messages_come_in_parts_and_in_order(alice: MatrixClient, bob: MatrixClient) -> None:
    _, since = await received(bob)
    for number in range(230):
        await send(alice, str(number), {bob.user_id: {"*": {"n": number}}})
    got: list[int] = []
    sizes = []
    for _ in range(4):
        events, since = await received(bob, since)
        got += numbers(events)
        sizes.append(len(events))
        again, _ = await received(bob, since)
        assert numbers(again) == list(range(len(got), min(len(got) + 100, 230)))
    assert got == list(range(230))
    assert sizes == [100, 100, 30, 0]


async def test_a_waiting_sync_hears_of_it_at_once(alice: MatrixClient, bob: MatrixClient) -> None:
    _, since = await received(bob)
    waiting_sync = asyncio.create_task(received(bob, since, 20_000))
    await asyncio.sleep(0.1)
    assert not waiting_sync.done()
    await send(alice, "1", {bob.user_id: {bob.device_id: {"n": 1}}})
    assert numbers((await asyncio.wait_for(waiting_sync, PATIENCE_SECONDS))[0]) == [1]


async def test_a_deleted_device_loses_its_messages(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    tablet = await second_device(homeserver, alice)
    await send(alice, "1", {alice.user_id: {tablet.device_id: {"n": 1}}})
    (await tablet.post("v3/logout")).ok()
    read = homeserver.services.database.read
    assert read(lambda c: waiting(c, alice.user_id, tablet.device_id, 0, 2**60, 10)) == []


async def test_a_full_queue_takes_no_more_and_loses_nothing(homeserver: RunningHomeserver, bob: MatrixClient) -> None:
    services = homeserver.services
    small = ToDevice(services.database, services.notifier, SystemClock(), max_waiting=3)
    for number in range(5):
        await small.send("@x:localhost", "S", "t", str(number), {bob.user_id: {"*": {"n": number}}})
    events, since = await received(bob)
    assert numbers(events) == [0, 1, 2]
    await received(bob, since)
    await small.send("@x:localhost", "S", "t", "later", {bob.user_id: {"*": {"n": 9}}})
    assert numbers((await received(bob, since))[0]) == [9]


async def test_to_device_errors(alice: MatrixClient, anyone: MatrixClient) -> None:
    path = "v3/sendToDevice/org.example.ping/1"
    (await anyone.put(path, {"messages": {}})).is_error(401, "M_MISSING_TOKEN")
    (await alice.put(path, {})).is_error(400, "M_MISSING_PARAM")
    (await alice.put(path, {"messages": []})).is_error(400, "M_BAD_JSON")
    (await alice.put(path, {"messages": {alice.user_id: []}})).is_error(400, "M_BAD_JSON")
    (await alice.put(path, {"messages": {alice.user_id: {"*": 1}}})).is_error(400, "M_BAD_JSON")
    many = {alice.user_id: {str(number): {} for number in range(5001)}}
    (await alice.put(path, {"messages": many})).is_error(400, "M_TOO_LARGE")
    (await alice.put(f"v3/sendToDevice/{'x' * 256}/1", {"messages": {}})).is_error(400, "M_INVALID_PARAM")
