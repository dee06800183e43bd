"""Email addresses, verified through mails that a real SMTP server receives."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from tests.homeserver.accounts.test_devices_and_account import with_password
from tests.homeserver.running import (
    PASSWORD,
    Answer,
    ManualClock,
    MatrixClient,
    RunningHomeserver,
    make_config,
    running_homeserver,
)

from thingroom_homeserver.accounts.addresses import canonical_address
from thingroom_homeserver.accounts.mailer import SmtpMailer
from thingroom_homeserver.config_accounts import Email, RegistrationSteps

BASE = "http://matrix.test"


class Mailbox:
    """The handler of the SMTP server: keeps what arrives."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[tuple[list[str], Message]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return "250 OK"

    def last_text(self) -> str:
        payload = self.mails[-1][1].get_payload(decode=True)
        assert isinstance(payload, bytes)
        return payload.decode()

    def last_link(self) -> dict[str, str]:
        found = re.search(r"http://\S+", self.last_text())
        assert found is not None, self.last_text()
        assert found[0].startswith(f"{BASE}/_thingroom/email/confirm?")
        return dict(parse_qsl(urlsplit(found[0]).query))


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def config_with(mailbox: Any, folder: Path, **changes: Any):
    email = Email(host="127.0.0.1", port=mailbox.port, security="none", sender="Matrix <matrix@localhost>")
    return make_config(folder, email=email, public_base_url=BASE, **changes)


@pytest.fixture
async def server(tmp_path: Path, mailbox: Mailbox, clock: ManualClock):
    async with running_homeserver(config_with(mailbox, tmp_path / "hs"), clock=clock) as running:
        yield running


async def ask(client: MatrixClient, path: str, email: str, secret: str = "secret", attempt: int = 1) -> Answer:
    return await client.post(f"v3/{path}", {"email": email, "client_secret": secret, "send_attempt": attempt})


async def click(server: RunningHomeserver, link: dict[str, str], *, expect: int = 200) -> str:
    """Open the page and press the button, as a browser does."""
    url = f"{server.base_url}/_thingroom/email/confirm"
    async with server.http.get(url, params=link) as response:
        assert response.status == expect, await response.text()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    async with server.http.post(url, data=link, allow_redirects=False) as response:
        assert response.status in (expect, 302)
        return response.headers.get("Location", "")


async def add_address(server: RunningHomeserver, mailbox: Mailbox, client: MatrixClient, email: str) -> None:
    sid = (await ask(client, "account/3pid/email/requestToken", email, f"s{email.partition('@')[0]}")).ok()["sid"]
    link = mailbox.last_link()
    await click(server, link)
    body = {"sid": sid, "client_secret": link["client_secret"]}
    (await with_password(client, "POST", "v3/account/3pid/add", body, PASSWORD)).ok()


async def test_an_address_is_added_listed_used_to_log_in_and_removed(
    server: RunningHomeserver, mailbox: Mailbox
) -> None:
    alice = await server.register("alice")
    await add_address(server, mailbox, alice, "Alice@Example.org")
    assert mailbox.mails[-1][0] == ["alice@example.org"]
    threepids = (await alice.get("v3/account/3pid")).ok()["threepids"]
    assert [(pid["medium"], pid["address"]) for pid in threepids] == [("email", "alice@example.org")]
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": "ALICE@example.org"}
    login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    assert (await server.client().post("v3/login", login)).ok()["user_id"] == alice.user_id
    unknown = {**login, "identifier": {**identifier, "address": "x@example.org"}}
    (await server.client().post("v3/login", unknown)).is_error(403, "M_FORBIDDEN")
    gone = (await alice.post("v3/account/3pid/delete", {"medium": "email", "address": "alice@example.org"})).ok()
    assert gone == {"id_server_unbind_result": "no-support"}
    assert (await alice.get("v3/account/3pid")).ok()["threepids"] == []
    (await server.client().post("v3/login", login)).is_error(403, "M_FORBIDDEN")


