"""Making accounts, logging in and out, and who a token is."""

from __future__ import annotations

import asyncio

import pytest
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, make_config, running_homeserver


async def log_in(client: MatrixClient, user: str, password: str = PASSWORD, **extra: object):
    identifier = {"type": "m.id.user", "user": user}
    return await client.post(
        "v3/login", {"type": "m.login.password", "identifier": identifier, "password": password, **extra}
    )


async def test_registration_asks_for_a_stage_then_logs_in(anyone: MatrixClient) -> None:
    body = {"username": "carol", "password": PASSWORD, "initial_device_display_name": "phone"}
    challenge = await anyone.post("v3/register", body)
    assert challenge.status == 401
    assert challenge.body["flows"] == [{"stages": ["m.login.dummy"]}]
    auth = {"type": "m.login.dummy", "session": challenge.body["session"]}
    session = (await anyone.post("v3/register", {**body, "auth": auth})).ok()
    assert session["user_id"] == "@carol:localhost"
    anyone.token = session["access_token"]
    assert (await anyone.get("v3/account/whoami")).ok() == {
        "user_id": "@carol:localhost",
        "device_id": session["device_id"],
        "is_guest": False,
    }


async def test_registration_without_login(anyone: MatrixClient) -> None:
    body = {"username": "carol", "password": PASSWORD, "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
    answer = (await anyone.post("v3/register", body)).ok()
    assert answer["user_id"] == "@carol:localhost"
    assert "access_token" not in answer
    assert (await log_in(anyone, "carol")).status == 200


async def test_registration_without_a_name_makes_one(anyone: MatrixClient) -> None:
    answer = await anyone.post("v3/register", {"password": PASSWORD, "auth": {"type": "m.login.dummy"}})
    assert answer.ok()["user_id"].endswith(":localhost")


@pytest.mark.parametrize("username", ["Alice", "a b", "", "@x:localhost", "ü", "x" * 250])
async def test_bad_usernames_are_refused(anyone: MatrixClient, username: str) -> None:
    (await anyone.post("v3/register", {"username": username, "password": PASSWORD})).is_error(400, "M_INVALID_USERNAME")
    (await anyone.get("v3/register/available", username=username)).is_error(400, "M_INVALID_USERNAME")


async def test_a_taken_name_is_refused_before_authentication(alice: MatrixClient, anyone: MatrixClient) -> None:
    (await anyone.post("v3/register", {"username": "alice", "password": PASSWORD})).is_error(400, "M_USER_IN_USE")
    (await anyone.get("v3/register/available", username="alice")).is_error(400, "M_USER_IN_USE")
    assert (await anyone.get("v3/register/available", username="free")).ok() == {"available": True}
    (await anyone.get("v3/register/available")).is_error(400, "M_MISSING_PARAM")


async def test_a_weak_or_missing_password_is_refused(anyone: MatrixClient) -> None:
    auth = {"type": "m.login.dummy"}
    (await anyone.post("v3/register", {"username": "w", "password": "short", "auth": auth})).is_error(
        400, "M_WEAK_PASSWORD"
    )
    (await anyone.post("v3/register", {"username": "w", "auth": auth})).is_error(400, "M_MISSING_PARAM")
    (await anyone.post("v3/register", {"username": 5, "auth": auth})).is_error(400, "M_BAD_JSON")


async def test_guests_are_refused(anyone: MatrixClient) -> None:
    (await anyone.post("v3/register", kind="guest")).is_error(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_registration_is_off_by_default(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path, registration="off")) as server:
        body = {"username": "x", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        (await server.client().post("v3/register", body)).is_error(403, "M_FORBIDDEN")


async def test_login_flows(anyone: MatrixClient) -> None:
    types = [flow["type"] for flow in (await anyone.get("v3/login")).ok()["flows"]]
    assert types == ["m.login.password", "m.login.token", "m.login.application_service"]


async def test_login_with_localpart_and_with_user_id(alice: MatrixClient, anyone: MatrixClient) -> None:
    for user in ("alice", "@alice:localhost"):
        session = (await log_in(anyone, user)).ok()
        assert session["user_id"] == "@alice:localhost"
    old_form = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    assert (await anyone.post("v3/login", old_form)).status == 200


async def test_wrong_logins(alice: MatrixClient, anyone: MatrixClient) -> None:
    (await log_in(anyone, "alice", "wrong password")).is_error(403, "M_FORBIDDEN")
    (await log_in(anyone, "nobody")).is_error(403, "M_FORBIDDEN")
    (await log_in(anyone, "alice", "x" * 10_000)).is_error(403, "M_FORBIDDEN")
    (await anyone.post("v3/login", {"type": "m.login.token", "token": "x"})).is_error(403, "M_FORBIDDEN")
    (await anyone.post("v3/login", {"type": "m.login.odd"})).is_error(400, "M_UNKNOWN")
    (await anyone.post("v3/login", {"type": "m.login.password", "user": "alice"})).is_error(400, "M_MISSING_PARAM")
    (await anyone.post("v3/login", {})).is_error(400, "M_MISSING_PARAM")
    (await anyone.post("v3/login", b"{")).is_error(400, "M_NOT_JSON")
    (await anyone.post("v3/login", b"[]")).is_error(400, "M_BAD_JSON")


async def test_logging_in_on_a_known_device_ends_its_old_token(alice: MatrixClient, anyone: MatrixClient) -> None:
    session = (await log_in(anyone, "alice", device_id=alice.device_id)).ok()
    assert session["device_id"] == alice.device_id
    (await alice.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    alice.token = session["access_token"]
    (await alice.get("v3/account/whoami")).ok()


async def test_logout_ends_one_session_and_logout_all_every_one(alice: MatrixClient, homeserver) -> None:
    other = homeserver.client((await log_in(alice, "alice")).ok()["access_token"])
    third = homeserver.client((await log_in(alice, "alice")).ok()["access_token"])
    assert (await other.request("POST", "v3/logout")).ok() == {}
    (await other.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    (await third.get("v3/account/whoami")).ok()
    assert (await alice.request("POST", "v3/logout/all")).ok() == {}
    for client in (alice, third):
        (await client.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")


async def test_missing_and_unknown_tokens(homeserver: RunningHomeserver) -> None:
    (await homeserver.client().get("v3/account/whoami")).is_error(401, "M_MISSING_TOKEN")
    answer = await homeserver.client("thr_nonsense").get("v3/account/whoami")
    answer.is_error(401, "M_UNKNOWN_TOKEN")
    assert answer.body["soft_logout"] is False


async def test_accounts_and_sessions_survive_a_restart(tmp_path) -> None:
    config = make_config(tmp_path)
    async with running_homeserver(config) as server:
        alice = await server.register("alice")
    async with running_homeserver(config) as server:
        assert (await server.client(alice.token).get("v3/account/whoami")).ok()["user_id"] == "@alice:localhost"
        assert (await log_in(server.client(), "alice")).status == 200


async def test_the_database_holds_neither_tokens_nor_passwords(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path)) as server:
        alice = await server.register("alice")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert alice.token is not None and alice.token.encode() not in stored
    assert PASSWORD.encode() not in stored


async def test_wrong_passwords_run_out(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path, rate_limits=True)) as server:
        client = await server.register("alice")
        answers = [await log_in(client, "alice", "wrong password") for _ in range(12)]
        assert [answer.status for answer in answers[:10]] == [403] * 10
        answers[-1].is_error(429, "M_LIMIT_EXCEEDED")
        assert answers[-1].body["retry_after_ms"] > 0
        assert int(answers[-1].headers["Retry-After"]) >= 1
        (await log_in(client, "alice")).is_error(429, "M_LIMIT_EXCEEDED")


async def test_wrong_passwords_sent_at_once_count_too(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path, rate_limits=True)) as server:
        client = await server.register("alice")
        answers = await asyncio.gather(*(log_in(client, "alice", "wrong password") for _ in range(15)))
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [403] * 10 + [429] * 5


async def test_right_passwords_cost_no_tries(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path, rate_limits=True)) as server:
        client = await server.register("alice")
        for _ in range(15):
            (await log_in(client, "alice")).ok()
