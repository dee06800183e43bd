"""Third-party invites between two servers: taken up by the invited user, or by word of their identity server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.peers import Authority, Peer, running_peers
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json

VERSIONS = ("1", "6", "10", "11", "12")
IDENTITY = "identity.test"
TOKEN = "secret token"


class House:
    """Alice's private room on one server, with an invite of whoever owns an address; Bob is on the other server."""

    def __init__(self, one: Peer, two: Peer, identity: ScriptedServer) -> None:
        self.one = one
        self.two = two
        self.identity = identity
        self.key = SigningKey.from_seed("ed25519:1", os.urandom(32))
        self.alice: MatrixClient
        self.bob: MatrixClient
        self.room_id = ""

    async def fill(self, version: str) -> None:
        self.alice, self.bob = await self.one.register("alice"), await self.two.register("bob")
        made = await self.alice.post("v3/createRoom", {"room_version": version, "preset": "private_chat"})
        self.room_id = str(made.ok()["room_id"])
        content = {
            "display_name": "b...@example.org",
            "public_key": encode_base64(self.key.public_key),
            "key_validity_url": f"https://{self.identity.server_name}/isvalid",
        }
        path = f"v3/rooms/{escape(self.room_id)}/state/m.room.third_party_invite/{escape(TOKEN)}"
        (await self.alice.put(path, content)).ok()

    def signed(self, **changes: Any) -> dict[str, Any]:
        """What the identity server says: that Bob owns the address."""
        said = {"mxid": self.bob.user_id, "token": TOKEN, "sender": self.alice.user_id, **changes}
        return sign_json(said, IDENTITY, self.key)

    async def membership(self) -> Any:
        path = f"v3/rooms/{escape(self.room_id)}/state/m.room.member/{escape(self.bob.user_id)}"
        return (await self.alice.get(path)).body

    async def invited(self) -> bool:
        return self.room_id in (await self.bob.get("v3/sync")).ok()["rooms"]["invite"]

    async def onbind(self, **changes: Any) -> Any:
        invite = {
            "medium": "email",
            "address": "bob@example.org",
            "mxid": self.bob.user_id,
            "room_id": self.room_id,
            "sender": self.alice.user_id,
            "signed": self.signed(),
            **changes,
        }
        body = {"medium": "email", "address": "bob@example.org", "mxid": self.bob.user_id, "invites": [invite]}
        return await self.two.client().put("/_matrix/federation/v1/3pid/onbind", body)


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[House]:
    async with running_peers(tmp_path, 2, authority) as (one, two), scripted_server(authority) as identity:
        identity.on("GET", "/isvalid", {"valid": True})
        yield House(one, two, identity)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_joins_with_what_the_identity_server_signed(house: House, version: str):
    await house.fill(version)
    join = f"v3/join/{escape(house.room_id)}?via={house.one.server_name}"
    forged = {**house.signed(), "token": "another"}
    (await house.bob.post(join, {"third_party_signed": forged})).is_error(403, "M_FORBIDDEN")
    other = SigningKey.from_seed("ed25519:1", os.urandom(32))
    said = {"mxid": house.bob.user_id, "token": TOKEN, "sender": house.alice.user_id}
    (await house.bob.post(join, {"third_party_signed": sign_json(said, IDENTITY, other)})).is_error(403, "M_FORBIDDEN")
    (await house.bob.post(join, {"third_party_signed": house.signed()})).ok()
    assert (await house.membership())["membership"] == "join"


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_identity_server_tells_of_the_invite(house: House, version: str):
    await house.fill(version)
    (await house.onbind()).ok()
    member = await house.membership()
    assert member["membership"] == "invite"
    assert member["third_party_invite"]["display_name"] == "b...@example.org"
    assert await house.invited()
    (await house.bob.post(f"v3/rooms/{escape(house.room_id)}/join")).ok()
    assert (await house.membership())["membership"] == "join"


async def test_what_does_not_fit_is_left_alone(house: House):
    await house.fill("12")
    wrong = sign_json(
        {"mxid": house.bob.user_id, "token": TOKEN}, IDENTITY, SigningKey.from_seed("ed25519:1", bytes(32))
    )
    for changes in (
        {"mxid": f"@carol:{house.two.server_name}"},
        {"signed": house.signed(mxid="@carol:x")},
        {"signed": wrong},
        {"signed": None},
        {"sender": "nobody"},
        {"sender": f"@carol:{house.one.server_name}"},
        {"room_id": "!" + "A" * 43},
    ):
        (await house.onbind(**changes)).ok()
        assert "membership" not in await house.membership(), changes
    client = house.two.client()
    path = "/_matrix/federation/v1/3pid/onbind"
    (await client.put(path, {})).is_error(400, "M_MISSING_PARAM")
    body = {"medium": "email", "address": "a@b", "mxid": house.alice.user_id, "invites": []}
    (await client.put(path, body)).is_error(400, "M_INVALID_PARAM")
    assert not await house.invited()


