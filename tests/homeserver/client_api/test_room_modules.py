"""Spaces, upgrades, search, reports, mutual rooms, third-party invites and deprecated reads over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json

_numbers = iter(range(10**9))


async def make_room(client: MatrixClient, **wish: Any) -> str:
    return (await client.post("v3/createRoom", wish)).ok()["room_id"]


async def make_space(client: MatrixClient, **wish: Any) -> str:
    return await make_room(client, creation_content={"type": "m.space"}, **wish)


async def add_child(client: MatrixClient, space: str, child: str, **content: Any) -> None:
    content.setdefault("via", ["localhost"])
    (await client.put(f"v3/rooms/{escape(space)}/state/m.space.child/{escape(child)}", content)).ok()


async def send(client: MatrixClient, room: str, body: str) -> str:
    path = f"v3/rooms/{escape(room)}/send/m.room.message/{next(_numbers)}"
    return (await client.put(path, {"msgtype": "m.text", "body": body})).ok()["event_id"]


async def state(client: MatrixClient, room: str, kind: str, key: str = "") -> Any:
    return (await client.get(f"v3/rooms/{escape(room)}/state/{kind}/{escape(key)}")).ok()


async def test_hierarchy_pages_through_a_tree_with_a_loop(alice: MatrixClient, bob: MatrixClient) -> None:
    space, inner = await make_space(alice, preset="public_chat"), await make_space(alice, preset="public_chat")
    open_room = await make_room(alice, preset="public_chat", name="open")
    secret = await make_room(alice, name="secret")
    restricted = [{"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": [
        {"type": "m.room_membership", "room_id": space}]}}]  # fmt: skip
    members_only = await make_room(alice, initial_state=restricted)
    await add_child(alice, space, inner, order="a", suggested=True)
    await add_child(alice, space, open_room, order="b")
    await add_child(alice, space, secret)
    await add_child(alice, space, members_only)
    await add_child(alice, space, "!nowhere:localhost")
    await add_child(alice, inner, space)
    await add_child(alice, inner, inner)
    path = f"v1/rooms/{escape(space)}/hierarchy"
    rooms = (await bob.get(path)).ok()["rooms"]
    assert [room["room_id"] for room in rooms] == [space, inner, open_room]
    assert [child["state_key"] for child in rooms[0]["children_state"]][:2] == [inner, open_room]
    assert set(rooms[0]["children_state"][0]) == {"type", "state_key", "sender", "content", "origin_server_ts"}
    assert rooms[0]["room_type"] == "m.space" and rooms[2]["children_state"] == []
    (await bob.post(f"v3/join/{escape(space)}")).ok()
    rooms = (await bob.get(path)).ok()["rooms"]
    assert [room["room_id"] for room in rooms] == [space, inner, open_room, members_only]
    assert rooms[3]["allowed_room_ids"] == [space]
    collected, token = [], {}
    while True:
        page = (await bob.get(path, limit=1, **token)).ok()
        collected += [room["room_id"] for room in page["rooms"]]
        if "next_batch" not in page:
            break
        token = {"from": page["next_batch"]}
    assert collected == [space, inner, open_room, members_only]
    old_path = f"unstable/org.matrix.msc2946/rooms/{escape(space)}/hierarchy"
    suggested = (await bob.get(old_path, suggested_only=True)).ok()["rooms"]
    assert [room["room_id"] for room in suggested] == [space, inner]
    assert [room["room_id"] for room in (await bob.get(path, max_depth=0)).ok()["rooms"]] == [space]
    first = (await bob.get(path, limit=1)).ok()["next_batch"]
    (await bob.get(path, max_depth=2, **{"from": first})).is_error(400, "M_INVALID_PARAM")
    (await bob.get(path, **{"from": "x"})).is_error(400, "M_INVALID_PARAM")
    (await bob.get(f"v1/rooms/{escape(secret)}/hierarchy")).is_error(403, "M_FORBIDDEN")
    (await bob.get("v1/rooms/!nowhere:localhost/hierarchy")).is_error(403, "M_FORBIDDEN")


async def test_room_summary(alice: MatrixClient, bob: MatrixClient) -> None:
    gate = await make_room(alice)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": gate}]}
    initial = [
        {"type": "m.room.join_rules", "content": rules},
        {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
    ]
    room = await make_room(alice, name="Cellar", initial_state=initial, room_alias_name="cellar")
    (await bob.get(f"v1/room_summary/{escape(room)}")).is_error(404, "M_NOT_FOUND")
    summary = (await alice.get("v1/room_summary/%23cellar:localhost")).ok()
    assert summary["allowed_room_ids"] == [gate] and summary["encryption"] == "m.megolm.v1.aes-sha2"
    assert (summary["room_version"], summary["membership"], summary["num_joined_members"]) == ("12", "join", 1)
    (await alice.post(f"v3/rooms/{escape(gate)}/invite", {"user_id": bob.user_id})).ok()
    (await bob.post(f"v3/join/{escape(gate)}")).ok()
    assert (await bob.get(f"v1/room_summary/{escape(room)}")).ok()["name"] == "Cellar"
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    joined = await state(alice, room, "m.room.member", bob.user_id)
    assert joined["join_authorised_via_users_server"] == alice.user_id


@pytest.mark.parametrize("old", ["1", "6", "9", "11", "12"])
@pytest.mark.parametrize("new", ["2", "8", "10", "11", "12"])
async def test_upgrade(alice: MatrixClient, bob: MatrixClient, old: str, new: str) -> None:
    wish = {
        "room_version": old,
        "preset": "public_chat",
        "visibility": "public",
        "name": "Garden",
        "topic": "green",
        "room_alias_name": "garden",
        "power_level_content_override": {"events": {"org.example.high": 110}},
    }
    room = await make_room(alice, **wish)
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    tag = f"user/{escape(bob.user_id)}/rooms"
    (await bob.put(f"v3/{tag}/{escape(room)}/tags/m.favourite", {"order": 0.5})).ok()
    (await bob.put(f"v3/pushrules/global/room/{escape(room)}", {"actions": []})).ok()
    (await bob.post(f"v3/rooms/{escape(room)}/upgrade", {"new_version": new})).is_error(403, "M_FORBIDDEN")
    replacement = (await alice.post(f"v3/rooms/{escape(room)}/upgrade", {"new_version": new})).ok()["replacement_room"]
    create = await state(alice, replacement, "m.room.create")
    assert create["room_version"] == new and create["predecessor"]["room_id"] == room
    assert (await state(alice, room, "m.room.tombstone"))["replacement_room"] == replacement
    assert (await state(alice, replacement, "m.room.name")) == {"name": "Garden"}
    assert (await state(alice, replacement, "m.room.topic"))["topic"] == "green"
    assert (await state(alice, replacement, "m.room.join_rules"))["join_rule"] == "public"
    assert (await alice.get("v3/directory/room/%23garden:localhost")).ok()["room_id"] == replacement
    assert (await state(alice, replacement, "m.room.canonical_alias")) == {"alias": "#garden:localhost"}
    assert (await state(alice, room, "m.room.canonical_alias")) == {}
    assert [entry["room_id"] for entry in (await alice.get("v3/publicRooms")).ok()["chunk"]] == [replacement]
    closed = await state(alice, room, "m.room.power_levels")
    assert (closed["events_default"], closed["invite"]) == (50, 50)
    said = await bob.put(f"v3/rooms/{escape(room)}/send/m.room.message/x", {"body": "x", "msgtype": "m.text"})
    said.is_error(403, "M_FORBIDDEN")
    levels = await state(alice, replacement, "m.room.power_levels")
    privileged = ROOM_RULES[new].privileged_creators
    assert levels["users"] == ({} if privileged else {alice.user_id: 100})
    assert levels["events"]["org.example.high"] == 110 and levels["events_default"] == 0
    (await bob.post(f"v3/join/{escape(replacement)}")).ok()
    assert (await bob.get(f"v3/{tag}/{escape(replacement)}/tags")).ok() == {"tags": {"m.favourite": {"order": 0.5}}}
    assert (await bob.get(f"v3/pushrules/global/room/{escape(replacement)}")).ok()["actions"] == []


async def test_upgrade_refuses_and_takes_creators(alice: MatrixClient, bob: MatrixClient) -> None:
    space = await make_space(alice, invite=[bob.user_id], room_version="11")
    (await bob.post(f"v3/join/{escape(space)}")).ok()
    await add_child(alice, space, "!child:localhost")
    path = f"v3/rooms/{escape(space)}/upgrade"
    (await alice.post(path, {"new_version": "99"})).is_error(400, "M_UNSUPPORTED_ROOM_VERSION")
    (await alice.post(path, {})).is_error(400, "M_MISSING_PARAM")
    (await alice.post(path, {"new_version": "12", "additional_creators": ["x"]})).is_error(400, "M_INVALID_PARAM")
    (await alice.post(path, {"new_version": "12", "additional_creators": [5]})).is_error(400, "M_BAD_JSON")
    (await alice.post("v3/rooms/!none:localhost/upgrade", {"new_version": "12"})).is_error(403, "M_FORBIDDEN")
    levels = await state(alice, space, "m.room.power_levels")
    levels["users"][bob.user_id] = 100
    (await alice.put(f"v3/rooms/{escape(space)}/state/m.room.power_levels", levels)).ok()
    wish = {"new_version": "12", "additional_creators": [bob.user_id]}
    replacement = (await alice.post(path, wish)).ok()["replacement_room"]
    create = await state(alice, replacement, "m.room.create")
    assert (create["type"], create["additional_creators"]) == ("m.space", [bob.user_id])
    assert (await state(alice, replacement, "m.room.power_levels"))["users"] == {}
    assert (await state(alice, replacement, "m.space.child", "!child:localhost"))["via"] == ["localhost"]


@pytest.mark.parametrize("version", ["8", "11", "12"])
async def test_a_moderator_upgrades_and_stays_one(alice: MatrixClient, bob: MatrixClient, version: str) -> None:
    events = {"m.room.tombstone": 50, "m.room.power_levels": 100, "m.room.server_acl": 100}
    levels = {"users": {alice.user_id: 100, bob.user_id: 50}, "events": events}
    acl = [{"type": "m.room.server_acl", "content": {"allow": ["*"]}}]
    wish = {"room_version": "10", "preset": "public_chat", "power_level_content_override": levels}
    room = await make_room(alice, initial_state=acl, **wish)
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    (await bob.put(f"v3/rooms/{escape(room)}/state/m.room.power_levels", levels)).is_error(403, "M_FORBIDDEN")
    answer = (await bob.post(f"v3/rooms/{escape(room)}/upgrade", {"new_version": version})).ok()
    replacement = answer["replacement_room"]
    users = (await state(bob, replacement, "m.room.power_levels"))["users"]
    assert users == {alice.user_id: 100} | ({} if version == "12" else {bob.user_id: 50})
    assert (await state(bob, replacement, "m.room.server_acl")) == {"allow": ["*"]}


async def test_an_acl_that_shuts_out_this_server_is_refused(alice: MatrixClient) -> None:
    room = await make_room(alice)
    path = f"v3/rooms/{escape(room)}/state/m.room.server_acl"
    (await alice.put(path, {"allow": ["*"], "deny": ["local*"]})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"deny": ["evil.test"]})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"allow": ["*"], "deny": ["evil.test"]})).ok()


def wanted_of(term: str, **more: Any) -> dict[str, Any]:
    return {"search_categories": {"room_events": {"search_term": term, **more}}}


async def found_by(client: MatrixClient, term: str, *, token: str | None = None, **more: Any) -> dict[str, Any]:
    query = {} if token is None else {"next_batch": token}
    answer = (await client.post("v3/search", wanted_of(term, **more), **query)).ok()
    return answer["search_categories"]["room_events"]


def bodies(found: dict[str, Any]) -> list[str]:
    return [result["result"]["content"].get("body") for result in found["results"]]


async def test_search_finds_what_one_may_see(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, preset="public_chat", name="Tomato house", topic="Growing tomatoes")
    before = await send(alice, room, "Tomato soup before Bob came")
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    await send(alice, room, "nothing of interest")
    await send(alice, room, 'A TOMATO, and "quotes" AND (parentheses*')
    await make_room(alice, name="Tomato secrets")
    found = await found_by(bob, "tomato", keys=["content.body"], order_by="recent")
    assert bodies(found) == ['A TOMATO, and "quotes" AND (parentheses*', "Tomato soup before Bob came"]
    assert found["count"] == 2 and found["highlights"] == ["tomato"]
    assert all(result["rank"] > 0 for result in found["results"])
    names = await found_by(bob, "house", keys=["content.name"])
    assert [result["result"]["content"]["name"] for result in names["results"]] == ["Tomato house"]
    assert (await found_by(bob, "growing tomatoes"))["count"] == 1
    assert bodies(await found_by(bob, '"quotes" AND (')) == ['A TOMATO, and "quotes" AND (parentheses*']
    assert (await found_by(bob, '* ( ) " \x00'))["results"] == []
    (await bob.post(f"v3/rooms/{escape(room)}/leave")).ok()
    await send(alice, room, "tomato after Bob left")
    assert (await found_by(bob, "tomato", keys=["content.body"]))["count"] == 2
    (await alice.put(f"v3/rooms/{escape(room)}/redact/{escape(before)}/1")).ok()
    assert (await found_by(bob, "tomato", keys=["content.body"]))["count"] == 1
    (await bob.post(f"v3/rooms/{escape(room)}/forget")).ok()
    assert (await found_by(bob, "tomato"))["count"] == 0


async def test_search_pages_groups_context_and_state(alice: MatrixClient, bob: MatrixClient) -> None:
    (await alice.put(f"v3/profile/{escape(alice.user_id)}/displayname", {"displayname": "Alice"})).ok()
    rooms = [await make_room(alice, preset="public_chat") for _ in range(2)]
    for number, room in enumerate(rooms * 3):
        await send(alice, room, f"before {number}")
        await send(alice, room, f"needle {number}")
    grouped = {"group_by": [{"key": "room_id"}, {"key": "sender"}]}
    wish = {"order_by": "recent", "filter": {"limit": 4}, "groupings": grouped}
    first = await found_by(alice, "needle", **wish)
    assert bodies(first) == ["needle 5", "needle 4", "needle 3", "needle 2"] and first["count"] == 6
    rest = await found_by(alice, "needle", token=first["next_batch"], **wish)
    assert bodies(rest) == ["needle 1", "needle 0"] and "next_batch" not in rest
    group = first["groups"]["room_id"][rooms[1]]
    ids = {result["result"]["content"]["body"]: result["result"]["event_id"] for result in first["results"]}
    assert group["results"] == [ids["needle 5"], ids["needle 3"]]
    assert bodies(await found_by(alice, "needle", token=group["next_batch"], **wish)) == ["needle 1"]
    assert list(first["groups"]["sender"]) == [alice.user_id]
    context = {"before_limit": 1, "after_limit": 0, "include_profile": True}
    only = {"rooms": [rooms[0]]}
    found = await found_by(alice, "needle", event_context=context, include_state=True, filter=only, order_by="recent")
    assert bodies(found) == ["needle 4", "needle 2", "needle 0"]
    around = found["results"][0]["context"]
    assert [event["content"]["body"] for event in around["events_before"]] == ["before 4"]
    assert around["events_after"] == [] and around["profile_info"][alice.user_id]["displayname"] == "Alice"
    assert list(found["state"]) == [rooms[0]]
    assert (await found_by(bob, "needle"))["results"] == []
    path = "v3/search"
    (await alice.post(path, {})).is_error(400, "M_BAD_JSON")
    (await alice.post(path, wanted_of("x", keys=["content.none"]))).is_error(400, "M_BAD_JSON")
    (await alice.post(path, wanted_of("x"), next_batch="x")).is_error(400, "M_INVALID_PARAM")
    assert (await alice.post(path, {"search_categories": {}})).ok() == {"search_categories": {}}


async def test_reports_are_listed(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient, tmp_path: Path
) -> None:
    room = await make_room(alice)
    event_id = await send(alice, room, "rude")
    path = f"v3/rooms/{escape(room)}/report"
    (await bob.post(f"{path}/{escape(event_id)}", {"reason": "rude"})).is_error(404, "M_NOT_FOUND")
    (await alice.post(f"{path}/%24none", {})).is_error(404, "M_NOT_FOUND")
    (await alice.post(f"{path}/{escape(event_id)}", {"reason": "mine"})).ok()
    (await bob.post(path, {"reason": "the room"})).ok()
    (await bob.post(path, {})).is_error(400, "M_MISSING_PARAM")
    (await bob.post(f"v3/users/{escape(alice.user_id)}/report", {"reason": ""})).ok()
    (await bob.post("v3/users/nobody/report", {"reason": ""})).is_error(400, "M_INVALID_PARAM")
    (await bob.post(path, {"reason": "x" * 5000})).is_error(400, "M_TOO_LARGE")
    folder, file = homeserver.config.data_directory, tmp_path / "thingroom.toml"
    file.write_text(f'[homeserver]\nserver_name = "localhost"\ndata_directory = "{folder}"\n')
    command = ["admin", "reports", "--config", str(file)]
    listed = await asyncio.to_thread(CliRunner().invoke, homeserver_commands, command)
    assert listed.exit_code == 0, listed.output
    reports = [json.loads(line) for line in listed.output.splitlines()]
    assert [report["reason"] for report in reports] == ["", "the room", "mine"]
    assert reports[0]["user_id"] == alice.user_id and reports[2]["event_id"] == event_id


async def test_mutual_rooms(alice: MatrixClient, bob: MatrixClient) -> None:
    shared = await make_room(alice, preset="public_chat")
    await make_room(alice, preset="public_chat")
    (await bob.post(f"v3/join/{escape(shared)}")).ok()
    path = "v1/mutual_rooms"
    assert (await alice.get(path, user_id=bob.user_id)).ok() == {"joined": [shared], "count": 1}
    assert (await alice.get(path, user_id="@nobody:localhost")).ok() == {"joined": [], "count": 0}
    (await alice.get(path)).is_error(400, "M_MISSING_PARAM")
    (await alice.get(path, user_id=alice.user_id)).is_error(400, "M_INVALID_PARAM")
    (await alice.get(path, user_id="bob")).is_error(400, "M_INVALID_PARAM")


async def test_a_third_party_invite_is_redeemed(alice: MatrixClient, bob: MatrixClient) -> None:
    key = SigningKey.from_seed("ed25519:0", bytes(32))
    room = await make_room(alice)
    content = {
        "display_name": "b...@example.org",
        "key_validity_url": "https://id.test/valid",
        "public_key": encode_base64(key.public_key),
    }
    (await alice.put(f"v3/rooms/{escape(room)}/state/m.room.third_party_invite/tok", content)).ok()
    statement = {"mxid": bob.user_id, "sender": alice.user_id, "token": "tok"}
    signed = sign_json(statement, "id.test", key)
    path = f"v3/join/{escape(room)}"
    forged = sign_json(statement, "id.test", SigningKey.from_seed("ed25519:0", bytes(31) + b"x"))
    (await bob.post(path, {"third_party_signed": forged})).is_error(403, "M_FORBIDDEN")
    (await bob.post(path, {"third_party_signed": {}})).is_error(403, "M_FORBIDDEN")
    (await bob.post(path, {"third_party_signed": {**signed, "token": "other"}})).is_error(403, "M_FORBIDDEN")
    (await bob.post(path, {"third_party_signed": signed})).ok()
    assert (await state(alice, room, "m.room.member", bob.user_id))["membership"] == "join"


@pytest.mark.parametrize("rule", ["knock", "knock_restricted"])
async def test_knocking(alice: MatrixClient, bob: MatrixClient, rule: str) -> None:
    gate = await make_room(alice)
    rules = {"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": gate}]}
    room = await make_room(alice, initial_state=[{"type": "m.room.join_rules", "content": rules}], name="Door")
    (await bob.post(f"v3/join/{escape(room)}")).is_error(403, "M_FORBIDDEN")
    (await bob.post(f"v3/knock/{escape(room)}", {"reason": "hello?"})).ok()
    knocked = (await bob.get("v3/sync")).ok()["rooms"]["knock"][room]["knock_state"]["events"]
    assert {event["type"] for event in knocked} >= {"m.room.name", "m.room.member", "m.room.create"}
    member = await state(alice, room, "m.room.member", bob.user_id)
    assert (member["membership"], member["reason"]) == ("knock", "hello?")
    (await bob.post(f"v3/rooms/{escape(room)}/leave")).ok()
    (await bob.post(f"v3/knock/{escape(room)}")).ok()
    (await alice.post(f"v3/rooms/{escape(room)}/invite", {"user_id": bob.user_id})).ok()
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    (await bob.post(f"v3/knock/{escape(room)}")).is_error(403, "M_FORBIDDEN")


async def test_deprecated_reads(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, name="Old")
    ids = [await send(alice, room, f"m{number}") for number in range(4)]
    answer = (await alice.get(f"r0/rooms/{escape(room)}/initialSync", limit=2)).ok()
    assert [event["event_id"] for event in answer["messages"]["chunk"]] == ids[2:]
    assert (answer["membership"], answer["visibility"]) == ("join", "private")
    assert any(event["type"] == "m.room.name" for event in answer["state"])
    older = await alice.get(
        f"v3/rooms/{escape(room)}/messages", dir="b", limit=1, **{"from": answer["messages"]["start"]}
    )
    assert older.ok()["chunk"][0]["event_id"] == ids[1]
    assert (await alice.get(f"v3/events/{escape(ids[0])}")).ok()["event_id"] == ids[0]
    (await bob.get(f"v3/events/{escape(ids[0])}")).is_error(404, "M_NOT_FOUND")
    (await bob.get(f"v3/rooms/{escape(room)}/initialSync")).is_error(403, "M_FORBIDDEN")


async def test_the_deprecated_stream(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, preset="public_chat")
    asked = await make_room(alice, invite=[bob.user_id])
    refused = await make_room(alice, invite=[bob.user_id])
    (await bob.post(f"v3/rooms/{escape(refused)}/leave")).ok()
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    (await alice.put(f"v3/presence/{alice.user_id}/status", {"presence": "online"})).ok()
    first = (await bob.get("r0/initialSync", limit=3, archived=True)).ok()
    rooms = {entry["room_id"]: entry for entry in first["rooms"]}
    assert rooms[asked]["invite"]["content"]["membership"] == "invite" and "state" not in rooms[asked]
    assert [each["sender"] for each in first["presence"]] == [alice.user_id]
    assert len(rooms[room]["messages"]["chunk"]) == 3 and rooms[room]["membership"] == "join"
    assert rooms[refused] == {"room_id": refused, "membership": "leave"}
    waiting = asyncio.create_task(bob.get("r0/events", timeout=9000, **{"from": first["end"]}))
    await asyncio.sleep(0.05)
    await send(alice, await make_room(alice), "elsewhere")
    event_id = await send(alice, room, "here")
    heard = (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).ok()
    assert [event["event_id"] for event in heard["chunk"]] == [event_id]
    assert (await bob.get("r0/events", timeout=0, **{"from": heard["end"]})).ok()["chunk"] == []
    again = (await bob.get("r0/events", **{"from": first["end"]})).ok()
    assert [event["event_id"] for event in again["chunk"]] == [event_id]
    (await bob.get("r0/events", **{"from": "x"})).is_error(400, "M_INVALID_PARAM")


async def test_the_nearest_visible_event_is_found(alice: MatrixClient, bob: MatrixClient) -> None:
    hidden = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room = await make_room(alice, preset="public_chat", initial_state=hidden)
    await asyncio.sleep(0.002)  # what made the room, and can be seen, is a millisecond older
    first = (await alice.get(f"v3/rooms/{escape(room)}/event/{escape(await send(alice, room, 'unseen'))}")).ok()
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    path, when = f"v1/rooms/{escape(room)}/timestamp_to_event", first["origin_server_ts"]
    seen = (await bob.get(path, ts=when, dir="f")).ok()["event_id"]
    event = (await bob.get(f"v3/rooms/{escape(room)}/event/{escape(seen)}")).ok()
    assert event["state_key"] == bob.user_id
    (await alice.get(path, ts=when + 10**9, dir="f")).is_error(404, "M_NOT_FOUND")
    (await alice.get(path, ts=when)).is_error(400, "M_INVALID_PARAM")


async def test_filters_shape_events(alice: MatrixClient) -> None:
    alice.asks_for_parts = True
    room = await make_room(alice)
    event_id = await send(alice, room, "hello")
    fields = json.dumps({"event_fields": ["type", "content.body", "unsigned.nothing"]})
    timeline = (await alice.get("v3/sync", filter=fields)).ok()["rooms"]["join"][room]["timeline"]["events"]
    assert timeline[-1] == {"type": "m.room.message", "content": {"body": "hello"}}
    federation = json.dumps({"event_format": "federation"})
    timeline = (await alice.get("v3/sync", filter=federation)).ok()["rooms"]["join"][room]["timeline"]["events"]
    assert timeline[-1]["event_id"] == event_id and timeline[-1]["room_id"] == room
    assert {"hashes", "signatures", "auth_events", "prev_events", "depth"} <= set(timeline[-1])
    (await alice.get("v3/sync", filter='{"event_format": "x"}')).is_error(400, "M_INVALID_PARAM")
    (await alice.get("v3/sync", filter='{"event_fields": [5]}')).is_error(400, "M_INVALID_PARAM")


async def test_odd_relations_and_requests_do_no_harm(alice: MatrixClient) -> None:
    alice.sends_odd_events = True
    room = await make_room(alice)
    first = await send(alice, room, "first")
    base = f"v3/rooms/{escape(room)}"
    odd: tuple[Any, ...] = (None, 5, [], {}, "", "m.thread", ["m.thread"], {"a": []}, "x" * 300)
    for rel_type in odd:
        for event_id in (first, 5, None, "$none", "x" * 300):
            for kind in ("m.room.message", "m.reaction"):
                relation = {"rel_type": rel_type, "event_id": event_id, "key": rel_type}
                path = f"{base}/send/{kind}/{next(_numbers)}"
                assert (await alice.put(path, {"m.relates_to": relation})).status in (200, 400)
    for value in odd:
        (await alice.put(f"{base}/send/m.room.message/{next(_numbers)}", {"m.relates_to": value})).ok()
        data = f"v3/user/{escape(alice.user_id)}/account_data"
        (await alice.put(f"{data}/m.ignored_user_list", {"ignored_users": value})).ok()
        (await alice.put(f"{data}/m.direct", {alice.user_id: value})).ok()
        (await alice.get(f"{base}/messages", dir="b", limit=200)).ok()
        (await alice.get(f"v1/rooms/{escape(room)}/threads")).ok()
        category = {"search_term": "first", "filter": value, "event_context": value, "groupings": value}
        answer = await alice.post("v3/search", {"search_categories": {"room_events": category}})
        assert answer.status in (200, 400)
        assert (await alice.post("v3/search", {"search_categories": value})).status in (200, 400)
        topic = {"topic": value, "m.topic": value}
        (await alice.put(f"{base}/state/m.room.topic", topic)).ok()
        (await alice.put(f"{base}/state/m.space.child/x", {"via": value, "order": value})).ok()
        (await alice.put(f"{base}/state/m.room.join_rules", {"join_rule": "restricted", "allow": value})).ok()
        (await alice.get(f"v1/rooms/{escape(room)}/hierarchy")).ok()
        assert (await alice.post(f"{base}/upgrade", {"new_version": value})).status == 400
    (await alice.post(f"{base}/upgrade", {"new_version": "6"})).ok()
