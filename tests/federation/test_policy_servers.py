"""A room with a policy server: what it does not sign is not sent, and what others send unsigned is not shown."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.federated_house import FederatedHouse, federated_house
from tests.federation.peers import Authority, running_peer
from tests.federation.shared_room import until
from tests.homeserver.running import MatrixClient, escape

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import SigningKey, encode_base64, event_signatures

NO_SPAM = {"errcode": "M_FORBIDDEN", "error": "This looks like spam"}
VERSIONS = ("1", "6", "12")


class Watched:
    """A house whose other server is the policy server: it signs whatever does not say "spam"."""

    def __init__(self, house: FederatedHouse) -> None:
        self.house = house
        self.key = SigningKey.from_seed("ed25519:policy_server", os.urandom(32))
        self.asked: list[JsonObject] = []
        self.answer: Any = None
        house.other.server.on("POST", "/_matrix/policy/v1/sign", self._sign)

    async def enable(self, **changes: Any) -> None:
        content = {"via": self.house.other.name, "public_keys": {"ed25519": encode_base64(self.key.public_key)}}
        await self.house.set_state("m.room.policy", {**content, **changes})

    def signature_of(self, pdu: JsonObject) -> JsonObject:
        """{server: {key id: signature}} of an event by the policy server's key."""
        bare = {**pdu, "signatures": {}}
        return event_signatures(bare, self.house.other.name, self.key, ROOM_RULES[self.house.other.version])

    def signed(self, event: Event) -> JsonObject:
        """An event of the other server's user that is signed by both of its keys."""
        name = self.house.other.name
        both = {**event.pdu["signatures"][name], **self.signature_of(event.pdu)[name]}
        return {**event.pdu, "signatures": {name: both}}

    def _sign(self, request: web.Request, body: JsonObject) -> web.Response:
        self.asked.append(body)
        if self.answer is not None:
            return web.json_response(self.answer, status=200)
        if "spam" in str(body["content"]):
            return web.json_response(NO_SPAM, status=400)
        return web.json_response(self.signature_of(body))


@pytest.fixture
async def watched(tmp_path: Path, authority: Authority) -> AsyncIterator[Watched]:
    async with federated_house(tmp_path, authority) as house:
        yield Watched(house)


async def say(client: MatrixClient, room_id: str, body: str) -> Any:
    content = {"msgtype": "m.text", "body": body}
    return await client.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/{escape(body)}", content)


@pytest.mark.parametrize("version", VERSIONS)
async def test_events_are_signed_before_anybody_sees_them(tmp_path: Path, authority: Authority, version: str):
    async with federated_house(tmp_path, authority, room={"room_version": version}) as house:
        watched = Watched(house)
        await house.send("before")
        await watched.enable()
        assert watched.asked == []
        sent = await house.send("hello")
        await house.other_knows(sent)
        received = house.other.events[sent]
        assert received.pdu["signatures"][house.other.name] == watched.signature_of(received.pdu)[house.other.name]
        (await say(house.owner, house.room_id, "spam")).is_error(400, "M_FORBIDDEN")
        assert (await say(house.owner, house.room_id, "spam")).body["error"] == "This looks like spam"
        topic = f"v3/rooms/{escape(house.room_id)}/state/m.room.topic"
        (await house.owner.put(topic, {"topic": "spam"})).is_error(400, "M_FORBIDDEN")
        (await house.owner.put(topic, {"topic": "Plants"})).ok()
        assert await house.bodies() == ["before", "hello"]
        # Once asked, once sent: the same transaction id gives the same event.
        assert await house.send("hello") == sent


