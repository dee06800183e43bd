"""Servers that lie about joins, invites, knocks and leaves: refused as the specification says, and nothing breaks."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.federation.federated_house import federated_house
from tests.federation.foreign_room import V1, V2, ForeignRoom
from tests.federation.lying_peer import LyingPeer, escaped
from tests.federation.peers import Authority, Peer, running_peer
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.running import Answer, MatrixClient, escape

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.signing import SigningKey, sign_event

NOBODY = "@nobody:elsewhere.test"


@dataclass
class Scene:
    """Bob on our server, and a server that does as it is told."""

    peer: Peer
    bob: MatrixClient
    server: ScriptedServer

    async def join(self, room: ForeignRoom) -> Answer:
        return await self.bob.post(f"v3/join/{escape(room.room_id)}", via=self.server.server_name)

    async def put(self, uri: str, body: JsonObject) -> Answer:
        base_url = f"https://localhost:{self.peer.federation_port}"
        return await self.server.ask(base_url, self.peer.server_name, "PUT", uri, body)

    async def invite(self, event: Event, body: JsonObject, room_id: str | None = None) -> Answer:
        return await self.put(f"{V2}/invite/{escaped(room_id or event.room_id)}/{escaped(event.event_id)}", body)

    async def rooms(self, kind: str) -> list[str]:
        return list((await self.bob.get("v3/sync")).ok()["rooms"][kind])


@pytest.fixture
async def scene(tmp_path: Path, authority: Authority) -> AsyncIterator[Scene]:
    async with (
        running_peer(tmp_path / "ours", authority) as peer,
        scripted_server(authority, strict=False) as server,
    ):
        # What it says is not held against the specification: that is the point.
        yield Scene(peer, await peer.register("bob"), server)


@pytest.mark.parametrize("version", ["1", "3", "6", "10", "12"])
async def test_the_honest_server_is_believed(scene: Scene, version: str):
    room = ForeignRoom(scene.server, version)
    (await scene.join(room)).ok()
    name = (await scene.bob.get(f"v3/rooms/{escape(room.room_id)}/state/m.room.name")).ok()
    assert name == {"name": "Abroad"}
    assert await scene.rooms("join") == [room.room_id]


@pytest.mark.parametrize(
    "lie",
    [
        {"sender": NOBODY},
        {"state_key": NOBODY},
        {"type": "m.room.topic"},
        {"room_id": "!other:elsewhere.test"},
        {"content": {"membership": "leave"}},
        {"content": None},
        {"prev_events": None},
        {"prev_events": ["$" + "A" * 43] * 30},
        {"auth_events": [1, 2]},
        {"depth": "deep"},
        {"depth": 2**60},
    ],
)
async def test_templates_that_are_not_for_this_join(scene: Scene, lie: JsonObject):
    room = ForeignRoom(scene.server)
    room.template_changes = lie
    (await scene.join(room)).is_error(502, "M_UNKNOWN")
    assert room.taken == []
    assert await scene.rooms("join") == []


async def test_a_room_version_that_is_not_known(scene: Scene):
    room = ForeignRoom(scene.server)
    room.template_changes = {"room_version": "org.example.future"}
    answer = await scene.join(room)
    answer.is_error(400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert answer.body["room_version"] == "org.example.future"


async def test_states_that_are_not_the_room_s(scene: Scene):
    room, other = ForeignRoom(scene.server), ForeignRoom(scene.server, "11")
    old = ForeignRoom(scene.server, "10")
    room.answer()
    true = [event.pdu for event in room.state.values()]
    stranger = SigningKey.from_seed(scene.server.key.key_id, os.urandom(32))
    forged = [sign_event(_unsigned(pdu), scene.server.server_name, stranger, room.rules) for pdu in true]
    again = room.build("m.room.name", {"name": "Another"}, "").pdu
    message = room.build("m.room.message", {"body": "no state"}, None).pdu
    banned = room.build("m.room.member", {"membership": "ban"}, scene.bob.user_id).pdu
    without_create = [pdu for pdu in true if pdu["type"] != "m.room.create"]
    for lie in (
        {"state": None},
        {"auth_chain": {}},
        {"state": []},
        {"state": without_create, "auth_chain": without_create},
        {"state": [1, "two", None]},
        {"state": forged, "auth_chain": forged},
        {"state": [*true, again]},
        {"state": [*true, message]},
        {"state": [*true, banned]},
        {"state": [event.pdu for event in other.state.values()]},
        {"members_omitted": True},
    ):
        room.joined_changes = lie
        (await scene.join(room)).is_error(502, "M_UNKNOWN")
        assert await scene.rooms("join") == []
    # The version of the create event is not the one that was said.
    old.answer()
    old.template_changes = {"room_version": "9"}
    (await scene.join(old)).is_error(502, "M_UNKNOWN")
    room.joined_changes = {}
    room.answer()
    (await scene.join(room)).ok()


def _unsigned(pdu: JsonObject) -> JsonObject:
    return {name: value for name, value in pdu.items() if name not in ("hashes", "signatures")}


async def test_part_of_a_state_that_is_forged_is_left_out(scene: Scene):
    room = ForeignRoom(scene.server)
    stranger = SigningKey.from_seed(scene.server.key.key_id, os.urandom(32))
    topic = room.build("m.room.topic", {"topic": "forged"}, "").pdu
    forged = sign_event(_unsigned(topic), scene.server.server_name, stranger, room.rules)
    tampered = copy.deepcopy(room.build("m.room.avatar", {"url": "mxc://a/b"}, "").pdu)
    tampered["content"]["url"] = "mxc://evil/b"
    true = [event.pdu for event in room.state.values()]
    room.joined_changes = {"state": [*true, forged, tampered]}
    (await scene.join(room)).ok()
    state = (await scene.bob.get(f"v3/rooms/{escape(room.room_id)}/state")).body
    content = {each["type"]: each["content"] for each in state}
    assert "m.room.topic" not in content
    assert content["m.room.avatar"] == {}


async def test_invites_that_are_none(scene: Scene):
    room = ForeignRoom(scene.server)
    bob = scene.bob.user_id
    event, body = room.invite(bob)
    stranger = SigningKey.from_seed(scene.server.key.key_id, os.urandom(32))
    forged = sign_event(_unsigned(event.pdu), scene.server.server_name, stranger, room.rules)
    tampered = {**event.pdu, "content": {"membership": "invite", "reason": "tampered"}}
    other = ForeignRoom(scene.server)
    stripped = [{"type": "m.room.create", "state_key": "", "sender": room.owner, "content": {}}]
    wrong = [
        {**body, "event": forged},
        {**body, "event": tampered},
        {**body, "event": {}},
        {**body, "event": {**event.pdu, "state_key": NOBODY}},
        {**body, "invite_room_state": []},
        {**body, "invite_room_state": None},
        {**body, "invite_room_state": stripped},
        {**body, "invite_room_state": [1]},
        {**body, "invite_room_state": other.glimpse()["knock_room_state"]},
        {**body, "invite_room_state": [*body["invite_room_state"], forged]},
    ]
    for each in wrong:
        (await scene.invite(event, each)).is_error(400, "M_INVALID_PARAM")
    answer = await scene.invite(event, {**body, "room_version": "org.example.future"})
    answer.is_error(400, "M_INCOMPATIBLE_ROOM_VERSION")
    (await scene.invite(event, {"event": event.pdu})).is_error(400, "M_MISSING_PARAM")
    for kind, content, target in (
        ("m.room.member", {"membership": "ban"}, bob),
        ("m.room.topic", {"membership": "invite"}, bob),
        ("m.room.member", {"membership": "invite"}, NOBODY),
    ):
        other_event = room.build(kind, content, target)
        answer = await scene.invite(other_event, {**body, "event": other_event.pdu})
        answer.is_error(400, "M_INVALID_PARAM")
    (await scene.invite(event, body, other.room_id)).is_error(400, "M_INVALID_PARAM")
    missing = room.build("m.room.member", {"membership": "invite"}, f"@nobody:{scene.peer.server_name}")
    (await scene.invite(missing, {**body, "event": missing.pdu})).is_error(403, "M_FORBIDDEN")
    assert await scene.rooms("invite") == []
    signed = (await scene.invite(event, body)).ok()["event"]
    assert set(signed["signatures"]) == {scene.server.server_name, scene.peer.server_name}
    assert await scene.rooms("invite") == [room.room_id]
    # The same again, since the answer may have been lost.
    (await scene.invite(event, body)).ok()


async def test_old_servers_show_less_in_old_rooms(scene: Scene):
    room = ForeignRoom(scene.server, "10")
    event, body = room.invite(scene.bob.user_id)
    name = {"type": "m.room.name", "state_key": "", "sender": room.owner, "content": {"name": "Old"}}
    odd = [
        {**name, "more": 1},
        {**name, "type": "m.room.topic", "content": {"topic": 10**30}},
        7,
        {**name, "sender": 1},
    ]
    (await scene.invite(event, {**body, "invite_room_state": odd})).ok()
    shown = (await scene.bob.get("v3/sync")).ok()["rooms"]["invite"][room.room_id]["invite_state"]["events"]
    assert name in shown
    assert {each["type"] for each in shown} == {"m.room.name", "m.room.member"}
    oldest = ForeignRoom(scene.server, "1")
    event, body = oldest.invite(scene.bob.user_id)
    pdu = {**event.pdu, "unsigned": {"invite_room_state": body["invite_room_state"]}}
    uri = f"{V1}/invite/{escaped(oldest.room_id)}/{escaped(event.event_id)}"
    status, answer = (await scene.put(uri, pdu)).body
    assert status == 200
    assert scene.peer.server_name in answer["event"]["signatures"]
    assert set(await scene.rooms("invite")) == {room.room_id, oldest.room_id}


async def test_a_false_room_version_in_an_invite_does_not_spoil_the_room(scene: Scene):
    room = ForeignRoom(scene.server, "10")
    event, body = room.invite(scene.bob.user_id)
    (await scene.invite(event, {**body, "room_version": "9"})).ok()
    assert await scene.rooms("invite") == [room.room_id]
    (await scene.join(room)).ok()
    version = (await scene.bob.get(f"v3/rooms/{escape(room.room_id)}/state/m.room.create")).ok()["room_version"]
    assert version == "10"
    assert await scene.rooms("invite") == []


async def test_only_who_knows_the_invite_ends_it(scene: Scene):
    room = ForeignRoom(scene.server)
    event, body = room.invite(scene.bob.user_id)
    (await scene.invite(event, body)).ok()
    for auth, ends in (([], False), ([event], True)):
        leave = room.build("m.room.member", {"membership": "leave"}, scene.bob.user_id)
        ids = [*leave.pdu["auth_events"], *(each.event_id for each in auth)]
        pdu = sign_event(
            {**_unsigned(leave.pdu), "auth_events": ids}, scene.server.server_name, scene.server.key, room.rules
        )
        transaction = {"origin": scene.server.server_name, "origin_server_ts": 1, "pdus": [pdu]}
        (await scene.put(f"{V1}/send/{len(ids)}", transaction)).ok()
        assert await scene.rooms("invite") == ([] if ends else [room.room_id])


async def test_a_knock_is_shown_what_can_be_believed(scene: Scene):
    room = ForeignRoom(scene.server, join_rule="knock")
    stranger = SigningKey.from_seed(scene.server.key.key_id, os.urandom(32))
    topic = room.build("m.room.topic", {"topic": "forged"}, "").pdu
    forged = sign_event(_unsigned(topic), scene.server.server_name, stranger, room.rules)
    shown = {"knock_room_state": [*room.glimpse()["knock_room_state"], forged, "odd", {"type": "m.room.topic"}]}
    scene.server.on("PUT", rf"{V1}/send_knock/.+", shown)
    (await scene.bob.post(f"v3/knock/{escape(room.room_id)}", via=scene.server.server_name)).ok()
    events = (await scene.bob.get("v3/sync")).ok()["rooms"]["knock"][room.room_id]["knock_state"]["events"]
    assert {each["type"] for each in events} == {"m.room.create", "m.room.name", "m.room.join_rules", "m.room.member"}


async def test_submitted_members_that_are_not_what_they_should_be(tmp_path: Path, authority: Authority):
    async with federated_house(tmp_path, authority) as house:
        liar, room_id = house.other, house.room_id
        await house.set_state("m.room.join_rules", {"join_rule": "knock"})
        (await liar.ask("GET", f"{V1}/make_join/{escaped(room_id)}/{escaped(NOBODY)}", ver=["12"])).is_error(
            403, "M_FORBIDDEN"
        )
        guest = f"@guest:{liar.name}"
        make = f"{V1}/make_join/{escaped(room_id)}/{escaped(guest)}"
        answer = await liar.ask("GET", make, ver=["1", "2"])
        answer.is_error(400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert answer.body["room_version"] == "12"
        (await liar.ask("GET", make)).is_error(400, "M_INCOMPATIBLE_ROOM_VERSION")
        (await liar.ask("GET", make, ver=["12"])).is_error(403, "M_FORBIDDEN")
        unknown = escaped("!" + "A" * 43)
        (await liar.ask("GET", f"{V1}/make_join/{unknown}/{escaped(guest)}", ver=["12"])).is_error(404, "M_NOT_FOUND")
        knock = _member(liar, "knock", guest)
        good = (await _submit(liar, "v1/send_knock", knock)).ok()
        assert {each["type"] for each in good["knock_room_state"]} >= {"m.room.create", "m.room.join_rules"}
        liar.state["m.room.member", guest] = knock.event_id
        for event, error in (
            (_member(liar, "join", guest), (403, "M_FORBIDDEN")),
            (_member(liar, "leave", NOBODY), (400, "M_INVALID_PARAM")),
            (_member(liar, "leave", guest, sender=liar.user_id), (400, "M_INVALID_PARAM")),
            (_member(liar, "leave", guest, kind="m.room.topic"), (400, "M_INVALID_PARAM")),
            (_member(liar, "leave", guest, prev=["$" + "A" * 43]), (400, "M_INVALID_PARAM")),
            (_member(liar, "knock", guest), (400, "M_INVALID_PARAM")),
        ):
            name = "v2/send_join" if event.content["membership"] == "join" else "v2/send_leave"
            (await _submit(liar, name, event)).is_error(*error)
        leave = _member(liar, "leave", guest, prev=[knock.event_id])
        wrong = {**leave.pdu, "content": {"membership": "leave", "reason": "tampered"}}
        uri = f"{V2}/send_leave/{escaped(room_id)}/{escaped(leave.event_id)}"
        (await liar.ask("PUT", uri, wrong)).is_error(400, "M_INVALID_PARAM")
        (await liar.ask("PUT", uri, {})).is_error(400, "M_INVALID_PARAM")
        (await liar.ask("PUT", uri + "x", leave.pdu)).is_error(400, "M_INVALID_PARAM")
        unsigned = {**leave.pdu, "signatures": {}}
        (await liar.ask("PUT", uri, unsigned)).is_error(400, "M_INVALID_PARAM")
        assert (await liar.ask("PUT", uri.replace("v2", "v1"), leave.pdu)).body == [200, {}]


def _member(
    liar: LyingPeer,
    membership: str,
    user_id: str,
    *,
    sender: str | None = None,
    kind: str = "m.room.member",
    prev: list[str] | None = None,
) -> Event:
    content: dict[str, Any] = {"membership": membership}
    return liar.make(kind, content, user_id, sender=sender or user_id, prev=prev, on_top=False)


async def _submit(liar: LyingPeer, name: str, event: Event) -> Answer:
    uri = f"/_matrix/federation/{name}/{escaped(liar.room_id)}/{escaped(event.event_id)}"
    return await liar.ask("PUT", uri, event.pdu)


async def test_a_false_version_of_a_room_that_is_known(scene: Scene):
    room = ForeignRoom(scene.server, "10", join_rule="public")
    (await scene.join(room)).ok()
    (await scene.bob.post(f"v3/rooms/{escape(room.room_id)}/leave")).ok()
    event, body = room.invite(scene.bob.user_id)
    (await scene.invite(event, {**body, "room_version": "9"})).is_error(400, "M_INVALID_PARAM")
    room.template_changes = {"room_version": "9"}
    (await scene.join(room)).is_error(502, "M_UNKNOWN")
    (await scene.bob.post(f"v3/knock/{escape(room.room_id)}", via=scene.server.server_name)).is_error(502, "M_UNKNOWN")
    room.template_changes = {}
    (await scene.join(room)).ok()


async def test_an_invite_that_was_a_lie_is_gone_after_a_try_to_join(scene: Scene):
    room = ForeignRoom(scene.server, "10")
    event, body = room.invite(scene.bob.user_id)
    (await scene.invite(event, {**body, "room_version": "9"})).ok()
    room.joined_changes = {"state": []}
    (await scene.join(room)).is_error(502, "M_UNKNOWN")
    (await scene.bob.get("v3/initialSync")).ok()
    assert await scene.rooms("invite") == [room.room_id]
    room.joined_changes = {"state": [event.pdu for event in room.state.values() if event.type != "m.room.join_rules"]}
    (await scene.join(room)).is_error(502, "M_UNKNOWN")
    (await scene.bob.get("v3/initialSync")).ok()
    assert await scene.rooms("invite") == []
    (await scene.bob.post(f"v3/rooms/{escape(room.room_id)}/leave")).is_error(404, "M_NOT_FOUND")


ODD: tuple[Any, ...] = (
    {},
    {"event": 1, "room_version": "12"},
    {"event": {}, "room_version": 12},
    {"event": {"state_key": "@bob"}, "room_version": "12", "invite_room_state": {}},
    {"type": "m.room.member", "content": [], "signatures": 1, "hashes": 2, "depth": -1, "sender": "x"},
    {"sender": "@a:b", "state_key": "@a:b", "content": {"third_party_invite": {"signed": {"signatures": 1}}}},
    {"mxid": 1, "invites": {}, "medium": [], "address": None},
    {"medium": "email", "address": "a", "mxid": "@bob:x", "invites": [1, None, {"signed": []}]},
)


@pytest.mark.parametrize(
    "endpoint",
    [
        "PUT v1/send_join/{room}/{event}",
        "PUT v2/send_join/{room}/{event}",
        "PUT v1/send_leave/{room}/{event}",
        "PUT v2/send_leave/{room}/{event}",
        "PUT v1/send_knock/{room}/{event}",
        "PUT v1/invite/{room}/{event}",
        "PUT v2/invite/{room}/{event}",
        "PUT v1/exchange_third_party_invite/{room}",
        "PUT v1/3pid/onbind",
        "GET v1/make_join/{room}/{user}",
        "GET v1/make_leave/{room}/{user}",
        "GET v1/make_knock/{room}/{user}",
        "GET v1/query/directory",
    ],
)
async def test_odd_requests_are_refused(tmp_path: Path, authority: Authority, endpoint: str):
    async with federated_house(tmp_path, authority) as house:
        liar = house.other
        method, _, uri = endpoint.partition(" ")
        for room in (house.room_id, "!nowhere:elsewhere.test", "room", "!" + "ä" * 200):
            names = {"room": escaped(room), "event": escaped("$odd"), "user": escaped(liar.user_id)}
            path = "/_matrix/federation/" + uri.format(**names)
            for body in (
                ODD if method == "PUT" else ({"room_alias": "#a"}, {"room_alias": f"#a:{liar.peer.server_name}"})
            ):
                if method == "PUT":
                    answer = await liar.ask(method, path, body)
                else:
                    answer = await liar.ask(method, path, **body)
                assert 400 <= answer.status < 500 or "make_" in uri, (answer.status, answer.body)
                assert answer.status < 500, (answer.status, answer.body)
                if answer.status != 200:
                    assert isinstance(answer.body["errcode"], str)