async def test_a_forgotten_password_is_reset_by_mail(server: RunningHomeserver, mailbox: Mailbox) -> None:
    alice, bob = await server.register("alice"), await server.register("bob")
    await add_address(server, mailbox, alice, "alice@example.org")
    anyone = server.client()
    sid = (await ask(anyone, "account/password/email/requestToken", "alice@example.org", "reset")).ok()["sid"]
    link = mailbox.last_link()
    body = {"new_password": "a brand new one", "logout_devices": True}
    challenge = await anyone.post("v3/account/password", body)
    assert challenge.status == 401 and challenge.body["flows"] == [{"stages": ["m.login.email.identity"]}]
    credentials = {"sid": sid, "client_secret": "reset"}
    auth = {
        "type": "m.login.email.identity",
        "threepid_creds": credentials,
        "threepidCreds": credentials,
        "session": challenge.body["session"],
    }
    (await anyone.post("v3/account/password", {**body, "auth": auth})).is_error(401, "M_UNAUTHORIZED")
    await click(server, link)
    wrong_secret = {**auth, "threepid_creds": {"sid": sid, "client_secret": "other"}}
    (await anyone.post("v3/account/password", {**body, "auth": wrong_secret})).is_error(401, "M_UNAUTHORIZED")
    by_bob = await bob.post("v3/account/password", {**body, "auth": auth})
    by_bob.is_error(403, "M_FORBIDDEN")
    weak = await anyone.post("v3/account/password", {**body, "new_password": "short", "auth": {**auth}})
    weak.is_error(400, "M_WEAK_PASSWORD")
    again = await anyone.post("v3/account/password", body)
    auth["session"] = again.body["session"]
    (await anyone.post("v3/account/password", {**body, "auth": auth})).ok()
    (await alice.get("v3/account/whoami")).is_error(401, "M_UNKNOWN_TOKEN")
    login = {"type": "m.login.password", "user": "alice", "password": "a brand new one"}
    (await anyone.post("v3/login", login)).ok()
    (await anyone.post("v3/login", {**login, "password": PASSWORD})).is_error(403, "M_FORBIDDEN")
    (await anyone.post("v3/account/password", {**body, "auth": auth})).is_error(401, "M_UNAUTHORIZED")
    await click(server, link, expect=400)


async def test_nobody_learns_which_addresses_have_accounts(server: RunningHomeserver, mailbox: Mailbox) -> None:
    alice = await server.register("alice")
    await add_address(server, mailbox, alice, "alice@example.org")
    known = await ask(server.client(), "account/password/email/requestToken", "alice@example.org", "one")
    assert mailbox.last_link()
    unknown = await ask(server.client(), "account/password/email/requestToken", "nobody@example.org", "two")
    assert known.ok().keys() == unknown.ok().keys()
    assert "no account" in mailbox.last_text() and "http" not in mailbox.last_text()
    for path in ("register/email/requestToken", "account/3pid/email/requestToken"):
        (await ask(server.client(), path, "alice@example.org")).ok()
        assert "already belongs" in mailbox.last_text() and "http" not in mailbox.last_text()


async def test_a_mail_comes_once_an_attempt_and_its_link_ends(
    server: RunningHomeserver, mailbox: Mailbox, clock: ManualClock
) -> None:
    path, anyone = "register/email/requestToken", server.client()
    first = (await ask(anyone, path, "new@example.org")).ok()["sid"]
    old = mailbox.last_link()
    assert (await ask(anyone, path, "new@example.org")).ok()["sid"] == first
    assert len(mailbox.mails) == 1
    assert (await ask(anyone, path, "new@example.org", attempt=2)).ok()["sid"] == first
    assert len(mailbox.mails) == 2
    await click(server, old, expect=400)
    link = mailbox.last_link()
    await click(server, {**link, "client_secret": "other"}, expect=400)
    await click(server, {**link, "token": "other"}, expect=400)
    clock.advance(3601)
    await click(server, link, expect=400)


@pytest.mark.parametrize(
    "email",
    ["", "a", "a@", "@b", "a@b@c", "a b@c.d", "a@b.c\r\nBcc: x@y.z", "a,b@c.d", "a@-", "a" * 300 + "@b.c", "<a@b>"],
)
async def test_odd_addresses_are_refused(server: RunningHomeserver, mailbox: Mailbox, email: str) -> None:
    assert canonical_address(email) is None
    (await ask(server.client(), "register/email/requestToken", email)).is_error(400, "M_INVALID_PARAM")
    assert mailbox.mails == []


async def test_odd_requests_for_mails(server: RunningHomeserver) -> None:
    anyone = server.client()
    (await ask(anyone, "register/email/requestToken", "a@b.c", "no spaces")).is_error(400, "M_INVALID_PARAM")
    (await ask(anyone, "register/email/requestToken", "a@b.c", "s", -1)).is_error(400, "M_INVALID_PARAM")
    phone = {"client_secret": "s", "country": "GB", "phone_number": "1", "send_attempt": 1}
    answer = await anyone.post("v3/register/msisdn/requestToken", phone)
    answer.is_error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")


