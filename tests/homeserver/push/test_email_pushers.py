"""Email pushers: one mail for what stays unread, to an address of the account, through a real SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiosmtpd.smtp import SMTP
from tests.homeserver.accounts.test_addresses_over_smtp import Mailbox
from tests.homeserver.push.test_pushers import send
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.accounts.mailer import SmtpMailer
from thingroom_homeserver.config_accounts import Email
from thingroom_homeserver.push.delivery import Patience
from thingroom_homeserver.push.letters import LetterPatience
from thingroom_homeserver.storage.third_party_ids import insert_address

BOB = "bob@example.org"


class FailingMailbox(Mailbox):
    """Takes nothing while `status` says so."""

    status = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.status.startswith("250"):
            return await super().handle_DATA(server, session, envelope)
        return self.status


@pytest.fixture
async def mailbox() -> AsyncIterator[FailingMailbox]:
    box = FailingMailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
async def homeserver(tmp_path: Path, mailbox: FailingMailbox) -> AsyncIterator[RunningHomeserver]:
    """With mails after 1.5 s; the server's own delivery, which waits ten minutes, runs beside and is quiet."""
    email = Email(host="127.0.0.1", port=mailbox.port, security="none", sender="a@b.test")
    config = make_config(tmp_path / "homeserver", public_base_url="http://matrix.test", email=email)
    async with running_homeserver(config) as running:
        services = running.services
        patience = LetterPatience(unread_for=1.5, between=0.2)
        connector = aiohttp.TCPConnector()
        own = services.push.running(
            services.rooms, services.directory.aliases_of, connector, Patience(first=0.1), SmtpMailer(email), patience
        )
        async with own:
            yield running


@pytest.fixture
async def room_id(homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient) -> str:
    await homeserver.services.database.write(lambda t: insert_address(t, "email", BOB, bob.user_id, 1, 1))
    (await alice.put(f"v3/profile/{escape(alice.user_id)}/displayname", {"displayname": "Alice\nB"})).ok()
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat", "name": "Küche"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    return room_id


def pusher(**changes: Any) -> dict[str, Any]:
    body = {"kind": "email", "app_id": "m.email", "pushkey": "Bob@Example.org", "lang": "en", "data": {}}
    return {**body, "app_display_name": "Email Notifications", "device_display_name": BOB, **changes}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_stays_unread_is_mailed_once(
    homeserver: RunningHomeserver, mailbox: FailingMailbox, alice: MatrixClient, bob: MatrixClient, room_id: str
) -> None:
    (await bob.post("v3/pushers/set", pusher())).ok()
    (listed,) = (await bob.get("v3/pushers")).ok()["pushers"]
    assert (listed["kind"], listed["pushkey"]) == ("email", BOB)
    (await bob.post("v3/logout")).ok()
    mailbox.status = "451 later"
    await send(alice, room_id, "secret words")
    await send(alice, room_id, "more")
    await asyncio.sleep(2.0)
    mailbox.status = "250 OK"
    await until(lambda: len(mailbox.mails) == 1)
    recipients, mail = mailbox.mails[0]
    assert recipients == [BOB]
    assert str(make_header(decode_header(mail["Subject"]))) == "2 unread on localhost"
    text = mailbox.last_text()
    assert "* Küche: AliceB (2)" in text and "secret" not in text
    await asyncio.sleep(0.5)
    await send(alice, room_id, "again")
    await until(lambda: len(mailbox.mails) == 2)
    assert "AliceB (1)" in mailbox.last_text()
    await asyncio.sleep(0.5)
    assert len(mailbox.mails) == 2


async def test_what_is_read_is_not_mailed(
    homeserver: RunningHomeserver, mailbox: FailingMailbox, alice: MatrixClient, bob: MatrixClient, room_id: str
) -> None:
    (await bob.post("v3/pushers/set", pusher())).ok()
    event_id = await send(alice, room_id)
    (await bob.post(f"v3/rooms/{escape(room_id)}/receipt/m.read/{escape(event_id)}")).ok()
    await asyncio.sleep(2.0)
    assert mailbox.mails == []


async def test_only_own_addresses_are_written_to(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient, room_id: str
) -> None:
    (await alice.post("v3/pushers/set", pusher())).is_error(400, "M_THREEPID_NOT_FOUND")
    (await bob.post("v3/pushers/set", pusher(app_id="other"))).is_error(400, "M_INVALID_PARAM")
    (await bob.post("v3/pushers/set", pusher(kind="sms"))).is_error(400, "M_INVALID_PARAM")
    (await bob.post("v3/pushers/set", pusher())).ok()
    # With the address goes the pusher.
    (await bob.post("v3/account/3pid/delete", {"medium": "email", "address": BOB})).ok()
    assert (await bob.get("v3/pushers")).ok()["pushers"] == []


async def test_without_mail(tmp_path: Path) -> None:
    async with running_homeserver(make_config(tmp_path / "quiet")) as quiet:
        bob = await quiet.register("bob")
        (await bob.post("v3/pushers/set", pusher())).is_error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
