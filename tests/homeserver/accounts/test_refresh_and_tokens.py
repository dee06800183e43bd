"""Refresh tokens, login tokens, registration tokens and OpenID tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.accounts.test_devices_and_account import with_password
from tests.homeserver.running import (
    PASSWORD,
    ManualClock,
    MatrixClient,
    RunningHomeserver,
    make_config,
    running_homeserver,
)

from thingroom_homeserver.config_accounts import RegistrationSteps, TermsPolicy, TokenLifetimes

LIFETIMES = TokenLifetimes(access=300, refresh=3600)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server(tmp_path: Path, clock: ManualClock):
    async with running_homeserver(make_config(tmp_path / "hs", token_lifetimes=LIFETIMES), clock=clock) as running:
        yield running


async def sign_in(server: RunningHomeserver, name: str = "alice", **extra: Any) -> dict[str, Any]:
    body = {"type": "m.login.password", "user": name, "password": PASSWORD, "refresh_token": True, **extra}
    return (await server.client().post("v3/login", body)).ok()


async def refresh(server: RunningHomeserver, token: str) -> dict[str, Any]:
    return (await server.client().post("v3/refresh", {"refresh_token": token})).ok()


async def test_only_clients_that_ask_get_tokens_that_end(server: RunningHomeserver, clock: ManualClock) -> None:
    alice = await server.register("alice")
    session = await sign_in(server)
    assert session["expires_in_ms"] == 300_000 and session["refresh_token"] != session["access_token"]
    clock.advance(301)
    (await alice.get("v3/account/whoami")).ok()
    answer = await server.client(session["access_token"]).get("v3/account/whoami")
    answer.is_error(401, "M_UNKNOWN_TOKEN")
    assert answer.body["soft_logout"] is True
    fresh = await refresh(server, session["refresh_token"])
    assert (await server.client(fresh["access_token"]).get("v3/account/whoami")).ok()["device_id"] == session[
        "device_id"
    ]


async def test_the_old_token_is_good_until_the_new_one_is_used(server: RunningHomeserver) -> None:
    await server.register("alice")
    session = await sign_in(server)
    lost = await refresh(server, session["refresh_token"])
    again = await refresh(server, session["refresh_token"])
    (await server.client(lost["access_token"]).get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    (await server.client(session["access_token"]).get("v3/account/whoami")).ok()
    (await server.client(again["access_token"]).get("v3/account/whoami")).ok()
    await server.services.authentication.save_last_seen()
    (await server.client(session["access_token"]).get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    reused = await server.client().post("v3/refresh", {"refresh_token": session["refresh_token"]})
    reused.is_error(401, "M_UNKNOWN_TOKEN")
    assert reused.body["soft_logout"] is True
    (await server.client(again["access_token"]).get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    (await server.client().post("v3/refresh", {"refresh_token": again["refresh_token"]})).is_error(
        401, "M_UNKNOWN_TOKEN"
    )


async def test_a_chain_of_refreshes_without_using_access_tokens(server: RunningHomeserver, clock: ManualClock) -> None:
    await server.register("alice")
    first = await sign_in(server)
    second = await refresh(server, first["refresh_token"])
    third = await refresh(server, second["refresh_token"])
    clock.advance(30)
    (await server.client(third["access_token"]).get("v3/account/whoami")).ok()
    await server.services.authentication.save_last_seen()
    fourth = await refresh(server, third["refresh_token"])
    (await server.client(fourth["access_token"]).get("v3/account/whoami")).ok()


async def test_refresh_tokens_end_and_go_with_the_device(server: RunningHomeserver, clock: ManualClock) -> None:
    await server.register("alice")
    session = await sign_in(server)
    clock.advance(3601)
    late = await server.client().post("v3/refresh", {"refresh_token": session["refresh_token"]})
    late.is_error(401, "M_UNKNOWN_TOKEN")
    assert late.body["soft_logout"] is True
    session = await sign_in(server, device_id=session["device_id"])
    (await server.client(session["access_token"]).post("v3/logout")).ok()
    gone = await server.client().post("v3/refresh", {"refresh_token": session["refresh_token"]})
    gone.is_error(401, "M_UNKNOWN_TOKEN")
    assert not gone.body.get("soft_logout")
    (await server.client().post("v3/refresh", {"refresh_token": ""})).is_error(401, "M_UNKNOWN_TOKEN")
    (await server.client().post("v3/refresh", {})).is_error(400, "M_MISSING_PARAM")


async def test_a_login_token_signs_in_once_and_briefly(server: RunningHomeserver, clock: ManualClock) -> None:
    alice = await server.register("alice")

    async def make() -> str:
        answer = (await with_password(alice, "POST", "v1/login/get_token", {}, PASSWORD)).ok()
        assert answer["expires_in_ms"] == 120_000
        return answer["login_token"]

    token = await make()
    body = {"type": "m.login.token", "token": token}
    assert (await server.client().post("v3/login", body)).ok()["user_id"] == alice.user_id
    (await server.client().post("v3/login", body)).is_error(403, "M_FORBIDDEN")
    token = await make()
    clock.advance(121)
    (await server.client().post("v3/login", {**body, "token": token})).is_error(403, "M_FORBIDDEN")
    (await server.client().post("v1/login/get_token")).is_error(401, "M_MISSING_TOKEN")


async def test_openid_tokens_prove_a_name_and_nothing_else(server: RunningHomeserver, clock: ManualClock) -> None:
    alice = await server.register("alice")
    token = (await alice.post(f"v3/user/{alice.user_id}/openid/request_token")).ok()
    assert (token["token_type"], token["matrix_server_name"], token["expires_in"]) == ("Bearer", "localhost", 3600)
    assert server.services.short_tokens.openid_user(token["access_token"]) == alice.user_id
    (await server.client(token["access_token"]).get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    as_login = {"type": "m.login.token", "token": token["access_token"]}
    (await server.client().post("v3/login", as_login)).is_error(403, "M_FORBIDDEN")
    clock.advance(3601)
    assert server.services.short_tokens.openid_user(token["access_token"]) is None
    (await alice.post("v3/user/@bob:localhost/openid/request_token")).is_error(403, "M_FORBIDDEN")


async def test_registration_tokens_have_uses_and_an_end(tmp_path: Path, clock: ManualClock) -> None:
    terms = TermsPolicy(id="terms", version="1", name="Terms", url="https://example.org/terms")
    config = make_config(tmp_path / "hs", registration_steps=RegistrationSteps(token=True, terms=(terms,)))
    async with running_homeserver(config, clock=clock) as server:
        anyone, tokens = server.client(), server.services.registration_tokens
        assert await tokens.make("once", uses=1) == "once"
        assert await tokens.make("brief", seconds=60) == "brief"
        assert not isinstance(await tokens.make("a b"), str) and not isinstance(await tokens.make("once"), str)

        async def valid(token: str) -> bool:
            path = "v1/register/m.login.registration_token/validity"
            return (await anyone.get(path, token=token)).ok()["valid"]

        async def register(name: str, token: Any) -> Any:
            body = {"username": name, "password": PASSWORD}
            first = await anyone.post("v3/register", body)
            assert first.body["flows"] == [{"stages": ["m.login.registration_token", "m.login.terms"]}]
            assert first.body["params"]["m.login.terms"]["policies"]["terms"]["en"]["name"] == "Terms"
            session = first.body["session"]
            auth = {"type": "m.login.registration_token", "token": token, "session": session}
            second = await anyone.post("v3/register", {**body, "auth": auth})
            if "errcode" in second.body:
                return second
            assert second.body["completed"] == ["m.login.registration_token"]
            return await anyone.post("v3/register", {**body, "auth": {"type": "m.login.terms", "session": session}})

        assert await valid("once") and not await valid("nope")
        (await register("alice", "once")).ok()
        assert not await valid("once")
        (await register("bob", "once")).is_error(401, "M_FORBIDDEN")
        (await register("bob", 5)).is_error(401, "M_MISSING_PARAM")
        assert await valid("brief")
        clock.advance(61)
        assert not await valid("brief")
        assert [row["used"] for row in tokens.list_all()] == [1, 0]


async def test_a_token_for_one_account_does_not_make_two(tmp_path: Path) -> None:
    config = make_config(tmp_path / "hs", registration_steps=RegistrationSteps(token=True))
    async with running_homeserver(config) as server:
        await server.services.registration_tokens.make("once", uses=1)
        first, second = server.client(), server.client()
        sessions = []
        for client, name in ((first, "alice"), (second, "bob")):
            answer = await client.post("v3/register", {"username": name})
            auth = {"type": "m.login.registration_token", "token": "once", "session": answer.body["session"]}
            sessions.append((client, {"username": name, "password": PASSWORD, "auth": auth}))
        results = [await client.post("v3/register", body) for client, body in sessions]
        assert sorted(result.status for result in results) == [200, 401]


async def test_a_session_of_proof_is_good_for_its_request_only(server: RunningHomeserver) -> None:
    alice = await server.register("alice")
    bob = await server.register("bob")
    challenge = await alice.post("v3/delete_devices", {"devices": ["A"]})
    session = challenge.body["session"]
    auth = {"type": "m.login.password", "password": PASSWORD, "session": session}
    other = await alice.post("v1/login/get_token", {"auth": {"session": session}})
    assert other.status == 401 and other.body["session"] != session
    stolen = await bob.post("v3/delete_devices", {"devices": ["A"], "auth": {"session": session}})
    assert stolen.status == 401 and stolen.body["session"] != session
    (await alice.post("v3/delete_devices", {"devices": ["A"], "auth": auth})).ok()
    replayed = await alice.post("v3/delete_devices", {"devices": ["B"], "auth": {"session": session}})
    assert replayed.status == 401 and replayed.body["session"] != session


async def test_guessing_is_limited(tmp_path: Path) -> None:
    config = make_config(tmp_path / "hs", rate_limits=True)
    async with running_homeserver(config, clock=ManualClock()) as server:
        anyone = server.client()
        path = "v1/register/m.login.registration_token/validity"
        statuses = [(await anyone.get(path, token=f"guess{n}")).status for n in range(12)]
        assert statuses[:10] == [200] * 10 and statuses[10:] == [429] * 2
        tries = [(await anyone.post("v3/refresh", {"refresh_token": f"x{n}"})).status for n in range(22)]
        assert tries.count(401) == 20 and tries.count(429) == 2


async def test_the_server_says_that_it_has_no_oauth(anyone: MatrixClient) -> None:
    (await anyone.get("v1/auth_metadata")).is_error(404, "M_UNRECOGNIZED")
    (await anyone.get("unstable/org.matrix.msc2965/auth_metadata")).is_error(404, "M_UNRECOGNIZED")
