"""Registration files; acting as a ghost; what belongs to an application service alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.app_service import AS_TOKEN, as_client, make_ghost, registration, write_registration
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.accounts.appservices import load_appservices

OTHER = {"id": "other", "as_token": "another token", "sender_localpart": "otherbot", "namespaces": {}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    files = (write_registration(tmp_path, None), write_registration(tmp_path, None, **OTHER))
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as running:
        yield running


@pytest.fixture
def bridge(server: RunningHomeserver) -> MatrixClient:
    return as_client(server)


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


YAML = """
id: "IRC Bridge"
url: "http://127.0.0.1:1234/"
as_token: "30c05ae9"
hs_token: "312df522"
sender_localpart: "_irc_bot" # Will result in @_irc_bot:example.org
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
org.example.extra: 1
"""


def test_a_yaml_file_as_in_the_specification(tmp_path: Path) -> None:
    appservices = load_appservices([write(tmp_path, "irc.yaml", YAML)], "example.org")
    (appservice,) = appservices
    assert appservice.id == "IRC Bridge"
    assert appservice.url == "http://127.0.0.1:1234"
    assert appservice.sender == "@_irc_bot:example.org"
    assert appservice.rate_limited is True
    assert appservice.covers_user("@_irc_bridge_x:example.org")
    assert not appservice.covers_user("@_irc_bridge_x:elsewhere.org")
    assert appservices.owner_of_user("@_irc_bridge_x:example.org") == "IRC Bridge"
    assert appservices.owner_of_user("@_irc_bot:example.org") == "IRC Bridge"
    assert appservices.owner_of_user("@alice:example.org") is None
    assert appservices.owner_of_alias("#_irc_bridge_x:example.org") is None
    assert "30c05ae9" not in repr(appservice) and "312df522" not in repr(appservice)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "flow node"),
        ("id: x", "missing"),
        (YAML.replace('"@_irc_bridge_.*"', '"@("'), "unterminated|missing"),
        (YAML.replace('"_irc_bot"', '"Not Valid"'), "sender_localpart"),
        (YAML.replace('"30c05ae9"', '""'), "as_token"),
        (YAML.replace("http://127.0.0.1:1234/", "ftp://x"), "url"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_appservices([write(tmp_path, "irc.yaml", text)], "example.org")


def test_ids_and_tokens_must_differ(tmp_path: Path) -> None:
    first = write_registration(tmp_path, None)
    for changes in ({"id": "two"}, {"as_token": "two"}):
        second = write(tmp_path, "second.json", json.dumps(registration(None, **changes)))
        with pytest.raises(ConfigError, match="same id or as_token"):
            load_appservices([first, second], "localhost")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_appservices([str(tmp_path / "none.yaml")], "localhost")


async def test_the_token_alone_acts_as_the_sender(bridge: MatrixClient) -> None:
    assert (await bridge.get("v3/account/whoami")).ok() == {"user_id": "@thingbot:localhost", "is_guest": False}


async def test_ghosts_are_registered_and_acted_for(bridge: MatrixClient) -> None:
    (await bridge.get("v3/account/whoami", user_id="@thing_a:localhost")).is_error(403, "M_FORBIDDEN")
    ghost = await make_ghost(bridge, "thing_a")
    assert (await bridge.get("v3/account/whoami", user_id=ghost)).ok()["user_id"] == ghost
    (await bridge.put(f"v3/profile/{escape(ghost)}/displayname", {"displayname": "A"}, user_id=ghost)).ok()
    again = {"type": "m.login.application_service", "username": "thing_a"}
    (await bridge.post("v3/register", again)).is_error(400, "M_USER_IN_USE")


async def test_ghosts_outside_of_the_namespace(server: RunningHomeserver, bridge: MatrixClient) -> None:
    alice = await server.register("alice")
    (await bridge.get("v3/account/whoami", user_id=alice.user_id)).is_error(403, "M_FORBIDDEN")
    (await bridge.get("v3/account/whoami", user_id="@thing_a:elsewhere.example")).is_error(403, "M_FORBIDDEN")
    body: dict[str, Any] = {"type": "m.login.application_service", "username": "carol"}
    (await bridge.post("v3/register", body)).is_error(400, "M_EXCLUSIVE")
    (await bridge.post("v3/login", {**body, "identifier": {"type": "m.id.user", "user": "alice"}})).is_error(
        400, "M_EXCLUSIVE"
    )


async def test_people_keep_out_of_exclusive_namespaces(server: RunningHomeserver, bridge: MatrixClient) -> None:
    body = {"username": "thing_mine", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    (await server.client().post("v3/register", body)).is_error(400, "M_EXCLUSIVE")
    (await server.client().post("v3/register", {**body, "username": "otherbot"})).is_error(400, "M_EXCLUSIVE")
    (await server.client().get("v3/register/available", username="thing_mine")).is_error(400, "M_EXCLUSIVE")
    alice = await server.register("alice")
    room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    path = f"v3/directory/room/{escape('#thing_kitchen:localhost')}"
    (await alice.put(path, {"room_id": room_id})).is_error(400, "M_EXCLUSIVE")
    taken = await alice.post("v3/createRoom", {"room_alias_name": "thing_kitchen"})
    assert taken.status == 400
    (await bridge.put(path, {"room_id": room_id})).ok()
    (await alice.delete(path)).is_error(400, "M_EXCLUSIVE")
    (await bridge.put(f"v3/directory/room/{escape('#other:localhost')}", {"room_id": room_id})).is_error(
        400, "M_EXCLUSIVE"
    )
    (await bridge.delete(path)).ok()


async def test_logging_in_for_a_ghost(server: RunningHomeserver, bridge: MatrixClient) -> None:
    body = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": "thing_a"}}
    (await bridge.post("v3/login", body)).is_error(403, "M_FORBIDDEN")
    ghost = await make_ghost(bridge, "thing_a")
    session = (await bridge.post("v3/login", body)).ok()
    client = server.client(session["access_token"])
    assert (await client.get("v3/account/whoami")).ok()["user_id"] == ghost
    (await server.client().post("v3/login", body)).is_error(401, "M_MISSING_TOKEN")
    (await server.client("nonsense").post("v3/login", body)).is_error(401, "M_UNKNOWN_TOKEN")
    register = {"type": "m.login.application_service", "username": "thing_b"}
    (await client.post("v3/register", register)).is_error(401, "M_UNKNOWN_TOKEN")
    (await server.client().post("v3/register", register)).is_error(401, "M_MISSING_TOKEN")
    password = {"type": "m.login.password", "user": "thing_a", "password": PASSWORD}
    (await server.client().post("v3/login", password)).is_error(403, "M_FORBIDDEN")


async def test_devices_of_ghosts(bridge: MatrixClient) -> None:
    ghost = await make_ghost(bridge, "thing_a")
    unknown = await bridge.get("v3/account/whoami", user_id=ghost, device_id="D1")
    unknown.is_error(400, "M_UNKNOWN_DEVICE")
    (await bridge.post("v3/keys/upload", {}, user_id=ghost)).is_error(400, "M_UNKNOWN_DEVICE")
    made = await bridge.put("v3/devices/D1", {"display_name": "sensor"}, user_id=ghost)
    assert (made.status, made.body) == (201, {})
    whoami = (await bridge.get("v3/account/whoami", user_id=ghost, device_id="D1")).ok()
    assert whoami["device_id"] == "D1"
    (await bridge.post("v3/keys/upload", {"one_time_keys": {"a:b": "k"}}, user_id=ghost, device_id="D1")).ok()
    (await bridge.delete("v3/devices/D1", user_id=ghost)).ok()
    (await bridge.get("v3/account/whoami", user_id=ghost, device_id="D1")).is_error(400, "M_UNKNOWN_DEVICE")


async def test_the_time_of_an_event_is_set_where_the_specification_allows(bridge: MatrixClient) -> None:
    ghost = await make_ghost(bridge, "thing_a")
    room_id = (await bridge.post("v3/createRoom", {}, user_id=ghost)).ok()["room_id"]
    base = f"v3/rooms/{escape(room_id)}"
    body = {"msgtype": "m.notice", "body": "21 °C"}
    sent = await bridge.put(f"{base}/send/m.room.message/1", body, user_id=ghost, ts=1_000_000_000_000)
    event = (await bridge.get(f"{base}/event/{escape(sent.ok()['event_id'])}", user_id=ghost)).ok()
    assert (event["origin_server_ts"], event["sender"]) == (1_000_000_000_000, ghost)
    state = await bridge.put(f"{base}/state/org.example/key", {"a": 1}, user_id=ghost, ts=1_000_000_000_001)
    event = (await bridge.get(f"{base}/event/{escape(state.ok()['event_id'])}", user_id=ghost)).ok()
    assert event["origin_server_ts"] == 1_000_000_000_001
    for ts in ("soon", "-1", "1.5", str(2**53), ""):
        bad = await bridge.put(f"{base}/send/m.room.message/2", body, user_id=ghost, ts=ts)
        bad.is_error(400, "M_INVALID_PARAM")


async def test_people_cannot_act_for_others_or_set_times(server: RunningHomeserver, bridge: MatrixClient) -> None:
    ghost = await make_ghost(bridge, "thing_a")
    alice = await server.register("alice")
    assert (await alice.get("v3/account/whoami", user_id=ghost)).ok()["user_id"] == alice.user_id
    room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/1"
    sent = (await alice.put(path, {"msgtype": "m.text", "body": "x"}, ts=1_000_000_000_000)).ok()
    event = (await alice.get(f"v3/rooms/{escape(room_id)}/event/{escape(sent['event_id'])}")).ok()
    assert event["origin_server_ts"] != 1_000_000_000_000


async def test_limits_spare_what_the_registration_spares(tmp_path: Path) -> None:
    limited = {**OTHER, "rate_limited": True, "namespaces": {"users": [{"regex": "@slow_.*"}]}}
    files = (write_registration(tmp_path, None), write_registration(tmp_path, None, **limited))
    config = make_config(tmp_path / "data", appservice_files=files, rate_limits=True)
    async with running_homeserver(config) as server:
        free, slow = as_client(server), server.client("another token")
        for number in range(30):
            await make_ghost(free, f"thing_{number}")
        ghost = await make_ghost(slow, "slow_a")
        path = f"v3/profile/{escape(ghost)}/displayname"
        statuses = {(await slow.put(path, {"displayname": str(n)}, user_id=ghost)).status for n in range(25)}
        assert statuses == {200, 429}
        # Its own user is not limited.
        path = f"v3/profile/{escape('@otherbot:localhost')}/displayname"
        assert {(await slow.put(path, {"displayname": str(n)})).status for n in range(25)} == {200}


async def test_ghosts_survive_a_restart_and_the_sender_is_not_made_twice(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", appservice_files=(write_registration(tmp_path, None),))
    async with running_homeserver(config) as server:
        ghost = await make_ghost(as_client(server), "thing_a")
    async with running_homeserver(config) as server:
        assert (await as_client(server).get("v3/account/whoami", user_id=ghost)).ok()["user_id"] == ghost
        (await as_client(server).get("v3/account/whoami")).ok()


async def test_the_database_does_not_hold_the_tokens(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", appservice_files=(write_registration(tmp_path, None),))
    async with running_homeserver(config) as server:
        await make_ghost(as_client(server), "thing_a")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert AS_TOKEN.encode() not in stored


async def test_a_library_names_the_ghost_also_where_it_is_made(bridge: MatrixClient) -> None:
    body = {"type": "m.login.application_service", "username": "thing_new", "inhibit_login": True}
    made = await bridge.post("v3/register", body, user_id="@thing_new:localhost")
    assert made.ok()["user_id"] == "@thing_new:localhost"
    login = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": "thing_new"}}
    assert (await bridge.post("v3/login", login, user_id="@thing_other:localhost")).ok()["user_id"] == made.body[
        "user_id"
    ]


async def test_application_services_keep_out_of_each_others_exclusive_namespaces(tmp_path: Path) -> None:
    everything = {"users": [{"regex": "@.*"}], "aliases": [{"regex": "#.*"}], "rooms": []}
    files = (
        write_registration(tmp_path, None),
        write_registration(tmp_path, None, **OTHER | {"namespaces": everything}),
    )
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
        bridge, other = as_client(server), server.client("another token")
        body = {"type": "m.login.application_service", "inhibit_login": True}
        (await other.post("v3/register", body | {"username": "thing_a"})).is_error(400, "M_EXCLUSIVE")
        (await other.post("v3/register", body | {"username": "thingbot"})).is_error(400, "M_EXCLUSIVE")
        (await other.post("v3/register", body | {"username": "anybody"})).ok()
        room_id = (await other.post("v3/createRoom", {})).ok()["room_id"]
        alias = {name: f"v3/directory/room/{escape(f'#{name}:localhost')}" for name in ("thing_hall", "hall")}
        (await other.put(alias["thing_hall"], {"room_id": room_id})).is_error(400, "M_EXCLUSIVE")
        (await other.post("v3/createRoom", {"room_alias_name": "thing_hall"})).is_error(400, "M_EXCLUSIVE")
        (await bridge.put(alias["thing_hall"], {"room_id": room_id})).ok()
        (await other.delete(alias["thing_hall"])).is_error(400, "M_EXCLUSIVE")
        (await other.put(alias["hall"], {"room_id": room_id})).ok()


async def test_who_manages_devices_does_not_log_in(tmp_path: Path) -> None:
    files = (write_registration(tmp_path, None, **{"io.element.msc4190": True}),)
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
        bridge = as_client(server)
        body = {"type": "m.login.application_service", "username": "thing_a"}
        (await bridge.post("v3/register", body)).is_error(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
        ghost = await make_ghost(bridge, "thing_a")
        login = {"type": "m.login.application_service", "identifier": {"type": "m.id.user", "user": "thing_a"}}
        (await bridge.post("v3/login", login)).is_error(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
        assert (await bridge.put("v3/devices/LAMP", {}, user_id=ghost)).status == 201
        for name in ("device_id", "org.matrix.msc3202.device_id"):
            acting = {"user_id": ghost, name: "LAMP"}
            assert (await bridge.get("v3/account/whoami", **acting)).ok()["device_id"] == "LAMP"
            (await bridge.get("v3/account/whoami", **acting | {name: "NONE"})).is_error(400, "M_UNKNOWN_DEVICE")
        (await bridge.delete("v3/devices/LAMP", user_id=ghost)).ok()
        (await bridge.get("v3/account/whoami", user_id=ghost, device_id="LAMP")).is_error(400, "M_UNKNOWN_DEVICE")