async def test_the_invited_server_is_in_the_room_already(house: House):
    await house.fill("12")
    carol = await house.two.register("carol")
    (await house.alice.post(f"v3/rooms/{escape(house.room_id)}/invite", {"user_id": carol.user_id})).ok()
    (await carol.post(f"v3/rooms/{escape(house.room_id)}/join")).ok()
    (await house.onbind()).ok()
    assert (await house.membership())["membership"] == "invite"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await house.invited():
            await asyncio.sleep(0.02)
    (await house.bob.post(f"v3/rooms/{escape(house.room_id)}/join")).ok()


async def test_a_server_in_the_room_stands_in_for_one_that_is_down(house: House):
    await house.fill("12")
    carol = await house.two.register("carol")
    (await house.alice.post(f"v3/rooms/{escape(house.room_id)}/invite", {"user_id": carol.user_id})).ok()
    (await carol.post(f"v3/rooms/{escape(house.room_id)}/join")).ok()
    await house.one.stop()
    (await house.onbind()).ok()
    assert await house.invited()
    (await house.bob.post(f"v3/rooms/{escape(house.room_id)}/join")).ok()
    await house.one.start()
    house.one.again(house.alice)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await house.membership()).get("membership") != "join":
            await asyncio.sleep(0.05)


async def test_only_what_is_whole_is_exchanged(house: House, authority: Authority):
    await house.fill("12")
    uri = f"/_matrix/federation/v1/exchange_third_party_invite/{escape(house.room_id)}"
    content = {"membership": "invite", "third_party_invite": {"display_name": "b", "signed": house.signed()}}
    good = {
        "type": "m.room.member",
        "room_id": house.room_id,
        "sender": house.alice.user_id,
        "state_key": house.bob.user_id,
        "content": content,
    }
    async with scripted_server(authority, strict=False) as peer:
        for body in (
            {**good, "sender": house.bob.user_id},
            {**good, "room_id": "!other:x"},
            {**good, "type": "m.room.topic"},
            {**good, "content": {**content, "membership": "join"}},
            {**good, "content": {"membership": "invite"}},
            {**good, "state_key": "nobody"},
        ):
            answer = await peer.ask(house.one.base_url, house.one.server_name, "PUT", uri, body)
            answer.is_error(400, "M_INVALID_PARAM")
        (await peer.ask(house.one.base_url, house.one.server_name, "PUT", uri, {})).is_error(400, "M_MISSING_PARAM")
        answer = await peer.ask(house.one.base_url, house.one.server_name, "PUT", uri, good)
        answer.ok()
    assert (await house.membership())["membership"] == "invite"


@pytest.mark.parametrize(
    "said", [{"valid": False}, {}, [], {"valid": "yes"}, None], ids=["no", "nothing", "list", "words", "silence"]
)
async def test_a_key_that_the_identity_server_has_revoked(house: House, said: Any):
    await house.fill("12")
    key = encode_base64(house.key.public_key)

    def answer(request: web.Request, body: Any) -> web.Response:
        assert request.query["public_key"] == key
        return web.json_response(said, status=404 if said is None else 200)

    house.identity.on("GET", "/isvalid", answer)
    (await house.onbind()).ok()
    assert "membership" not in await house.membership()
    join = f"v3/join/{escape(house.room_id)}?via={house.one.server_name}"
    (await house.bob.post(join, {"third_party_signed": house.signed()})).is_error(403, "M_FORBIDDEN")
    carol = await house.one.register("carol")
    signed = sign_json({"mxid": carol.user_id, "token": TOKEN, "sender": house.alice.user_id}, IDENTITY, house.key)
    path = f"v3/rooms/{escape(house.room_id)}/join"
    (await carol.post(path, {"third_party_signed": signed})).is_error(403, "M_FORBIDDEN")
    house.identity.on("GET", "/isvalid", {"valid": True})
    (await carol.post(path, {"third_party_signed": signed})).ok()
