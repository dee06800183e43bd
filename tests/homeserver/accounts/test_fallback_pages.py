"""The pages that clients send people to for what they do not know themselves: stages, and the whole login."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP
from tests.browser.worked_client import WorkedClient, node_process
from tests.homeserver.accounts.test_addresses_over_smtp import Mailbox
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, make_config, running_homeserver

from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.config_accounts import Email, RegistrationSteps, TermsPolicy

BASE = "http://matrix.test"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
def homeserver_config(tmp_path: Path, mailbox: Mailbox) -> HomeserverConfig:
    terms = (
        TermsPolicy(id="privacy", version="1", name="Privacy <policy>", url="https://example.org/privacy?a=1&b=2"),
    )
    return make_config(
        tmp_path / "homeserver",
        public_base_url=BASE,
        email=Email(host="127.0.0.1", port=mailbox.port, security="none", sender="a@b.test"),
        registration_steps=RegistrationSteps(token=True, email=True, terms=terms),
    )


class Page:
    """A page, and its form."""

    def __init__(self, status: int, text: str, headers: Any) -> None:
        self.status, self.text, self.headers = status, text, headers

    @property
    def is_done(self) -> bool:
        return "onAuthDone" in self.text and "postMessage('authDone', '*')" in self.text

    @property
    def hidden(self) -> dict[str, str]:
        return dict(re.findall(r'<input type=hidden name="([^"]*)" value="([^"]*)">', self.text))


def path_of(stage: str, session: str = "") -> str:
    return f"/_matrix/client/v3/auth/{stage}/fallback/web" + (f"?session={quote(session)}" if session else "")


async def ask(client: MatrixClient, path: str, form: dict[str, str] | None = None) -> Page:
    method = "GET" if form is None else "POST"
    async with client.http.request(method, client.base_url + path, data=form) as answer:
        assert answer.content_type == "text/html"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        return Page(answer.status, await answer.text(), answer.headers)


async def do(client: MatrixClient, stage: str, session: str, **filled: str) -> Page:
    """Open the page of a stage and send its form."""
    page = await ask(client, path_of(stage, session))
    return await ask(client, path_of(stage), {**page.hidden, **filled})


@pytest.fixture
async def stack(homeserver_config: HomeserverConfig) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(homeserver_config) as running:
        yield running


async def test_a_registration_in_the_browser_stage_by_stage(stack: RunningHomeserver, mailbox: Mailbox) -> None:
    client = stack.client()
    await stack.services.registration_tokens.make(token="good")
    body = {"username": "alice", "password": PASSWORD}
    asked = await client.post("v3/register", body)
    session = asked.body["session"]
    assert asked.body["flows"] == [
        {"stages": ["m.login.registration_token", "m.login.terms", "m.login.email.identity"]}
    ]

    wrong = await do(client, "m.login.registration_token", session, token="bad")
    assert wrong.status == 400 and "not valid" in wrong.text and not wrong.is_done
    assert (await do(client, "m.login.registration_token", session, token="good")).is_done

    terms = await ask(client, path_of("m.login.terms", session))
    assert "Privacy &lt;policy&gt;" in terms.text and 'href="https://example.org/privacy?a=1&amp;b=2"' in terms.text
    assert not (await do(client, "m.login.terms", session)).is_done
    assert (await do(client, "m.login.terms", session, agree="on")).is_done

    assert "Not an email address" in (await do(client, "m.login.email.identity", session, email="nobody")).text
    sent = await do(client, "m.login.email.identity", session, email="alice@example.org")
    assert {"session", "sid", "client_secret"} == sent.hidden.keys() and not sent.is_done
    early = await ask(client, path_of("m.login.email.identity"), sent.hidden)
    assert "has not been verified yet" in early.text and early.hidden == sent.hidden
    assert (await ask(client, "/_thingroom/email/confirm", mailbox.last_link())).status == 200
    assert (await ask(client, path_of("m.login.email.identity"), early.hidden)).is_done

    made = (await client.post("v3/register", {**body, "auth": {"session": session}})).ok()
    alice = stack.client(made["access_token"])
    assert [each["address"] for each in (await alice.get("v3/account/3pid")).ok()["threepids"]] == ["alice@example.org"]


async def test_a_password_in_the_browser(tmp_path: Path) -> None:
    async with running_homeserver(make_config(tmp_path / "homeserver")) as homeserver:
        alice, device = await homeserver.register("alice"), "v3/delete_devices"
        body = {"devices": [alice.device_id]}
        session = (await alice.post(device, body)).body["session"]
        page = await ask(alice, path_of("m.login.password", session))
        assert "@alice:localhost (POST /_matrix/client/v3/delete_devices)" in page.text
        assert "Invalid" in (await do(alice, "m.login.password", session, password="wrong")).text
        assert (await alice.post(device, {**body, "auth": {"session": session}})).status == 401
        assert (await do(alice, "m.login.password", session, password=PASSWORD)).is_done
        assert (await ask(alice, path_of("m.login.password", session))).is_done
        other = {"devices": ["other"], "auth": {"session": session}}
        assert (await alice.post(device, other)).status == 401, "a proof counts for what it was given for"
        (await alice.post(device, {**body, "auth": {"session": session}})).ok()


@pytest.mark.parametrize("stage", ["m.login.password", "m.login.dummy", "m.login.recaptcha", "x", "%00", "m.oauth"])
async def test_pages_of_what_was_not_asked(homeserver_config: HomeserverConfig, stage: str) -> None:
    async with running_homeserver(homeserver_config) as homeserver:
        client = homeserver.client()
        session = (await client.post("v3/register", {})).body["session"]
        for name in (session, "nonsense", ""):
            assert (await ask(client, path_of(stage, name))).status == 400
            assert (await ask(client, path_of(stage), {"session": name, "password": "x"})).status == 400
        assert (await client.post("v3/register", {"auth": {"session": session}})).status == 401
        assert (await ask(client, path_of("m.login.terms", session) + "&x=%3Cscript%3E")).text.count("<script") == 0


async def test_in_a_browser(tmp_path: Path) -> None:
    """The scripts run under the pages' own security policy, and tell the client what it waits for."""
    config = make_config(tmp_path / "homeserver", registration_steps=RegistrationSteps(token=True))
    async with running_homeserver(config) as homeserver, node_process("pages.mjs") as process:
        browser = WorkedClient(process)
        await browser.result("start")
        await homeserver.services.registration_tokens.make(token="good")
        client = homeserver.client()
        body = {"username": "alice", "password": PASSWORD}
        session = (await client.post("v3/register", body)).body["session"]
        url = homeserver.base_url + path_of("m.login.registration_token", session)
        refused = await browser.ask("stage", url=url, fields={"token": "bad"})
        assert refused["told"] == [] and "not valid" in refused["says"]
        assert (await browser.ask("stage", url=url, fields={"token": "good"}))["told"] == ["authDone"]
        (await client.post("v3/register", {**body, "auth": {"session": session}})).ok()

        page = f"{homeserver.base_url}/_matrix/static/client/login/?device_id=FALLBACK"
        wrong = await browser.ask("log_in", url=page, username="alice", password="wrong")
        assert wrong["session"] is None and "Invalid" in wrong["said"]
        signed_in = await browser.ask("log_in", url=page, username="alice", password=PASSWORD)
        assert signed_in["session"]["device_id"] == "FALLBACK"
        alice = homeserver.client(signed_in["session"]["access_token"])
        assert (await alice.get("v3/account/whoami")).ok()["user_id"] == "@alice:localhost"


async def test_the_login_page_asks_only_this_server(homeserver: RunningHomeserver) -> None:
    page = await ask(homeserver.client(), "/_matrix/static/client/login")
    policy = page.headers["Content-Security-Policy"]
    assert page.status == 200 and "connect-src 'self'" in policy
    assert re.search(r"script-src 'sha256-[^']+'; ", policy) is not None
