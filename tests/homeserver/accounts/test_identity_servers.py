"""Invites by email address, binding and unbinding, with an identity server that speaks TLS and keeps real keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.accounts.identity_server import TOKEN, IdentityServer, running_identity_server
from tests.homeserver.accounts.test_devices_and_account import with_password
from tests.homeserver.running import (
    PASSWORD,
    MatrixClient,
    RunningHomeserver,
    escape,
    make_config,
    running_homeserver,
)

from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.rooms.outcomes import Refused, Sent

BOB = "bob@example.org"


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[IdentityServer]:
    async with running_identity_server(tmp_path / "ca.pem") as server:
        yield server


@pytest.fixture
def homeserver_config(tmp_path: Path, identity: IdentityServer) -> HomeserverConfig:
    return make_config(
        tmp_path / "homeserver",
        outgoing_permitted_ranges=("127.0.0.1",),
        outgoing_ca_file=str(tmp_path / "ca.pem"),
    )


@pytest.fixture
def known_homeserver(homeserver: RunningHomeserver, identity: IdentityServer) -> RunningHomeserver:
    identity.homeserver_key = homeserver.services.signing_key.public_key
    return homeserver


def by_address(identity: IdentityServer, address: str = BOB, **changes: Any) -> dict[str, Any]:
    body = {"id_server": identity.host, "id_access_token": TOKEN, "medium": "email", "address": address}
    return {**body, **changes}


async def room_of(client: MatrixClient, **wish: Any) -> str:
    return (await client.post("v3/createRoom", {"name": "Kitchen", **wish})).ok()["room_id"]


async def state(client: MatrixClient, room_id: str, path: str) -> Any:
    return await client.get(f"v3/rooms/{escape(room_id)}/state/{path}")


async def test_an_address_that_is_known_is_its_user(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient
) -> None:
    identity.known["email", BOB] = bob.user_id
    room_id = await room_of(alice)
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", by_address(identity, "Bob@Example.ORG", reason="x"))).ok()
    member = (await state(alice, room_id, f"m.room.member/{escape(bob.user_id)}")).ok()
    assert (member["membership"], member["reason"]) == ("invite", "x")
    assert identity.invites == []
    again = await alice.post("v3/createRoom", {"invite_3pid": [by_address(identity)], "is_direct": True})
    member = (await state(alice, again.ok()["room_id"], f"m.room.member/{escape(bob.user_id)}")).ok()
    assert member["membership"] == "invite" and member["is_direct"] is True


@pytest.mark.parametrize("way", ["invite", "createRoom"])
async def test_an_address_that_nobody_has_yet_is_invited_and_redeemed(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient, way: str
) -> None:
    identity.stale_pepper = True
    (await alice.put(f"v3/profile/{escape(alice.user_id)}/displayname", {"displayname": "Alice"})).ok()
    if way == "invite":
        room_id = await room_of(alice)
        (await alice.post(f"v3/rooms/{escape(room_id)}/invite", by_address(identity))).ok()
    else:
        room_id = await room_of(alice, invite_3pid=[by_address(identity)])
    (kept,) = identity.invites
    assert kept | {"token": ""} == {
        "medium": "email",
        "address": BOB,
        "room_id": room_id,
        "sender": alice.user_id,
        "room_name": "Kitchen",
        "room_join_rules": "invite",
        "sender_display_name": "Alice",
        "token": "",
    }
    pending = (await state(alice, room_id, f"m.room.third_party_invite/{kept['token']}")).ok()
    assert pending["display_name"] == "b...@e..." and BOB not in str(pending)
    assert len(pending["public_keys"]) == 2 and pending["public_key"] == pending["public_keys"][0]["public_key"]
    assert await homeserver.services.identity_servers.is_key_valid(pending["key_validity_url"], pending["public_key"])
    assert not await homeserver.services.identity_servers.is_key_valid(pending["key_validity_url"], "other")
    # What the invited client does with the link in its mail: it joins with what the identity server signed.
    stolen = identity.signed(bob.user_id, kept["token"]) | {"mxid": alice.user_id}
    (await bob.post(f"v3/join/{escape(room_id)}", {"third_party_signed": stolen})).is_error(403, "M_FORBIDDEN")
    signed = identity.signed(bob.user_id, kept["token"])
    (await bob.post(f"v3/join/{escape(room_id)}", {"third_party_signed": signed})).ok()
    assert (await bob.get("v3/joined_rooms")).ok()["joined_rooms"] == [room_id]


async def test_what_the_identity_server_says_of_a_binding_becomes_an_invite(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await room_of(alice)
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", by_address(identity))).ok()
    token = identity.invites[0]["token"]
    take_up = homeserver.services.federation.memberships.third_party.take_up
    signed = identity.signed(bob.user_id, token)
    forged = signed | {"mxid": "@mallory:localhost"}
    assert isinstance(await take_up(room_id, alice.user_id, bob.user_id, forged), Refused)
    assert isinstance(await take_up(room_id, alice.user_id, bob.user_id, signed | {"token": "other"}), Refused)
    assert isinstance(await take_up("!nowhere", alice.user_id, bob.user_id, signed), Refused)
    assert isinstance(await take_up(room_id, alice.user_id, bob.user_id, signed), Sent)
    (invited,) = (await bob.get("v3/sync")).ok()["rooms"]["invite"]
    assert invited == room_id
    member = (await state(alice, room_id, f"m.room.member/{escape(bob.user_id)}")).ok()
    assert member["third_party_invite"]["display_name"] == "b...@e..."


async def test_a_withdrawn_invite_cannot_be_redeemed(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await room_of(alice)
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", by_address(identity))).ok()
    token = identity.invites[0]["token"]
    (await alice.put(f"v3/rooms/{escape(room_id)}/state/m.room.third_party_invite/{token}", {})).ok()
    signed = identity.signed(bob.user_id, token)
    (await bob.post(f"v3/join/{escape(room_id)}", {"third_party_signed": signed})).is_error(403, "M_FORBIDDEN")


async def test_who_may_not_invite_asks_nobody(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await room_of(alice, power_level_content_override={"invite": 50}, preset="public_chat")
    path = f"v3/rooms/{escape(room_id)}/invite"
    (await bob.post(path, by_address(identity))).is_error(403, "M_FORBIDDEN")
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    (await bob.post(path, by_address(identity))).is_error(403, "M_FORBIDDEN")
    (await alice.post(path, by_address(identity, medium="msisdn"))).is_error(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
    for name in ("id_server", "id_access_token", "address"):
        (await alice.post(path, by_address(identity, **{name: None}))).is_error(400, "M_MISSING_PARAM")
        (await alice.post(path, by_address(identity, **{name: 5}))).is_error(400, "M_BAD_JSON")
    for odd in ("https://localhost", "localhost/x", "a b", "user@localhost", "localhost:99999999", "ü", "\0"):
        (await alice.post(path, by_address(identity, id_server=odd))).is_error(400, "M_SERVER_NOT_TRUSTED")
    assert identity.asked == []


async def test_what_the_identity_server_refuses_is_passed_on(
    homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient
) -> None:
    room_id = await room_of(alice)
    path = f"v3/rooms/{escape(room_id)}/invite"
    (await alice.post(path, by_address(identity, id_access_token="wrong"))).is_error(403, "M_UNAUTHORIZED")
    (await alice.post(path, by_address(identity, id_access_token="a\nb"))).is_error(403, "M_UNAUTHORIZED")
    identity.refuse = (403, {"errcode": "M_TERMS_NOT_SIGNED", "error": "sign"})
    (await alice.post(path, by_address(identity))).is_error(403, "M_TERMS_NOT_SIGNED")
    nonsense = (
        (500, {"errcode": "M_UNKNOWN", "error": "x"}), (200, []), (200, {"algorithms": []}), (302, None), (404, None),
        (200, {"lookup_pepper": "x", "algorithms": ["md5"]}), (200, {"x": "y" * 100_000}),
    )  # fmt: skip
    for refuse in nonsense:
        identity.refuse = refuse
        (await alice.post(path, by_address(identity))).is_error(502, "M_UNKNOWN")
    (await alice.post("v3/createRoom", {"invite_3pid": [by_address(identity)]})).is_error(502, "M_UNKNOWN")
    many = [by_address(identity)] * 21
    (await alice.post("v3/createRoom", {"invite_3pid": many})).is_error(400, "M_INVALID_PARAM")


async def test_binding_and_unbinding(
    known_homeserver: RunningHomeserver, identity: IdentityServer, bob: MatrixClient
) -> None:
    identity.sessions["sid", "secret"] = ("email", BOB)
    asked = {"id_server": identity.host, "id_access_token": TOKEN, "sid": "sid", "client_secret": "secret"}
    (await bob.post("v3/account/3pid/bind", asked)).ok()
    assert identity.known["email", BOB] == bob.user_id
    threepid = {"medium": "email", "address": BOB}
    no_support = {"id_server_unbind_result": "no-support"}
    other = {"medium": "email", "address": "other@example.org"}
    assert (await bob.post("v3/account/3pid/unbind", other)).ok() == no_support
    for status in (400, 404, 501):
        identity.refuse = (status, None)
        assert (await bob.post("v3/account/3pid/unbind", threepid)).ok() == no_support
        assert (await bob.post("v3/account/3pid/delete", threepid)).ok() == no_support
    identity.refuse = (403, {"errcode": "M_FORBIDDEN", "error": "no"})
    (await bob.post("v3/account/3pid/unbind", threepid)).is_error(403, "M_FORBIDDEN")
    identity.refuse = None
    assert (await bob.post("v3/account/3pid/unbind", threepid)).ok() == {"id_server_unbind_result": "success"}
    assert identity.known == {}
    assert (await bob.post("v3/account/3pid/unbind", threepid)).ok() == no_support


async def test_what_was_bound_is_unbound_when_the_account_goes(
    known_homeserver: RunningHomeserver, identity: IdentityServer, alice: MatrixClient, bob: MatrixClient
) -> None:
    identity.sessions["sid", "secret"] = ("email", BOB)
    asked = {"id_server": identity.host, "id_access_token": TOKEN, "sid": "sid", "client_secret": "secret"}
    (await bob.post("v3/account/3pid/bind", asked)).ok()
    gone = await with_password(bob, "POST", "v3/account/deactivate", {}, PASSWORD)
    assert gone.ok() == {"id_server_unbind_result": "success"}
    assert identity.known == {}
    # Nothing to unbind is a success too.
    gone = await with_password(alice, "POST", "v3/account/deactivate", {"erase": True}, PASSWORD)
    assert gone.ok() == {"id_server_unbind_result": "success"}


async def test_identity_servers_are_reached_where_that_is_permitted(tmp_path: Path, identity: IdentityServer) -> None:
    """Not on private addresses by default, and only those of the list if there is one."""
    ca_file = str(tmp_path / "ca.pem")
    async with running_homeserver(make_config(tmp_path / "guarded", outgoing_ca_file=ca_file)) as guarded:
        alice = await guarded.register("alice")
        room_id = await room_of(alice)
        (await alice.post(f"v3/rooms/{escape(room_id)}/invite", by_address(identity))).is_error(502, "M_UNKNOWN")
    listed = make_config(
        tmp_path / "listed",
        outgoing_permitted_ranges=("127.0.0.1",),
        identity_servers=("vector.im",),
        advertised_identity_server="https://vector.im",
        public_base_url="https://localhost",
    )
    async with running_homeserver(listed) as one:
        alice = await one.register("alice")
        room_id = await room_of(alice)
        path = f"v3/rooms/{escape(room_id)}/invite"
        (await alice.post(path, by_address(identity))).is_error(400, "M_SERVER_NOT_TRUSTED")
        well_known = (await alice.get("/.well-known/matrix/client")).ok()
        assert well_known["m.identity_server"] == {"base_url": "https://vector.im"}
    assert identity.asked == []
