"""Who may come in: passwords go to the homeserver, sessions are ours, forms come from our pages, tries are counted."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.bot_home import BotHome, bot_home, person, running_gateway_here
from tests.gateway.dashboard_support import visitor
from tests.gateway.fake_homeserver import SERVER, FakeHomeserver
from tests.gateway.gateway_support import Thing, gateway
from tests.homeserver.running import PASSWORD
from yarl import URL

from thingroom_common.config_file import ConfigError
from thingroom_gateway.config import DashboardConfig, GatewayConfig
from thingroom_gateway.dashboard.limits import MAX_KEYS, Tries, network_of
from thingroom_gateway.dashboard.pages_sign_in import PRE
from thingroom_gateway.dashboard.parameters import own_path
from thingroom_gateway.dashboard.sessions import form_token
from thingroom_gateway.dashboard.sign_in import user_id_of
from thingroom_gateway.dashboard.site import SESSION


async def devices_of(home: BotHome, name: str) -> list[str]:
    """The sessions that somebody has at the homeserver."""
    async with person_again(home, name) as (session, token):
        url = f"{home.homeserver.base_url}/_matrix/client/v3/devices"
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            return [device["display_name"] for device in (await answer.json())["devices"]]


@asynccontextmanager
async def person_again(home: BotHome, name: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": PASSWORD}
    body["initial_device_display_name"] = "another look"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{home.homeserver.base_url}/_matrix/client/v3/login", json=body) as answer:
            token = (await answer.json())["access_token"]
        yield session, token


async def test_the_owner_signs_in_and_stays_signed_in_over_a_restart(tmp_path: Path) -> None:
    async with bot_home(tmp_path, Thing()) as home, person(home.homeserver, "owner"):  # noqa: SIM117
        async with visitor(home.gateway) as owner:
            page = await owner.get("/status")
            assert (page.status, page.path) == (200, "/sign-in?to=/status"), "whoever is a stranger is sent to the form"
            page = await owner.sign_in("@owner:localhost", to="/status")
            assert page.status == 200 and 'content="0;url=/status"' in page.text
            assert (await owner.get("/status")).path == "/status"
            devices = await devices_of(home, "owner")
            assert sorted(devices) == ["another look", "owner's phone"], "the homeserver's session was ended at once"
            stored = home.gateway.core.database.read(
                lambda c: [bytes(row[0]) for row in c.execute("SELECT digest FROM dashboard_sessions")]
            )
            token = owner.cookies[SESSION]
            assert len(stored) == 1 and token.encode() not in stored[0]
    async with running_gateway_here(home.homeserver, home.config) as again, visitor(again.gateway) as owner:
        owner.session.cookie_jar.update_cookies({SESSION: token}, URL(owner.url))
        page = await owner.get("/")
        assert page.path == "/" and "Kitchen" in page.words
        page = await owner.post("/sign-out")
        assert page.path == "/sign-in"
        owner.session.cookie_jar.update_cookies({SESSION: token}, URL(owner.url))
        assert (await owner.get("/")).path == "/sign-in", "the cookie is worth nothing any more"


async def test_cookies_are_for_this_site_only_and_forms_are_from_it(tmp_path: Path) -> None:
    async with bot_home(tmp_path, Thing()) as home, person(home.homeserver, "owner"), visitor(home.gateway) as owner:
        page = await owner.get("/sign-in")
        assert "HttpOnly" in page.headers["Set-Cookie"] and "SameSite=Strict" in page.headers["Set-Cookie"]
        for name in ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
            assert page.headers[name]
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["Cache-Control"] == "no-store"

        refused = await owner.post("/sign-in", form="0" * 64, user="owner", password=PASSWORD)
        assert refused.status == 403 and "expired" in refused.said

        assert (await owner.sign_in("owner")).status == 200
        for form in ("", "0" * 64, "é"):
            refused = await owner.post("/pair", form=form, minutes="10")
            assert refused.status == 403 and "expired" in refused.words
        form = (await owner.get("/")).form
        for headers in ({"Origin": "http://elsewhere.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            async with owner.session.post(owner.url + "/pair", data={"form": form}, headers=headers) as answer:
                assert answer.status == 403 and "another site" in await answer.text()
        assert home.gateway.core.pairing.current() is None
        async with owner.session.post(owner.url + "/pair", json={"form": form}) as answer:
            assert answer.status == 400
        assert (await owner.post("/pair", form=form, minutes="10")).path == "/pair"
        assert home.gateway.core.pairing.current() is not None


async def test_strangers_and_wrong_passwords_stay_outside(tmp_path: Path) -> None:
    async with (
        bot_home(tmp_path, Thing()) as home,
        person(home.homeserver, "owner"),
        person(home.homeserver, "stranger"),
        visitor(home.gateway) as someone,
    ):
        for user in ("@owner:elsewhere.test", "owner@example.org:x", "", "@:localhost", "ow ner", "a" * 250):
            page = await someone.sign_in(user)
            assert page.status == 403 and "account of localhost" in page.said, user
        assert (await someone.sign_in("owner", "")).status == 403
        page = await someone.sign_in("stranger")
        assert page.status == 403 and "none of this home" in page.said
        assert SESSION not in someone.cookies
        answers = [await someone.sign_in("owner", "a wrong one") for _ in range(7)]
        assert [page.status for page in answers[:5]] == [403] * 5
        assert "does not know this name" in answers[0].said
        assert {page.status for page in answers[5:]} == {429}
        assert (await someone.sign_in("owner")).status == 429, "also with the right one, for a while"
        for path in ("/api/devices", "/live", "/api/status"):
            page = await someone.get(path)
            assert page.status == 401 and page.data == {"error": "You are not signed in."}
        assert (await someone.get("/device/0011223344556677")).path.startswith("/sign-in")


async def test_signing_out_everywhere(tmp_path: Path) -> None:
    async with (
        bot_home(tmp_path, Thing()) as home,
        person(home.homeserver, "owner"),
        visitor(home.gateway) as phone,
        visitor(home.gateway) as desk,
    ):
        assert (await phone.sign_in("owner")).status == (await desk.sign_in("owner")).status == 200
        await phone.post("/sign-out", everywhere="yes")
        assert (await desk.get("/")).path == "/sign-in"


async def test_a_homeserver_that_lies_or_is_away(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    """Of another server, another person than it said, no JSON, no answer: nobody is signed in."""
    said: dict[str, object] = {}
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path.rpartition("/")[2])
        body = said.get(seen[-1], {})
        return web.Response(text=body) if isinstance(body, str) else web.json_response(body)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{tail:.*}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = msgspec.structs.replace(config, homeserver_url=url)
    owner = f"@owner:{SERVER}"
    good = {"user_id": owner, "access_token": "t"}
    try:
        async with gateway(config) as running:
            for login, whoami in (
                ({"user_id": "@owner:elsewhere.test", "access_token": "t"}, {"user_id": "@owner:elsewhere.test"}),
                (good, {"user_id": f"@somebody:{SERVER}"}),
                ({"user_id": owner}, {"user_id": owner}),
                ({"user_id": 7, "access_token": 7}, {"user_id": 7}),
                (good, {}),
                (good, "[" * 10_000),
                ("no JSON", {}),
            ):
                said.update(login=login, whoami=whoami, logout={})
                async with visitor(running) as someone:
                    page = await someone.sign_in("owner")
                    assert page.status in (502, 503) and SESSION not in someone.cookies, (login, whoami, page.said)
            said.update(login=good, whoami={"user_id": owner})
            async with visitor(running) as someone:
                assert (await someone.sign_in("owner")).status == 200
                assert seen[-3:] == ["login", "whoami", "logout"]
                await runner.cleanup()
                assert (await someone.get("/")).status == 200, "the owner needs no homeserver to look"
                status = await someone.get("/status")
                assert status.status == 200 and "does not answer" in status.words
            async with visitor(running) as someone:
                page = await someone.sign_in("owner")
                assert page.status == 503 and "does not answer" in page.words
    finally:
        await runner.cleanup()


async def test_single_sign_on_comes_back_once_and_to_whoever_left(config: GatewayConfig) -> None:
    owner, used = f"@owner:{SERVER}", list[str]()

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.method, request.path.rpartition("/")[2]:
            case "GET", "login":
                return web.json_response({"flows": [{"type": "m.login.sso"}, {"type": "m.login.token"}]})
            case "POST", "login":
                body = await request.json()
                assert body["type"] == "m.login.token"
                if body["token"] != "good" or used:
                    return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
                used.append(body["token"])
                return web.json_response({"user_id": owner, "access_token": "t"})
            case _, "whoami":
                return web.json_response({"user_id": owner})
        return web.json_response({})

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{tail:.*}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = msgspec.structs.replace(
        config,
        homeserver_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        dashboard=DashboardConfig(listen="127.0.0.1:0", homeserver_public_url="https://matrix.home.test"),
    )
    try:
        async with gateway(config) as running, visitor(running) as someone, visitor(running) as other:
            page = await someone.get("/sign-in?to=/status")
            assert 'href="/sign-in/sso?to=%2Fstatus"' in page.text and 'type="password"' not in page.text
            leaving = await someone.get("/sign-in/sso?to=/status", allow_redirects=False)
            assert leaving.status == 303 and "SameSite=Lax" in leaving.headers["Set-Cookie"]
            target = leaving.headers["Location"]
            assert target.startswith("https://matrix.home.test/_matrix/client/v3/login/sso/redirect?redirectUrl=")
            back = urlsplit(parse_qs(urlsplit(target).query)["redirectUrl"][0])
            assert f"{back.scheme}://{back.netloc}" == someone.url
            returning = f"{back.path}?{back.query}&loginToken=good"
            assert (await other.get(returning)).status == 403, "of another browser"
            assert (await someone.get(returning.replace("state=", "state=0"))).status == 403
            page = await someone.get(returning)
            assert page.status == 200 and 'content="0;url=/status"' in page.text, page.words
            assert (await someone.get("/status")).path == "/status"
            assert (await someone.get(returning)).status == 403
    finally:
        await runner.cleanup()


async def test_it_speaks_https_with_a_certificate(config: GatewayConfig, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    own = DashboardConfig(listen="127.0.0.1:0", tls_certificate=str(tmp_path / "own.pem"))
    async with gateway(msgspec.structs.replace(config, dashboard=own)) as running, visitor(running) as someone:
        someone.url = someone.url.replace("http:", "https:")
        page = await someone.get("/sign-in", ssl=trust)
        assert page.status == 200 and "Secure" in page.headers["Set-Cookie"] and "not encrypted" not in page.words


async def test_what_it_cannot_start_with_is_a_sentence(config: GatewayConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for own, words in (
            (DashboardConfig(listen=f"127.0.0.1:{taken.getsockname()[1]}"), "change listen in [gateway.dashboard]"),
            (DashboardConfig(listen="127.0.0.1:0", tls_certificate="/nowhere.pem"), "change tls_certificate"),
            (DashboardConfig(listen="somewhere"), 'is not "host:port"'),
        ):
            with pytest.raises(ConfigError, match=re.escape(words)):
                async with gateway(msgspec.structs.replace(config, dashboard=own)):
                    pass
        off = msgspec.structs.replace(config, dashboard=DashboardConfig(enabled=False))
        async with gateway(off) as running:
            assert running.dashboard is None


async def test_behind_a_proxy_tries_count_by_visitor(config: GatewayConfig) -> None:
    own = DashboardConfig(listen="127.0.0.1:0", public_url="https://home.test")
    async with gateway(msgspec.structs.replace(config, dashboard=own)) as running, visitor(running) as someone:
        for address, expected in (("192.0.2.1", 429), ("192.0.2.2", 403)):
            someone.session.headers["X-Forwarded-For"] = f"203.0.113.9, {address}"
            before = (await someone.get("/sign-in")).headers["Set-Cookie"]
            assert "Secure" in before
            mark = before.partition("=")[2].partition(";")[0]
            for _ in range(6 if expected == 429 else 1):
                async with someone.session.post(
                    someone.url + "/sign-in",
                    data={"form": form_token(mark), "user": "owner", "password": "wrong"},
                    headers={"Cookie": f"{PRE}={mark}"},
                ) as answer:
                    last = answer.status
            assert last == expected, address


def test_tries_come_back_with_time_and_are_bounded() -> None:
    now = [0.0]
    tries = Tries(3, 10.0, lambda: now[0])
    assert [tries.take("a") for _ in range(4)] == [True, True, True, False]
    now[0] = 10.0
    assert [tries.take("a") for _ in range(2)] == [True, False]
    tries.give_back("a")
    assert tries.take("a") and not tries.take("a") and tries.take("b")
    for number in range(2 * MAX_KEYS):
        tries.take(str(number))
    assert len(tries._left) == MAX_KEYS
    assert network_of("2001:db8::1") == network_of("2001:db8::2") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1" == network_of("192.0.2.1")


@given(st.text(max_size=300))
def test_nobody_is_sent_to_another_site_and_no_user_of_another_server_is_asked_for(text: str) -> None:
    to = own_path(text)
    parsed = urlsplit(to)
    assert to.startswith("/") and not to.startswith("//") and not parsed.netloc and not parsed.scheme
    assert "\\" not in to and "\n" not in to
    user = user_id_of(text, "home.test")
    assert user is None or re.fullmatch(r"@[^:\s]+:home\.test", user)
    assert user_id_of(f"@someone:{text}", "home.test") is None or text.strip() == "home.test"


@pytest.mark.parametrize(
    "to", ["//evil.test", "/\\evil.test", "https://evil.test", "/../x", "/%0d%0aSet-Cookie:x", "x"]
)
def test_where_one_goes_after_signing_in_is_here(to: str) -> None:
    assert own_path(to) == "/"


async def test_sessions_end(tmp_path: Path) -> None:
    async with bot_home(tmp_path, Thing()) as home, person(home.homeserver, "owner"), visitor(home.gateway) as owner:
        assert (await owner.sign_in("owner")).status == 200
        assert (await owner.get("/")).path == "/"
        await home.gateway.core.database.write(lambda t: t.execute("UPDATE dashboard_sessions SET expires_at = 1"))
        assert (await owner.get("/")).path == "/sign-in"
