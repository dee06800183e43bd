"""Pushers and their delivery to a real push gateway that fails, rejects and recovers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.push.push_gateway import Gateway, running_gateway
from tests.homeserver.running import (
    PASSWORD,
    MatrixClient,
    RunningHomeserver,
    escape,
    make_config,
    running_homeserver,
)
from tests.patience import tries

from thingroom_homeserver.config import HomeserverConfig

NUMBERS = itertools.count()


@pytest.fixture
def homeserver_config(tmp_path: Path) -> HomeserverConfig:
    return make_config(tmp_path / "homeserver", outgoing_permitted_ranges=("127.0.0.0/8",))


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway() as gateway:
        yield gateway


def pusher(url: str, pushkey: str = "key", **changes: Any) -> dict[str, Any]:
    return {
        "kind": "http",
        "app_id": "org.example.app",
        "pushkey": pushkey,
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": {"url": url, "custom": 1},
        **changes,
    }


async def send(client: MatrixClient, room_id: str, body: str = "hello", **more: Any) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{next(NUMBERS)}"
    return (await client.put(path, {"msgtype": "m.text", "body": body, **more})).ok()["event_id"]


@pytest.fixture
async def room_id(alice: MatrixClient, bob: MatrixClient) -> str:
    room = {"preset": "public_chat", "name": "Kitchen", "room_alias_name": "kitchen"}
    room_id = (await alice.post("v3/createRoom", room)).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    return room_id


async def test_pushers_are_set_listed_and_deleted(alice: MatrixClient, bob: MatrixClient) -> None:
    body = pusher("https://push.example.org/_matrix/push/v1/notify", profile_tag="x")
    assert (await alice.get("v3/pushers")).ok() == {"pushers": []}
    (await alice.post("v3/pushers/set", body)).ok()
    assert (await alice.get("v3/pushers")).ok() == {"pushers": [body]}
    (await alice.post("v3/pushers/set", {**body, "lang": "de"})).ok()
    assert (await alice.get("v3/pushers")).ok() == {"pushers": [{**body, "lang": "de"}]}
    (await bob.post("v3/pushers/set", {**body, "append": True})).ok()
    assert len((await alice.get("v3/pushers")).ok()["pushers"]) == 1
    (await bob.post("v3/pushers/set", body)).ok()
    assert (await alice.get("v3/pushers")).ok() == {"pushers": []}
    (await bob.post("v3/pushers/set", {"kind": None, "app_id": "org.example.app", "pushkey": "key"})).ok()
    assert (await bob.get("v3/pushers")).ok() == {"pushers": []}


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"kind": "email"}, "M_INVALID_PARAM"),
        ({"lang": None}, "M_MISSING_PARAM"),
        ({"pushkey": "x" * 513}, "M_INVALID_PARAM"),
        ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"data": {}}, "M_MISSING_PARAM"),
        ({"data": {"url": "ftp://a/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a/other"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://u:p@a/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a:99999/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a/_matrix/push/v1/notify", "x": "y" * 20_000}}, "M_TOO_LARGE"),
    ],
)
async def test_what_no_pusher_can_be(alice: MatrixClient, change: dict[str, Any], errcode: str) -> None:
    body = pusher("https://push.example.org/_matrix/push/v1/notify")
    (await alice.post("v3/pushers/set", {**body, **change})).is_error(400, errcode)


async def test_a_notification_reaches_the_gateway(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    (await alice.put(f"v3/profile/{escape(alice.user_id)}/displayname", {"displayname": "Alice"})).ok()
    await send(alice, room_id, "before the pusher")
    (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
    await gateway.until(lambda: len(gateway.accepted) == 1)
    assert gateway.accepted[0]["counts"] == {"unread": 1} and "event_id" not in gateway.accepted[0]
    event_id = await send(alice, room_id, **{"m.mentions": {"user_ids": [bob.user_id]}})
    await gateway.until(lambda: len(gateway.accepted) == 2)
    told = gateway.accepted[1]
    assert told["devices"][0].pop("pushkey_ts") > 1_600_000_000
    assert told == {
        "event_id": event_id,
        "room_id": room_id,
        "type": "m.room.message",
        "sender": alice.user_id,
        "sender_display_name": "Alice",
        "room_name": "Kitchen",
        "room_alias": "#kitchen:localhost",
        "user_is_target": False,
        "prio": "high",
        "content": {"msgtype": "m.text", "body": "hello", "m.mentions": {"user_ids": [bob.user_id]}},
        "counts": {"unread": 2},
        "devices": [
            {
                "app_id": "org.example.app",
                "pushkey": "key",
                "data": {"custom": 1},
                "tweaks": {"sound": "default", "highlight": True},
            }
        ],
    }
    (await bob.post(f"v3/rooms/{escape(room_id)}/receipt/m.read/{escape(event_id)}")).ok()
    await gateway.until(lambda: len(gateway.accepted) == 3)
    assert gateway.accepted[2]["counts"] == {"unread": 0} and "event_id" not in gateway.accepted[2]


async def test_writing_clears_the_badge(alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str) -> None:
    (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
    await send(alice, room_id)
    await gateway.until(lambda: len(gateway.accepted) == 1)
    await send(bob, room_id)
    await gateway.until(lambda: len(gateway.accepted) == 2)
    assert gateway.accepted[1]["counts"] == {"unread": 0}


async def test_the_format_event_id_only_tells_little(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    data = {"url": gateway.url, "format": "event_id_only"}
    (await bob.post("v3/pushers/set", pusher(gateway.url, data=data))).ok()
    await send(alice, room_id)
    await gateway.until(lambda: len(gateway.accepted) == 1)
    assert gateway.accepted[0].keys() == {"event_id", "room_id", "counts", "devices", "prio"}
    assert gateway.accepted[0]["devices"][0]["data"] == {"format": "event_id_only"}


async def test_a_failing_gateway_gets_everything_in_order_once_it_recovers(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    gateway.status = 503
    (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
    events = [await send(alice, room_id) for _ in range(3)]
    await gateway.until(lambda: bool(gateway.requests))
    assert gateway.accepted == []
    gateway.status = 200
    await gateway.until(lambda: len(gateway.accepted) == 3)
    assert [one["event_id"] for one in gateway.accepted] == events


async def test_what_was_read_meanwhile_is_not_delivered(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    gateway.status = 500
    (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
    first = await send(alice, room_id)
    await gateway.until(lambda: bool(gateway.requests))
    (await bob.post(f"v3/rooms/{escape(room_id)}/receipt/m.read/{escape(first)}")).ok()
    second = await send(alice, room_id)
    gateway.status = 200
    await gateway.until(lambda: bool(gateway.accepted))
    assert gateway.accepted[0]["event_id"] == second


async def test_a_rejected_pushkey_loses_its_pusher(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    gateway.rejected = ["bad", "of somebody else"]
    (await bob.post("v3/pushers/set", pusher(gateway.url, "bad"))).ok()
    (await bob.post("v3/pushers/set", pusher(gateway.url, "good"))).ok()
    await send(alice, room_id)
    await gateway.until(lambda: len(gateway.accepted) == 2)
    for _ in tries():
        left = [one["pushkey"] for one in (await bob.get("v3/pushers")).ok()["pushers"]]
        if left == ["good"]:
            break
        await asyncio.sleep(0.02)
    assert left == ["good"]
    await send(alice, room_id)
    await gateway.until(lambda: len(gateway.accepted) == 3)
    assert gateway.accepted[2]["devices"][0]["pushkey"] == "good"


async def test_a_pusher_goes_with_its_device(
    homeserver: RunningHomeserver, bob: MatrixClient, alice: MatrixClient, gateway: Gateway, room_id: str
) -> None:
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}, "password": PASSWORD}
    other = homeserver.client((await homeserver.client().post("v3/login", login)).ok()["access_token"])
    (await bob.post("v3/pushers/set", pusher(gateway.url, "one"))).ok()
    (await other.post("v3/pushers/set", pusher(gateway.url, "two"))).ok()
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}, "password": PASSWORD}
    session = (await bob.post("v3/account/password", {"new_password": "another good one"})).body["session"]
    (
        await bob.post(
            "v3/account/password", {"new_password": "another good one", "auth": {**auth, "session": session}}
        )
    ).ok()
    assert [one["pushkey"] for one in (await bob.get("v3/pushers")).ok()["pushers"]] == ["one"]
    (await bob.post("v3/logout")).ok()
    await send(alice, room_id)
    await asyncio.sleep(0.2)
    assert gateway.requests == []


async def test_what_a_restart_interrupts_is_delivered_after_it(tmp_path: Path, gateway: Gateway) -> None:
    config = make_config(tmp_path / "hs", outgoing_permitted_ranges=("127.0.0.1",))
    gateway.status = 502
    async with running_homeserver(config) as first:
        alice, bob = await first.register("alice"), await first.register("bob")
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
        events = [await send(alice, room_id) for _ in range(2)]
        await gateway.until(lambda: bool(gateway.requests))
    gateway.status = 200
    async with running_homeserver(config) as second:
        await gateway.until(lambda: len(gateway.accepted) == 2)
        events.append(await send(second.client(alice.token), room_id))
        await gateway.until(lambda: len(gateway.accepted) == 3)
    async with running_homeserver(config):
        await asyncio.sleep(0.1)
    assert [one["event_id"] for one in gateway.accepted] == events


@pytest.mark.parametrize("status", [301, 307])
async def test_redirects_are_not_followed(
    alice: MatrixClient, bob: MatrixClient, gateway: Gateway, room_id: str, status: int
) -> None:
    gateway.status = status
    (await bob.post("v3/pushers/set", pusher(gateway.url))).ok()
    await send(alice, room_id)
    await gateway.until(lambda: bool(gateway.requests))
    await asyncio.sleep(0.2)
    assert len(gateway.requests) == 1


async def test_private_addresses_get_nothing(tmp_path: Path, gateway: Gateway) -> None:
    async with running_homeserver(make_config(tmp_path / "hs")) as guarded:
        alice, bob = await guarded.register("alice"), await guarded.register("bob")
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        port = gateway.url.split(":")[2]
        for number, host in enumerate(("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f.1")):
            (await bob.post("v3/pushers/set", pusher(f"http://{host}:{port}", str(number)))).ok()
        await send(alice, room_id)
        await asyncio.sleep(0.5)
        assert gateway.requests == []
        assert len((await bob.get("v3/pushers")).ok()["pushers"]) == 5