async def test_every_way_to_make_an_event_asks(watched: Watched, authority: Authority, tmp_path: Path):
    house = watched.house
    await watched.enable()
    carol = await house.peer.register("carol")
    room = escape(house.room_id)
    steps = [
        house.owner.post(f"v3/rooms/{room}/invite", {"user_id": carol.user_id}),
        carol.post(f"v3/rooms/{room}/join"),
        carol.put(f"v3/profile/{escape(carol.user_id)}/displayname", {"displayname": "Carol"}),
        house.owner.post(f"v3/rooms/{room}/kick", {"user_id": carol.user_id}),
        house.owner.post(f"v3/rooms/{room}/ban", {"user_id": carol.user_id}),
        house.owner.post(f"v3/rooms/{room}/unban", {"user_id": carol.user_id}),
    ]
    for number, step in enumerate(steps, 1):
        (await step).ok()
        assert len(watched.asked) == number
    event_id = await house.send("hello")
    (await house.owner.put(f"v3/rooms/{room}/redact/{escape(event_id)}/1", {})).ok()
    assert [pdu["type"] for pdu in watched.asked[-2:]] == ["m.room.message", "m.room.redaction"]
    async with running_peer(tmp_path / "two", authority) as two:
        dave = await two.register("dave")
        (await house.owner.post(f"v3/rooms/{room}/invite", {"user_id": dave.user_id})).ok()
        (await dave.post(f"v3/rooms/{room}/join")).ok()
        (await say(dave, house.room_id, "from two")).ok()
        (await say(dave, house.room_id, "more spam")).is_error(400, "M_FORBIDDEN")

        async def has_come() -> bool:
            return (await house.bodies())[-1] == "from two"

        await until(has_come)
    before = len(watched.asked)
    (await house.owner.post(f"v3/rooms/{room}/upgrade", {"new_version": "11"})).ok()
    # Into the old room: a sign on the door, and who may speak there.
    assert [pdu["type"] for pdu in watched.asked[before:]][:1] == ["m.room.tombstone"]


async def test_what_others_send_unsigned_is_asked_for_and_not_shown_if_refused(watched: Watched):
    house = watched.house
    await house.other_knows(await house.send("first"))
    await watched.enable()
    events = [house.other.message(body) for body in ("fine", "spam", "fine too")]
    for event in events[:2]:
        assert await house.other.sent(event) == {event.event_id: None}
    assert await house.bodies() == ["first", "fine"]
    assert [pdu["content"]["body"] for pdu in watched.asked] == ["fine", "spam"]
    (await house.other.send(watched.signed(events[2]))).ok()
    assert await house.bodies() == ["first", "fine", "fine too"]
    assert len(watched.asked) == 2
    # What follows a refused event in the graph goes on.
    await house.other_knows(await house.send("last"))


async def test_a_policy_server_that_is_away_or_of_no_use(watched: Watched):
    house = watched.house
    await watched.enable()
    for answer in ({}, {house.other.name: {"ed25519:policy_server": "AAAA"}}, {house.other.name: 1}):
        watched.answer = answer
        (await say(house.owner, house.room_id, "hello")).is_error(502, "M_UNKNOWN")
    watched.answer = None
    await watched.enable(public_keys={"ed25519": "no key"})
    (await say(house.owner, house.room_id, "hello")).is_error(502, "M_UNKNOWN")
    # It can be disabled without asking it.
    for content in ({}, {"via": 1, "public_keys": {}}, {"via": house.other.name, "public_keys": {"ed25519": 1}}):
        await house.set_state("m.room.policy", content)
        asked = len(watched.asked)
        (await say(house.owner, house.room_id, f"not asked for {asked} {content}")).ok()
        assert len(watched.asked) == asked
    # A server that nobody in the room is of is none.
    await house.set_state("m.room.policy", {"via": "elsewhere.test", "public_keys": {"ed25519": "AA"}})
    (await say(house.owner, house.room_id, "nobody is there")).ok()


async def test_a_policy_server_that_leaves_is_asked_no_more(watched: Watched):
    house = watched.house
    await watched.enable()
    await house.other_knows(await house.send("hello"))
    leave = house.other.make("m.room.member", {"membership": "leave"}, house.other.user_id)
    (await house.other.send(watched.signed(leave))).ok()
    asked = len(watched.asked)
    (await say(house.owner, house.room_id, "spam")).ok()
    assert len(watched.asked) == asked
