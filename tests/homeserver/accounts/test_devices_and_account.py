"""Devices, changing the password, and the end of an account."""

from __future__ import annotations

from typing import Any

from tests.homeserver.running import (
    PASSWORD,
    Answer,
    ManualClock,
    MatrixClient,
    RunningHomeserver,
    escape,
    make_config,
    running_homeserver,
)


async def with_password(client: MatrixClient, method: str, path: str, body: dict[str, Any], password: str) -> Answer:
    """Send the request twice: once to be challenged, once with the password."""
    challenge = await client.request(method, path, body)
    assert challenge.status == 401
    assert challenge.body["flows"] == [{"stages": ["m.login.password"]}]
    assert "errcode" not in challenge.body
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": client.user_id},
        "password": password,
        "session": challenge.body["session"],
    }
    return await client.request(method, path, {**body, "auth": auth})


async def second_session(server: RunningHomeserver, client: MatrixClient, name: str = "laptop") -> MatrixClient:
    body = {
        "type": "m.login.password",
        "user": client.user_id,
        "password": PASSWORD,
        "initial_device_display_name": name,
    }
    session = (await client.post("v3/login", body)).ok()
    other = server.client(session["access_token"])
    other.user_id, other.device_id = session["user_id"], session["device_id"]
    return other


async def test_devices_are_listed_read_and_renamed(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    other = await second_session(homeserver, alice)
    devices = {device["device_id"]: device for device in (await alice.get("v3/devices")).ok()["devices"]}
    assert set(devices) == {alice.device_id, other.device_id}
    assert devices[other.device_id]["display_name"] == "laptop"
    assert devices[alice.device_id]["last_seen_ip"] == "127.0.0.1"
    path = f"v3/devices/{other.device_id}"
    (await alice.put(path, {"display_name": "desk"})).ok()
    assert (await alice.get(path)).ok()["display_name"] == "desk"
    (await alice.put(path, {"display_name": "x" * 101})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"display_name": 5})).is_error(400, "M_BAD_JSON")
    (await alice.get("v3/devices/NOPE")).is_error(404, "M_NOT_FOUND")
    (await alice.put("v3/devices/NOPE", {"display_name": "x"})).is_error(404, "M_NOT_FOUND")


async def test_deleting_a_device_takes_the_password(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    other = await second_session(homeserver, alice)
    path = f"v3/devices/{other.device_id}"
    wrong = await with_password(alice, "DELETE", path, {}, "not the password")
    wrong.is_error(401, "M_FORBIDDEN")
    assert wrong.body["session"] and wrong.body["flows"]
    (await other.get("v3/account/whoami")).ok()
    (await with_password(alice, "DELETE", path, {}, PASSWORD)).ok()
    (await other.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    (await alice.get(path)).is_error(404, "M_NOT_FOUND")


async def test_deleting_many_devices(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    others = [await second_session(homeserver, alice) for _ in range(3)]
    body = {"devices": [others[0].device_id, others[1].device_id, "UNKNOWN"]}
    (await with_password(alice, "POST", "v3/delete_devices", body, PASSWORD)).ok()
    left = {device["device_id"] for device in (await alice.get("v3/devices")).ok()["devices"]}
    assert left == {alice.device_id, others[2].device_id}
    (await alice.post("v3/delete_devices", {"devices": [1]})).is_error(400, "M_BAD_JSON")
    (await alice.post("v3/delete_devices", {})).is_error(400, "M_MISSING_PARAM")


async def test_a_session_of_one_request_counts_for_no_other(homeserver, alice: MatrixClient) -> None:
    """A challenge passed for one path, or by another user, opens nothing else."""
    bob = await homeserver.register("bob")
    challenge = await alice.delete("v3/devices/A", {})
    auth = {"type": "m.login.password", "password": PASSWORD, "session": challenge.body["session"]}
    other_path = await alice.delete("v3/devices/B", {"auth": {"session": challenge.body["session"]}})
    assert other_path.status == 401 and other_path.body["session"] != challenge.body["session"]
    named = {**auth, "identifier": {"type": "m.id.user", "user": "bob"}}
    (await alice.delete("v3/devices/A", {"auth": named})).is_error(401, "M_FORBIDDEN")
    (await alice.delete("v3/devices/A", {"auth": {**auth, "type": "m.login.dummy"}})).is_error(401, "M_UNRECOGNIZED")
    (await bob.delete("v3/devices/A", {"auth": {**auth, "password": "wrong one"}})).is_error(401, "M_FORBIDDEN")
    (await alice.delete("v3/devices/A", {"auth": "x"})).is_error(400, "M_BAD_JSON")
    assert (await alice.delete("v3/devices/A")).body["flows"] == [{"stages": ["m.login.password"]}]


async def test_challenges_expire(tmp_path) -> None:
    clock = ManualClock()
    async with running_homeserver(make_config(tmp_path), clock=clock) as server:
        alice = await server.register("alice")
        first = (await alice.delete("v3/devices/A", {})).body["session"]
        assert (await alice.delete("v3/devices/A", {"auth": {"session": first}})).body["session"] == first
        clock.advance(16 * 60)
        assert (await alice.delete("v3/devices/A", {"auth": {"session": first}})).body["session"] != first


async def test_changing_the_password(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    other = await second_session(homeserver, alice)
    body = {"new_password": "another password", "logout_devices": False}
    (await with_password(alice, "POST", "v3/account/password", body, PASSWORD)).ok()
    (await other.get("v3/account/whoami")).ok()
    old = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    (await alice.post("v3/login", old)).is_error(403, "M_FORBIDDEN")
    (await alice.post("v3/login", {**old, "password": "another password"})).ok()
    body = {"new_password": "a third password"}
    (await with_password(alice, "POST", "v3/account/password", body, "another password")).ok()
    (await other.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    (await alice.get("v3/account/whoami")).ok()
    weak = await with_password(alice, "POST", "v3/account/password", {"new_password": "short"}, "a third password")
    weak.is_error(400, "M_WEAK_PASSWORD")


async def test_deactivating_ends_everything(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    bob = await homeserver.register("bob")
    room_id = (await bob.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await alice.post(f"v3/join/{escape(room_id)}")).ok()
    (await alice.put(f"v3/profile/{alice.user_id}/displayname", {"displayname": "Alice"})).ok()
    answer = await with_password(alice, "POST", "v3/account/deactivate", {}, PASSWORD)
    assert answer.ok() == {"id_server_unbind_result": "success"}
    (await alice.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    (await bob.post("v3/login", login)).is_error(403, "M_USER_DEACTIVATED")
    (await bob.get("v3/register/available", username="alice")).is_error(400, "M_USER_IN_USE")
    (await bob.get(f"v3/profile/{alice.user_id}")).is_error(404, "M_NOT_FOUND")
    members = (await bob.get(f"v3/rooms/{escape(room_id)}/joined_members")).ok()["joined"]
    assert set(members) == {bob.user_id}


async def test_third_party_ids_are_none(alice: MatrixClient) -> None:
    assert (await alice.get("v3/account/3pid")).ok() == {"threepids": []}


async def test_when_a_device_was_last_seen_survives_a_restart(tmp_path) -> None:
    config, clock = make_config(tmp_path), ManualClock()
    async with running_homeserver(config, clock=clock) as server:
        alice = await server.register("alice")
        (await alice.get("v3/account/whoami")).ok()
    async with running_homeserver(config, clock=ManualClock(clock.ms + 60_000)) as server:
        bob = await server.register("bob")
        assert bob.token
        row = server.services.accounts.find_device(alice.user_id, alice.device_id)
        assert row is not None and row["last_seen_ts"] == clock.ms
