"""Signing in through a CAS server: a real one in what it speaks, scripted in whom it knows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.running import PASSWORD, ManualClock, RunningHomeserver, make_config, running_homeserver

from thingroom_homeserver.accounts.cas import parse_service_response
from thingroom_homeserver.accounts.external_ids import localpart_for
from thingroom_homeserver.client_api.single_sign_on_state import _is_below, is_possible_redirect, with_login_token
from thingroom_homeserver.config_accounts import Cas

APP = "https://app.example.org/login?keep=1&loginToken=old"


class CasDouble:
    """Gives a ticket to whoever asks for one as `user`, and validates it once and for its service only."""

    def __init__(self) -> None:
        self.user = "Alice"
        self.tickets: dict[str, tuple[str, str]] = {}
        self.url = ""
        self.answer: str | None = None

    async def log_in(self, request: web.Request) -> web.Response:
        service = request.query["service"]
        ticket = f"ST-{len(self.tickets)}"
        self.tickets[ticket] = (service, self.user)
        return web.Response(status=302, headers={"Location": f"{service}&ticket={ticket}"})

    async def validate(self, request: web.Request) -> web.Response:
        service, user = self.tickets.pop(request.query.get("ticket", ""), ("", ""))
        inner = '<cas:authenticationFailure code="INVALID_TICKET">no</cas:authenticationFailure>'
        if user and service == request.query["service"]:
            inner = f"<cas:authenticationSuccess><cas:user>{user}</cas:user></cas:authenticationSuccess>"
        text = f"<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'>{inner}</cas:serviceResponse>"
        return web.Response(text=self.answer or text, content_type="application/xml")


@pytest.fixture
async def cas() -> AsyncIterator[CasDouble]:
    double, app = CasDouble(), web.Application()
    app.router.add_get("/cas/login", double.log_in)
    app.router.add_get("/cas/serviceValidate", double.validate)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    double.url = f"http://127.0.0.1:{runner.addresses[0][1]}/cas"
    yield double
    await runner.cleanup()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server(tmp_path: Path, cas: CasDouble, clock: ManualClock, unused_tcp_port: int):
    config = make_config(
        tmp_path / "hs",
        cas=Cas(server_url=cas.url),
        public_base_url=f"http://127.0.0.1:{unused_tcp_port}",
        trusted_client_urls=("https://app.example.org/",),
    )
    async with running_homeserver(config, clock=clock, port=unused_tcp_port) as running:
        yield running


class Browser:
    """Keeps cookies, does not run scripts, follows redirects one at a time."""

    def __init__(self) -> None:
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def get(self, url: str) -> tuple[int, str, str]:
        """Status, Location and text."""
        async with self.http.get(url, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def sign_on(self, start: str) -> tuple[int, str, str]:
        """From the homeserver to CAS and back."""
        status, at_cas, text = await self.get(start)
        assert status == 302, text
        status, back, text = await self.get(at_cas)
        assert status == 302, text
        return await self.get(back)


def start_url(server: RunningHomeserver, redirect: str = APP, kind: str = "sso") -> str:
    return f"{server.base_url}/_matrix/client/v3/login/{kind}/redirect?redirectUrl={quote(redirect, safe='')}"


async def log_in_with(server: RunningHomeserver, url: str) -> Any:
    (token,) = parse_qs(urlsplit(url).query)["loginToken"]
    return await server.client().post("v3/login", {"type": "m.login.token", "token": token})


async def test_a_first_sign_on_makes_an_account_and_the_next_finds_it(
    server: RunningHomeserver, cas: CasDouble
) -> None:
    flows = (await server.client().get("v3/login")).ok()["flows"]
    assert {"type": "m.login.sso", "identity_providers": [{"id": "cas", "name": "CAS"}]} in flows
    for kind in ("sso", "cas"):
        async with Browser() as browser:
            status, location, _ = await browser.sign_on(start_url(server, kind=kind))
            assert status == 302 and location.startswith("https://app.example.org/login?keep=1&loginToken=")
            assert (await log_in_with(server, location)).ok()["user_id"] == "@alice:localhost"
            (await log_in_with(server, location)).is_error(403, "M_FORBIDDEN")


async def test_an_unknown_client_is_shown_to_the_person_first(server: RunningHomeserver) -> None:
    async with Browser() as browser:
        status, location, text = await browser.sign_on(
            start_url(server, 'https://evil.example/?a=%22&x="'.replace('"', ""))
        )
        assert (status, location) == (200, "")
        assert "https://evil.example wants to use your account @alice:localhost" in text
        found = re.search(r'href="([^"]+)"', text)
        assert found is not None
        assert (await log_in_with(server, unescape(found[1]))).ok()["user_id"] == "@alice:localhost"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/x",
        "x",
        "https://",
        "https://a@b/",
        "http://a\\b",
        "ht",
    ],
)
async def test_no_client_lives_at_such_an_address(server: RunningHomeserver, url: str) -> None:
    async with server.http.get(start_url(server, url), allow_redirects=False) as response:
        assert response.status == 400 and (await response.json())["errcode"] == "M_INVALID_PARAM"


async def test_the_browser_that_comes_back_is_the_one_that_left(
    server: RunningHomeserver, cas: CasDouble, clock: ManualClock
) -> None:
    async with Browser() as attacker, Browser() as victim:
        _, at_cas, _ = await attacker.get(start_url(server))
        _, back, _ = await attacker.get(at_cas)
        assert (await victim.get(back))[0] == 400
        assert (await attacker.get(back))[0] == 302
        assert (await attacker.get(back))[0] == 400
        _, at_cas, _ = await attacker.get(start_url(server))
        _, back, _ = await attacker.get(at_cas)
        clock.advance(1000)
        assert (await attacker.get(back))[0] == 400
        _, at_cas, _ = await attacker.get(start_url(server))
        _, back, _ = await attacker.get(at_cas)
        assert (await attacker.get(re.sub("ticket=.*", "ticket=ST-forged", back)))[0] == 403


async def test_sign_on_does_not_take_over_an_account(server: RunningHomeserver, cas: CasDouble) -> None:
    await server.register("bob")
    cas.user = "BOB"
    async with Browser() as browser:
        status, _, text = await browser.sign_on(start_url(server))
        assert status == 403 and "somebody else" in text


async def test_the_ticket_page_withstands_odd_requests(server: RunningHomeserver, cas: CasDouble) -> None:
    for path in (
        "/_thingroom/cas/ticket", "/_thingroom/cas/ticket?state=%00&ticket=x", "/_thingroom/cas/ticket?state=x",
        "/_thingroom/email/confirm", "/_thingroom/email/confirm?sid=%3Cscript%3E&client_secret=x&token=y",
        "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=x",
    ):  # fmt: skip
        async with server.http.get(server.base_url + path) as response:
            assert response.status == 400 and "<script" not in await response.text()
    for body in (b"", b"\xff", b"sid=%ff", b"a=b&" * 100, b"{}"):
        async with server.http.post(f"{server.base_url}/_thingroom/email/confirm", data=body) as response:
            assert response.status == 400
    cas.answer = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>"
    async with Browser() as browser:
        assert (await browser.sign_on(start_url(server)))[0] == 403


async def test_who_has_no_password_confirms_through_sign_on(server: RunningHomeserver, cas: CasDouble) -> None:
    async with Browser() as browser:
        _, location, _ = await browser.sign_on(start_url(server))
        session = (await log_in_with(server, location)).ok()
        alice = server.client(session["access_token"])
        body = {"devices": ["OTHER"]}
        challenge = await alice.post("v3/delete_devices", body)
        assert challenge.status == 401 and challenge.body["flows"] == [{"stages": ["m.login.sso"]}]
        uia = challenge.body["session"]
        auth = {"session": uia}
        assert (await alice.post("v3/delete_devices", {**body, "auth": auth})).status == 401
        by_client = {**body, "auth": {**auth, "type": "m.login.sso"}}
        (await alice.post("v3/delete_devices", by_client)).is_error(401, "M_UNRECOGNIZED")
        fallback = f"{server.base_url}/_matrix/client/v3/auth/m.login.sso/fallback/web"
        status, _, text = await browser.get(f"{fallback}?session={uia}")
        assert status == 200 and "@alice:localhost" in text and uia in text

        async with browser.http.post(fallback, data={"session": uia}, allow_redirects=False) as response:
            assert response.status == 400
        async with server.http.post(fallback, data={"session": uia, "key": "x"}, allow_redirects=False) as response:
            assert response.status == 400

        async def confirm() -> int:
            _, _, text = await browser.get(f"{fallback}?session={uia}")
            sent = dict(re.findall(r'name="(\w+)" value="([^"]+)"', text))
            async with browser.http.post(fallback, data=sent, allow_redirects=False) as response:
                assert response.status == 302
                _, back, _ = await browser.get(response.headers["Location"])
                return (await browser.get(back))[0]

        cas.user = "mallory"
        assert await confirm() == 403
        assert (await alice.post("v3/delete_devices", {**body, "auth": auth})).status == 401
        cas.user = "Alice"
        assert await confirm() == 200
        other = await alice.post("v3/delete_devices", {"devices": ["A", "B"], "auth": auth})
        assert other.status == 401
        (await alice.post("v3/delete_devices", {**body, "auth": auth})).ok()
        login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
        (await alice.post("v3/login", login)).is_error(403, "M_FORBIDDEN")


async def test_without_cas(homeserver: RunningHomeserver) -> None:
    answer = await homeserver.client().get("v3/login/sso/redirect", redirectUrl="https://a.b")
    answer.is_error(404, "M_NOT_FOUND")


def test_trusted_addresses() -> None:
    trusted = "https://app.example.org/client"
    for good in ("https://app.example.org/client", "https://APP.example.org:443/client/x?y#z"):
        assert _is_below(good, trusted)
    for bad in (
        "https://app.example.org/clients", "http://app.example.org/client", "https://app.example.org.evil/client",
        "https://app.example.org:444/client", "https://app.example.org@evil/client", "https://evil/client",
        "https://app.example.org/client/../x", "https://app.example.org/client/%2e%2e/x", "https://app.example.org\\@e/",
    ):  # fmt: skip
        assert not _is_below(bad, trusted), bad
    assert is_possible_redirect("element://connect") and is_possible_redirect("io.element.app:/callback")
    assert with_login_token("a://b?loginToken=1&c=2", "t") == "a://b?c=2&loginToken=t"


@given(st.text(max_size=60))
def test_every_name_becomes_a_localpart(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9._=/+-]*", localpart_for(name))


@given(st.binary(max_size=300))
def test_any_bytes_are_no_answer_of_cas(data: bytes) -> None:
    assert parse_service_response(data) is None


def test_answers_of_cas() -> None:
    def answer(inner: str, namespace: str = "http://www.yale.edu/tp/cas") -> str | None:
        text = f"<c:serviceResponse xmlns:c='{namespace}'>{inner}</c:serviceResponse>"
        return parse_service_response(text.encode())

    success = "<c:authenticationSuccess><c:user> a&amp;b </c:user></c:authenticationSuccess>"
    assert answer(success) == "a&b"
    assert answer(success, "urn:other") is None
    assert answer(success * 2) is None
    assert answer("<c:user>x</c:user>") is None
    assert answer("<c:authenticationSuccess><x><c:user>x</c:user></x></c:authenticationSuccess>") is None
    assert answer("<x>" * 60 + "</x>" * 60) is None
    assert parse_service_response(b"<a>" * 100_000) is None