async def test_an_account_with_a_verified_address(tmp_path: Path, mailbox: Mailbox) -> None:
    config = config_with(
        mailbox,
        tmp_path / "hs",
        registration_steps=RegistrationSteps(email=True),
        trusted_client_urls=("https://app.example.org",),
    )
    async with running_homeserver(config) as server:
        anyone = server.client()
        body = {"username": "alice", "password": PASSWORD}
        challenge = await anyone.post("v3/register", body)
        assert challenge.body["flows"] == [{"stages": ["m.login.email.identity"]}]
        asked = {"email": "alice@example.org", "client_secret": "s", "send_attempt": 1}
        next_link = "https://app.example.org/#/welcome"
        sid = (await anyone.post("v3/register/email/requestToken", {**asked, "next_link": next_link})).ok()["sid"]
        credentials = {"sid": sid, "client_secret": "s"}
        auth = {"type": "m.login.email.identity", "threepid_creds": credentials, "session": challenge.body["session"]}
        (await anyone.post("v3/register", {**body, "auth": auth})).is_error(401, "M_UNAUTHORIZED")
        assert await click(server, mailbox.last_link()) == next_link
        session = (await anyone.post("v3/register", {**body, "auth": auth})).ok()
        alice = server.client(session["access_token"])
        assert [pid["address"] for pid in (await alice.get("v3/account/3pid")).ok()["threepids"]] == [
            "alice@example.org"
        ]
        evil = {**asked, "email": "b@example.org", "next_link": "https://app.example.org.evil.org/"}
        (await anyone.post("v3/register/email/requestToken", evil)).ok()
        assert await click(server, mailbox.last_link()) == ""


async def test_a_dead_mail_server_is_said_and_may_be_tried_again(tmp_path: Path, unused_tcp_port: int) -> None:
    email = Email(host="127.0.0.1", port=unused_tcp_port, security="none", sender="a@b.c")
    async with running_homeserver(make_config(tmp_path / "hs", email=email, public_base_url=BASE)) as server:
        for _ in range(2):
            answer = await ask(server.client(), "register/email/requestToken", "new@example.org")
            answer.is_error(503, "M_UNKNOWN")


async def test_mails_are_limited_by_address(tmp_path: Path, mailbox: Mailbox) -> None:
    config = config_with(mailbox, tmp_path / "hs", rate_limits=True)
    async with running_homeserver(config, clock=ManualClock()) as server:
        answers = [
            await ask(server.client(), "register/email/requestToken", "new@example.org", f"s{number}")
            for number in range(4)
        ]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert len(mailbox.mails) == 3


async def test_without_mail(homeserver: RunningHomeserver, alice: MatrixClient, anyone: MatrixClient) -> None:
    answer = await ask(anyone, "register/email/requestToken", "a@b.c")
    answer.is_error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
    (await anyone.post("v3/account/password", {"new_password": "x" * 10})).is_error(401, "M_MISSING_TOKEN")
    bind = {"id_server": "x", "id_access_token": "y", "sid": "1", "client_secret": "2"}
    (await alice.post("v3/account/3pid/bind", bind)).is_error(502, "M_UNKNOWN")
    unbound = await alice.post("v3/account/3pid/unbind", {"medium": "email", "address": "a@b.c"})
    assert unbound.ok() == {"id_server_unbind_result": "no-support"}
    capabilities = (await alice.get("v3/capabilities")).ok()["capabilities"]
    assert capabilities["m.3pid_changes"] == {"enabled": False}


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def knows(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"matrix", b"pass"), handled=False)


async def test_mail_over_tls_with_a_login_to_a_server_that_is_trusted_only(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "mail")
    other, _ = make_certificate(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    box = Mailbox()

    def make_smtp() -> SMTP:
        return SMTP(box, tls_context=context, require_starttls=True, authenticator=knows, auth_required=True)

    smtp = await asyncio.get_running_loop().create_server(make_smtp, "127.0.0.1", 0)
    good = Email(
        host="127.0.0.1",
        port=smtp.sockets[0].getsockname()[1],
        security="starttls",
        ca_file=str(certificate),
        username="matrix",
        password="pass",
        sender="a@b.c",
    )
    assert await SmtpMailer(good).send("x@example.org", "Hello", "Grüße\n.\nend")
    assert box.mails[0][0] == ["x@example.org"] and box.last_text().splitlines() == ["Grüße", ".", "end"]
    assert not await SmtpMailer(msgspec.structs.replace(good, ca_file=str(other))).send("x@example.org", "No", "x")
    assert not await SmtpMailer(msgspec.structs.replace(good, password="no")).send("x@example.org", "No", "x")
    with pytest.raises(ValueError, match="linefeed"):
        await SmtpMailer(good).send("x@example.org", "a\r\nBcc: y@z", "x")
    assert len(box.mails) == 1
    smtp.close()
