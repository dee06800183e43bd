"""Guests, locked and suspended accounts, and the administrator's endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, escape, make_config, running_homeserver


@pytest.fixture
async def server(tmp_path: Path):
    config = make_config(tmp_path / "hs", guest_access=True, admin_users=("@root:localhost",))
    async with running_homeserver(config) as running:
        yield running


async def guest_of(server: RunningHomeserver) -> MatrixClient:
    guest = server.client()
    session = (await guest.post("v3/register?kind=guest")).ok()
    guest.token, guest.user_id, guest.device_id = session["access_token"], session["user_id"], session["device_id"]
    return guest


async def test_guests_join_where_they_may_and_leave_when_not(server: RunningHomeserver) -> None:
    alice, guest = await server.register("alice"), await guest_of(server)
    assert (await guest.get("v3/account/whoami")).ok()["is_guest"] is True
    room = escape((await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"])
    access = f"v3/rooms/{room}/state/m.room.guest_access"
    (await alice.put(access, {"guest_access": "forbidden"})).ok()
    (await guest.post(f"v3/rooms/{room}/join")).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await guest.post(f"v3/join/{room}")).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")
    member = f"v3/rooms/{room}/state/m.room.member/{escape(guest.user_id)}"
    (await guest.put(member, {"membership": "join"})).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await alice.put(access, {"guest_access": "can_join"})).ok()
    (await guest.post(f"v3/rooms/{room}/join")).ok()
    (await guest.put(f"v3/rooms/{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "hi"})).ok()
    assert guest.user_id in (await alice.get(f"v3/rooms/{room}/joined_members")).ok()["joined"]
    (await alice.put(access, {"guest_access": "forbidden"})).ok()
    assert guest.user_id not in (await alice.get(f"v3/rooms/{room}/joined_members")).ok()["joined"]


async def test_what_guests_may_not(server: RunningHomeserver) -> None:
    guest = await guest_of(server)
    (await guest.get("v3/sync")).ok()
    (await guest.put(f"v3/profile/{escape(guest.user_id)}/displayname", {"displayname": "G"})).ok()
    avatar = await guest.put(f"v3/profile/{escape(guest.user_id)}/avatar_url", {"avatar_url": "mxc://a/b"})
    avatar.is_error(403, "M_GUEST_ACCESS_FORBIDDEN")
    for method, path in (
        ("POST", "v3/createRoom"),
        ("POST", "v3/account/password"),
        ("POST", "v1/login/get_token"),
        ("POST", "v3/user_directory/search"),
        ("PUT", f"v3/directory/room/{escape('#a:localhost')}"),
        ("GET", "v3/account/3pid"),
    ):
        (await guest.request(method, path, {} if method != "GET" else None)).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_a_guest_becomes_an_account(server: RunningHomeserver) -> None:
    guest = await guest_of(server)
    name = guest.user_id[1:].partition(":")[0]
    body = {
        "username": name,
        "password": PASSWORD,
        "guest_access_token": guest.token,
        "auth": {"type": "m.login.dummy"},
    }
    (await server.client().post("v3/register", {**body, "username": "other"})).is_error(403, "M_FORBIDDEN")
    (await server.client().post("v3/register", {**body, "guest_access_token": "no"})).is_error(403, "M_FORBIDDEN")
    session = (await server.client().post("v3/register", body)).ok()
    assert session["user_id"] == guest.user_id and session["device_id"] == guest.device_id
    upgraded = server.client(session["access_token"])
    assert (await upgraded.get("v3/account/whoami")).ok()["is_guest"] is False
    (await upgraded.post("v3/createRoom")).ok()
    (await guest.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")


async def test_no_guests_unless_configured(homeserver: RunningHomeserver, anyone: MatrixClient) -> None:
    (await anyone.post("v3/register?kind=guest")).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_locking(server: RunningHomeserver) -> None:
    root, alice = await server.register("root"), await server.register("alice")
    path = f"v1/admin/lock/{escape(alice.user_id)}"
    assert (await root.get(path)).ok() == {"locked": False}
    assert (await root.put(path, {"locked": True})).ok() == {"locked": True}
    answer = await alice.get("v3/sync")
    answer.is_error(401, "M_USER_LOCKED")
    assert answer.body["soft_logout"] is True
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    (await alice.post("v3/login", login)).is_error(401, "M_USER_LOCKED")
    (await alice.post("v3/login", {**login, "password": "not this one"})).is_error(403, "M_FORBIDDEN")
    (await root.put(path, {"locked": False})).ok()
    (await alice.get("v3/account/whoami")).ok()
    (await root.put(path, {"locked": True})).ok()
    (await alice.post("v3/logout")).ok()
    (await root.put(path, {"locked": False})).ok()
    (await alice.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")


async def test_suspension(server: RunningHomeserver) -> None:
    root, alice, bob = [await server.register(name) for name in ("root", "alice", "bob")]
    room = escape((await bob.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"])
    (await alice.post(f"v3/join/{room}")).ok()
    message = {"msgtype": "m.text", "body": "x"}
    own = (await alice.put(f"v3/rooms/{room}/send/m.room.message/1", message)).ok()["event_id"]
    others = (await bob.put(f"v3/rooms/{room}/send/m.room.message/1", message)).ok()["event_id"]
    (await root.put(f"v1/admin/suspend/{escape(alice.user_id)}", {"suspended": True})).ok()
    for method, path, body in (
        ("PUT", f"v3/rooms/{room}/send/m.room.message/2", message),
        ("PUT", f"v3/rooms/{room}/state/m.room.topic", {"topic": "x"}),
        ("POST", f"v3/rooms/{room}/join", {}),
        ("POST", f"v3/rooms/{room}/invite", {"user_id": "@x:localhost"}),
        ("POST", "v3/createRoom", {}),
        ("PUT", f"v3/profile/{escape(alice.user_id)}/displayname", {"displayname": "x"}),
        ("PUT", f"v3/rooms/{room}/redact/{escape(others)}/3", {}),
    ):
        (await alice.request(method, path, body)).is_error(403, "M_USER_SUSPENDED")
    (await alice.get("v3/sync")).ok()
    (await alice.get(f"v3/rooms/{room}/messages", dir="b")).ok()
    (await alice.put(f"v3/rooms/{room}/redact/{escape(own)}/4", {})).ok()
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    again = server.client((await alice.post("v3/login", login)).ok()["access_token"])
    (await again.post("v3/createRoom")).is_error(403, "M_USER_SUSPENDED")
    (await alice.post(f"v3/rooms/{room}/leave")).ok()
    (await root.put(f"v1/admin/suspend/{escape(alice.user_id)}", {"suspended": False})).ok()
    (await alice.post(f"v3/rooms/{room}/join")).ok()


async def test_only_administrators_may_and_not_to_each_other(server: RunningHomeserver) -> None:
    root, alice = await server.register("root"), await server.register("alice")
    for path, key in (("v1/admin/lock/", "locked"), ("v1/admin/suspend/", "suspended")):
        for user_id in (root.user_id, "@nobody:localhost", "@x:elsewhere", "odd"):
            (await alice.get(path + escape(user_id))).is_error(403, "M_FORBIDDEN")
            (await alice.put(path + escape(user_id), {key: True})).is_error(403, "M_FORBIDDEN")
        (await root.put(path + escape(root.user_id), {key: True})).is_error(403, "M_FORBIDDEN")
        (await root.get(path + escape("@nobody:localhost"))).is_error(404, "M_NOT_FOUND")
        (await root.get(path + escape("@x:elsewhere"))).is_error(400, "M_INVALID_PARAM")
        (await root.put(path + escape(alice.user_id), {})).is_error(400, "M_MISSING_PARAM")
        (await root.put(path + escape(alice.user_id), {key: "yes"})).is_error(400, "M_BAD_JSON")
    capabilities = (await root.get("v3/capabilities")).ok()["capabilities"]
    assert capabilities["m.account_moderation"] == {"suspend": True, "lock": True}
    assert "m.account_moderation" not in (await alice.get("v3/capabilities")).ok()["capabilities"]


async def test_who_is(server: RunningHomeserver) -> None:
    root, alice = await server.register("root"), await server.register("alice")
    path = f"v3/admin/whois/{escape(alice.user_id)}"
    for asking in (root, alice):
        devices = (await asking.get(path)).ok()["devices"]
        assert set(devices) == {alice.device_id}
    (await alice.get(f"v3/admin/whois/{escape(root.user_id)}")).is_error(403, "M_FORBIDDEN")
    connection = (await alice.get(path)).ok()["devices"][alice.device_id]["sessions"][0]["connections"][0]
    assert connection["ip"] == "127.0.0.1" and connection["last_seen"] > 0
