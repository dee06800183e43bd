"""Users of one of our servers in rooms of another: invited, joining, knocking, leaving, removed; in every version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.federation.peers import Peer, running_peers
from tests.federation.shared_room import until
from tests.homeserver.running import MatrixClient, escape

VERSIONS = [str(number) for number in range(1, 13)]
WITH_KNOCK = VERSIONS[6:]
WITH_RESTRICTED = VERSIONS[7:]


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[list[Peer]]:
    async with running_peers(tmp_path, 2) as both:
        yield both


async def create(client: MatrixClient, version: str = "12", preset: str = "public_chat", **body: Any) -> str:
    made = await client.post("v3/createRoom", {"room_version": version, "preset": preset, **body})
    return str(made.ok()["room_id"])


async def membership(client: MatrixClient, room_id: str, user_id: str) -> str | None:
    answer = await client.get(f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(user_id)}")
    return answer.body.get("membership") if answer.status == 200 else None


async def rooms_of(client: MatrixClient, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("v3/sync")).ok()["rooms"][kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_user_joins_a_public_room_of_another_server(peers: list[Peer], version: str):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, version, name="Greenhouse")
    await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", {"msgtype": "m.text", "body": "before"})
    joined = await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)
    assert joined.ok() == {"room_id": room_id}
    assert await membership(bob, room_id, alice.user_id) == "join"
    assert await membership(alice, room_id, bob.user_id) == "join"
    states = [
        {
            (each["type"], each["state_key"]): each["event_id"]
            for each in (await client.request("GET", f"v3/rooms/{escape(room_id)}/state")).body
        }
        for client in (alice, bob)
    ]
    assert states[0] == states[1]
    # A second user of the server comes in without anybody's help.
    carol = await two.register("carol")
    (await carol.post(f"v3/join/{escape(room_id)}")).ok()


async def test_a_room_is_joined_by_its_alias(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, room_alias_name="greenhouse")
    alias = f"#greenhouse:{one.server_name}"
    found = (await bob.get(f"v3/directory/room/{escape(alias)}")).ok()
    assert found == {"room_id": room_id, "servers": [one.server_name]}
    assert (await bob.post(f"v3/join/{escape(alias)}")).ok() == {"room_id": room_id}
    found = (await bob.get(f"v3/directory/room/{escape(alias)}")).ok()
    assert sorted(found["servers"]) == sorted([one.server_name, two.server_name])
    missing = escape(f"#nothing:{one.server_name}")
    (await bob.get(f"v3/directory/room/{missing}")).is_error(404, "M_NOT_FOUND")
    (await bob.post(f"v3/join/{missing}")).is_error(404, "M_NOT_FOUND")
    (await bob.get(f"v3/directory/room/{escape('#a:localhost:1')}")).is_error(502, "M_UNKNOWN")


async def test_servers_are_asked_in_turn_and_the_best_reason_is_told(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    closed = await create(alice, preset="private_chat")
    path = f"v3/join/{escape(closed)}?via=localhost:1&via={one.server_name}"
    answer = await bob.post(path)
    answer.is_error(403, "M_FORBIDDEN")
    assert one.server_name in answer.body["error"]
    answer = await bob.post(f"v3/join/{escape(closed)}?server_name=localhost:1")
    answer.is_error(502, "M_UNKNOWN")
    assert "localhost:1" in answer.body["error"]
    unknown = "!" + "A" * 43
    (await bob.post(f"v3/join/{unknown}")).is_error(404, "M_NOT_FOUND")
    (await bob.post(f"v3/join/{unknown}", via=one.server_name)).is_error(404, "M_NOT_FOUND")
    (await bob.post(f"v3/knock/{unknown}", via=one.server_name)).is_error(404, "M_NOT_FOUND")
    room_id = await create(alice)
    path = f"v3/join/{escape(room_id)}?via=localhost:1&via=not+a+server&via={two.server_name}&via={one.server_name}"
    (await bob.post(path)).ok()


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invite_is_shown_and_accepted(peers: list[Peer], version: str):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, version, "private_chat", name="Greenhouse", topic="Plants")
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id, "reason": "Come in"})).ok()
    news = (await bob.get("v3/sync", since=since)).ok()["rooms"]["invite"][room_id]["invite_state"]["events"]
    shown = {(each["type"], each["state_key"]): each for each in news}
    assert all(set(each) == {"type", "state_key", "sender", "content"} for each in news)
    assert shown["m.room.name", ""]["content"] == {"name": "Greenhouse"}
    assert ("m.room.create", "") in shown
    assert ("m.room.join_rules", "") in shown
    assert shown["m.room.member", alice.user_id]["content"]["membership"] == "join"
    assert shown["m.room.member", bob.user_id]["content"]["membership"] == "invite"
    assert shown["m.room.member", bob.user_id]["content"]["reason"] == "Come in"
    assert (await rooms_of(bob, "invite")).keys() == {room_id}
    assert await membership(alice, room_id, bob.user_id) == "invite"
    (await bob.post(f"v3/rooms/{escape(room_id)}/join")).ok()
    assert await membership(alice, room_id, bob.user_id) == "join"
    assert (await rooms_of(bob, "invite")) == {}
    assert (await rooms_of(bob, "join")).keys() == {room_id}


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invite_is_rejected(peers: list[Peer], version: str):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, version, "private_chat")
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id})).ok()
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave", {"reason": "No time"})).ok()
    assert await membership(alice, room_id, bob.user_id) == "leave"
    news = (await bob.get("v3/sync", since=since)).ok()["rooms"]["leave"]
    assert news[room_id]["timeline"]["events"][0]["content"] == {"membership": "leave", "reason": "No time"}
    assert await rooms_of(bob, "invite") == {}
    # It may be sent again.
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id})).ok()
    assert (await rooms_of(bob, "invite")).keys() == {room_id}
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    (await bob.post(f"v3/rooms/{escape(room_id)}/forget")).ok()


async def test_an_invite_by_a_server_that_is_down_is_rejected_here(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    for version in ("1", "6", "12"):
        room_id = await create(alice, version, "private_chat")
        (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id})).ok()
    invited = await rooms_of(bob, "invite")
    assert len(invited) == 3
    await one.stop()
    for room_id in invited:
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    assert await rooms_of(bob, "invite") == {}


async def test_an_invite_is_withdrawn(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, preset="private_chat")
    for undo in ("kick", "ban"):
        (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id})).ok()
        assert (await rooms_of(bob, "invite")).keys() == {room_id}
        (await alice.post(f"v3/rooms/{escape(room_id)}/{undo}", {"user_id": bob.user_id})).ok()

        async def is_gone() -> bool:
            return await rooms_of(bob, "invite") == {}

        await until(is_gone)
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).is_error(403, "M_FORBIDDEN")


async def test_invites_are_blocked_or_hidden_as_their_user_wishes(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, preset="private_chat")
    setting = f"v3/user/{escape(bob.user_id)}/account_data/m.invite_permission_config"
    (await bob.put(setting, {"default_action": "block"})).ok()
    path, body = f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id}
    (await alice.post(path, body)).is_error(403, "M_INVITE_BLOCKED")
    carol = await two.register("carol")
    own_room = await create(carol, preset="private_chat")
    (await carol.post(f"v3/rooms/{escape(own_room)}/invite", body)).is_error(403, "M_INVITE_BLOCKED")
    (await carol.post("v3/createRoom", {"invite": [bob.user_id]})).is_error(403, "M_INVITE_BLOCKED")
    state = f"v3/rooms/{escape(own_room)}/state/m.room.member/{escape(bob.user_id)}"
    (await carol.put(state, {"membership": "invite"})).is_error(403, "M_INVITE_BLOCKED")
    (await bob.put(setting, {})).ok()
    (await alice.post(path, body)).ok()
    assert (await rooms_of(bob, "invite")).keys() == {room_id}
    ignored = f"v3/user/{escape(bob.user_id)}/account_data/m.ignored_user_list"
    (await bob.put(ignored, {"ignored_users": {alice.user_id: {}}})).ok()
    assert await rooms_of(bob, "invite") == {}
    (await bob.put(ignored, {"ignored_users": {}})).ok()
    assert (await rooms_of(bob, "invite")).keys() == {room_id}
    (await bob.put(setting, {"default_action": "block"})).ok()
    assert await rooms_of(bob, "invite") == {}


async def test_invites_that_cannot_be_are_refused(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, preset="private_chat")
    path = f"v3/rooms/{escape(room_id)}/invite"
    (await alice.post(path, {"user_id": f"@nobody:{two.server_name}"})).is_error(403, "M_FORBIDDEN")
    (await alice.post(path, {"user_id": "@a:localhost:1"})).is_error(502, "M_UNKNOWN")
    (await alice.post(path, {"user_id": "nobody"})).is_error(400, "M_INVALID_PARAM")
    closed = await create(alice, preset="private_chat", creation_content={"m.federate": False})
    (await alice.post(f"v3/rooms/{escape(closed)}/invite", {"user_id": bob.user_id})).is_error(403, "M_FORBIDDEN")
    assert await membership(alice, room_id, f"@nobody:{two.server_name}") is None


async def test_a_new_room_invites_users_of_other_servers(peers: list[Peer]):
    one, two = peers
    alice, bob, carol = await one.register("alice"), await two.register("bob"), await one.register("carol")
    room_id = await create(
        alice,
        preset="trusted_private_chat",
        invite=[bob.user_id, carol.user_id, f"@nobody:{two.server_name}"],
        is_direct=True,
    )
    shown = (await rooms_of(bob, "invite"))[room_id]["invite_state"]["events"]
    own = next(each for each in shown if each["state_key"] == bob.user_id)
    assert own["content"]["is_direct"] is True
    assert await membership(alice, room_id, carol.user_id) == "invite"
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()


@pytest.mark.parametrize("version", WITH_KNOCK)
async def test_a_knock_is_answered_or_taken_back(peers: list[Peer], version: str):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await create(alice, version, "private_chat", name="Greenhouse", initial_state=[rule])
    knock = f"v3/knock/{escape(room_id)}?via={one.server_name}"
    assert (await bob.post(knock, {"reason": "Please"})).ok() == {"room_id": room_id}
    assert await membership(alice, room_id, bob.user_id) == "knock"
    shown = {each["type"]: each for each in (await rooms_of(bob, "knock"))[room_id]["knock_state"]["events"]}
    assert shown["m.room.name"]["content"] == {"name": "Greenhouse"}
    assert shown["m.room.member"]["content"]["reason"] == "Please"
    assert "m.room.create" in shown
    # Taken back.
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    assert await membership(alice, room_id, bob.user_id) == "leave"
    assert await rooms_of(bob, "knock") == {}
    # Refused.
    (await bob.post(knock)).ok()
    (await alice.post(f"v3/rooms/{escape(room_id)}/kick", {"user_id": bob.user_id})).ok()

    async def is_gone() -> bool:
        return await rooms_of(bob, "knock") == {}

    await until(is_gone)
    # Granted.
    (await bob.post(knock)).ok()
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": bob.user_id})).ok()
    assert (await rooms_of(bob, "invite")).keys() == {room_id}
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    assert await membership(alice, room_id, bob.user_id) == "join"


async def test_where_knocking_is_not_allowed(peers: list[Peer]):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    for version in ("6", "12"):
        room_id = await create(alice, version, "private_chat")
        (await bob.post(f"v3/knock/{escape(room_id)}", via=one.server_name)).is_error(403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", WITH_RESTRICTED)
async def test_a_restricted_room_is_joined_by_who_meets_a_condition(peers: list[Peer], version: str):
    one, two = peers
    alice, bob, carol = await one.register("alice"), await two.register("bob"), await two.register("carol")
    space = await create(alice, version, "public_chat")
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room_id = await create(alice, version, "private_chat", initial_state=state)
    path = f"v3/join/{escape(room_id)}?via={one.server_name}"
    (await bob.post(path)).is_error(403, "M_FORBIDDEN")
    (await bob.post(f"v3/join/{escape(space)}", via=one.server_name)).ok()
    (await bob.post(path)).ok()
    member = (await alice.get(f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(bob.user_id)}")).ok()
    assert member["join_authorised_via_users_server"] == alice.user_id
    # This server is in the room now, but nobody on it may invite; the other one still can.
    (await carol.post(f"v3/join/{escape(room_id)}")).is_error(403, "M_FORBIDDEN")
    (await carol.post(f"v3/join/{escape(space)}")).ok()
    levels = (await alice.get(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels")).ok()
    (await alice.put(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels", {**levels, "invite": 50})).ok()

    async def has_heard() -> bool:
        found = await bob.get(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels")
        return bool(found.ok()["invite"] == 50)

    await until(has_heard)
    (await carol.post(f"v3/join/{escape(room_id)}")).ok()
    assert await membership(alice, room_id, carol.user_id) == "join"
    assert await membership(bob, room_id, carol.user_id) == "join"


@pytest.mark.parametrize("version", VERSIONS)
async def test_members_of_another_server_are_removed_and_come_back(peers: list[Peer], version: str):
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = await create(alice, version)
    join = f"v3/join/{escape(room_id)}?via={one.server_name}"
    (await bob.post(join)).ok()

    async def left() -> bool:
        return room_id not in await rooms_of(bob, "join")

    for change in ("kick", "ban"):
        (await alice.post(f"v3/rooms/{escape(room_id)}/{change}", {"user_id": bob.user_id})).ok()
        await until(left)
        if change == "ban":
            (await bob.post(join)).is_error(403, "M_FORBIDDEN")
            (await alice.post(f"v3/rooms/{escape(room_id)}/unban", {"user_id": bob.user_id})).ok()
        (await alice.put(f"v3/rooms/{escape(room_id)}/state/m.room.topic", {"topic": f"after a {change}"})).ok()
        (await bob.post(join)).ok()
        topic = (await bob.get(f"v3/rooms/{escape(room_id)}/state/m.room.topic")).ok()
        assert topic == {"topic": f"after a {change}"}
        assert await membership(alice, room_id, bob.user_id) == "join"
    # The last user of the server leaves by themselves.
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()

    async def is_told() -> bool:
        return await membership(alice, room_id, bob.user_id) == "leave"

    await until(is_told)
    (await bob.post(f"v3/rooms/{escape(room_id)}/forget")).ok()
    (await alice.put(f"v3/rooms/{escape(room_id)}/state/m.room.topic", {"topic": "alone"})).ok()
    (await bob.post(join)).ok()
    assert (await bob.get(f"v3/rooms/{escape(room_id)}/state/m.room.topic")).ok() == {"topic": "alone"}
