"""Public rooms, spaces and summaries of rooms across two of our servers, and with one that answers as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.peers import Authority, Peer, running_peer, running_peers
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.running import MatrixClient, escape

SPACE = {"creation_content": {"type": "m.space"}}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Peer, Peer]]:
    async with running_peers(tmp_path, 2) as (one, two):
        yield one, two


@pytest.fixture
async def scripted(authority: Authority) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(authority, tls=authority.server_context("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture
async def ours(tmp_path: Path, authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(tmp_path / "ours", authority) as peer:
        yield peer


async def create(client: MatrixClient, **body: Any) -> str:
    return str((await client.post("v3/createRoom", body)).ok()["room_id"])


async def put_under(client: MatrixClient, space: str, child: str, *via: str, **content: Any) -> None:
    path = f"v3/rooms/{escape(space)}/state/m.space.child/{escape(child)}"
    (await client.put(path, {"via": list(via), **content})).ok()


async def tree(client: MatrixClient, room_id: str, **query: Any) -> list[str]:
    """The ids of all rooms of the tree, page by page."""
    found: list[str] = []
    while True:
        page = (await client.get(f"v1/rooms/{escape(room_id)}/hierarchy", **query)).ok()
        found += [room["room_id"] for room in page["rooms"]]
        if "next_batch" not in page:
            return found
        query["from"] = page["next_batch"]


async def test_public_rooms_of_another_server(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    rooms = [await create(alice, name=f"Room {number}", visibility="public") for number in range(3)]
    await create(alice, name="Not listed")
    space = await create(alice, name="Space", visibility="public", **SPACE)
    listed = (await bob.get("v3/publicRooms", server=here.server_name)).ok()
    assert {room["room_id"] for room in listed["chunk"]} == {*rooms, space}
    assert listed["total_room_count_estimate"] == 4
    first = (await bob.get("v3/publicRooms", server=here.server_name, limit=3)).ok()
    rest = (await bob.get("v3/publicRooms", server=here.server_name, limit=3, since=first["next_batch"])).ok()
    assert [len(first["chunk"]), len(rest["chunk"])] == [3, 1]
    where = {"server": here.server_name}
    found = await bob.post("v3/publicRooms", {"filter": {"generic_search_term": "room 1"}}, **where)
    assert [room["name"] for room in found.ok()["chunk"]] == ["Room 1"]
    spaces = (await bob.post("v3/publicRooms", {"filter": {"room_types": ["m.space"]}, "limit": 5}, **where)).ok()
    assert [room["room_id"] for room in spaces["chunk"]] == [space]
    (await bob.get("v3/publicRooms", server="not a name")).is_error(400, "M_INVALID_PARAM")
    (await bob.get("v3/publicRooms", server="localhost:1")).is_error(502, "M_UNKNOWN")


async def test_odd_questions_and_answers_about_public_rooms(ours: Peer, scripted: ScriptedServer):
    alice = await ours.register()
    for body in ({"limit": "x"}, {"filter": []}, {"filter": {"room_types": 3}}, {"since": 3}, {"limit": -1}):
        answer = await scripted.ask(ours.base_url, ours.server_name, "POST", "/_matrix/federation/v1/publicRooms", body)
        assert answer.status == 400, body
    good = {"room_id": "!a:b", "num_joined_members": 2, "name": "Good", "world_readable": True, "topic": 3, "x": 1}
    told = {"chunk": [None, {}, {"room_id": "odd"}, good], "next_batch": 3, "total_room_count_estimate": -1}
    scripted.on("GET", "/_matrix/federation/v1/publicRooms", told)
    page = (await alice.get("v3/publicRooms", server=scripted.server_name)).ok()
    wanted = {"room_id": "!a:b", "num_joined_members": 2, "name": "Good"}
    assert page == {"chunk": [wanted | {"world_readable": True, "guest_can_join": False}]}
    scripted.on("GET", "/_matrix/federation/v1/publicRooms", {})
    assert (await alice.get("v3/publicRooms", server=scripted.server_name)).ok() == {"chunk": []}
    scripted.on("POST", "/_matrix/federation/v1/publicRooms", {"chunk": []})
    body = {"limit": 2**60, "filter": {"odd": 1.5, "room_types": [None, "m.space"]}, "since": "t", "x": -0.5}
    (await alice.post("v3/publicRooms", body, server=scripted.server_name)).ok()
    assert scripted.requests[-1][2] == {"limit": 500, "filter": {"room_types": [None, "m.space"]}, "since": "t"}
    for odd in ({"include_all_networks": 3}, {"third_party_instance_id": 3}, {"filter": {"generic_search_term": 3}}):
        (await alice.post("v3/publicRooms", odd, server=scripted.server_name)).is_error(400, "M_BAD_JSON")
    no = {"errcode": "M_FORBIDDEN", "error": "No"}
    scripted.on("GET", "/_matrix/federation/v1/publicRooms", lambda *_: web.json_response(no, status=403))
    (await alice.get("v3/publicRooms", server=scripted.server_name)).is_error(403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["11", "12"])
async def test_a_tree_over_two_servers(pair: tuple[Peer, Peer], version: str):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    made = {"room_version": version, "preset": "public_chat"}
    root = await create(alice, name="Root", **made, **SPACE)
    near = await create(alice, name="Near", **made)
    below = await create(bob, name="Below", **made, **SPACE)
    leaf, suggested = await create(bob, name="Leaf", **made), await create(bob, name="Suggested", **made)
    secret = await create(bob, name="Secret", room_version=version, preset="private_chat")
    await put_under(alice, root, near, here.server_name, order="a")
    await put_under(alice, root, below, there.server_name, order="b", suggested=True)
    await put_under(bob, below, leaf, there.server_name, order="a")
    await put_under(bob, below, suggested, there.server_name, order="b", suggested=True)
    await put_under(bob, below, secret, there.server_name)
    await put_under(bob, below, root, here.server_name)
    for limit in (50, 1, 2):
        assert await tree(alice, root, limit=limit) == [root, near, below, leaf, suggested]
    assert await tree(alice, root, max_depth=1) == [root, near, below]
    assert await tree(alice, root, suggested_only=True) == [root, below, suggested]
    if version == "11":
        assert await tree(bob, root) == [root, near, below, leaf, suggested, secret], "the id names whom to ask"
    (await bob.post(f"v3/rooms/{escape(secret)}/invite", {"user_id": alice.user_id})).ok()
    here.services.federation.spaces._kept.clear()
    assert await tree(alice, root) == [root, near, below, leaf, suggested, secret]


async def test_summaries_of_rooms_elsewhere(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    room_id = await create(
        bob, name="Greenhouse", preset="public_chat", room_alias_name="greenhouse", room_version="12"
    )
    secret = await create(bob, name="Secret", preset="private_chat")
    for named, query in ((f"#greenhouse:{there.server_name}", {}), (room_id, {"via": there.server_name})):
        summary = (await alice.get(f"v1/room_summary/{escape(named)}", **query)).ok()
        assert (summary["room_id"], summary["name"], summary["join_rule"]) == (room_id, "Greenhouse", "public")
        assert summary["room_version"] == "12"
    (await alice.get(f"v1/room_summary/{escape(room_id)}", via="not a server")).is_error(404, "M_NOT_FOUND")
    (await alice.get(f"v1/room_summary/{escape(secret)}", via=there.server_name)).is_error(404, "M_NOT_FOUND")
    (await bob.post(f"v3/rooms/{escape(secret)}/invite", {"user_id": alice.user_id})).ok()
    here.services.federation.spaces._kept.clear()
    summary = (await alice.get(f"v1/room_summary/{escape(secret)}")).ok()
    assert (summary["name"], summary["membership"]) == ("Secret", "invite")


async def test_who_may_ask_about_spaces(ours: Peer, scripted: ScriptedServer):
    alice = await ours.register()
    space, other = await create(alice, preset="public_chat", **SPACE), await create(alice, preset="public_chat")
    private, gone = await create(alice, preset="private_chat"), await create(alice, preset="public_chat")
    for child in (other, private, gone, "!elsewhere:example.org"):
        await put_under(alice, space, child, ours.server_name)
    (await alice.post(f"v3/rooms/{escape(gone)}/leave")).ok()

    async def ask(room_id: str, query: str = "") -> Any:
        uri = f"/_matrix/federation/v1/hierarchy/{escape(room_id)}{query}"
        return await scripted.ask(ours.base_url, ours.server_name, "GET", uri)

    answer = (await ask(space)).ok()
    children = {child["state_key"] for child in answer["room"]["children_state"]}
    assert children == {other, private, gone, "!elsewhere:example.org"}
    assert [room["room_id"] for room in answer["children"]] == [other]
    assert answer["inaccessible_children"] == [private]
    assert (await ask(space, "?suggested_only=true")).ok()["children"] == []
    (await ask(space, "?suggested_only=perhaps")).is_error(400, "M_INVALID_PARAM")
    (await ask(private)).is_error(404, "M_NOT_FOUND")
    (await ask(gone)).is_error(404, "M_NOT_FOUND")
    (await ask("nonsense")).is_error(400, "M_INVALID_PARAM")
    (await ask("!unknown:example.org")).is_error(404, "M_NOT_FOUND")
    scripted.server_name = f"127.0.0.1:{scripted.port}"
    no_addresses = {"allow": ["*"], "allow_ip_literals": False}
    (await alice.put(f"v3/rooms/{escape(other)}/state/m.room.server_acl", no_addresses)).ok()
    assert set((await ask(space)).ok()["inaccessible_children"]) == {other, private}


async def test_what_servers_say_of_spaces_is_checked_and_kept_apart(ours: Peer, scripted: ScriptedServer):
    alice = await ours.register()
    space = await create(alice, **SPACE)
    remote, victim = "!remote:example.org", "!victim:example.org"
    card = {"num_joined_members": 1, "world_readable": True, "guest_can_join": False}
    named = {"sender": "@a:b", "content": {"via": ["x"]}, "origin_server_ts": 1}
    children = [
        named | {"type": "m.space.child", "state_key": victim},
        named | {"type": "m.space.child", "state_key": remote},
        named | {"type": "m.space.child", "state_key": "odd"},
        named | {"type": "m.room.name", "state_key": victim},
        *(None, 3, {}),
    ]
    answer = {
        "room": card | {"room_id": remote, "room_type": "m.space", "children_state": children},
        "children": [card | {"room_id": victim, "name": "Forged"}, 4],
        "inaccessible_children": [7],
    }
    scripted.on("GET", f"/_matrix/federation/v1/hierarchy/{remote}", answer)
    await put_under(alice, space, remote, scripted.server_name)
    assert await tree(alice, space) == [space, remote, victim]
    asked = len(scripted.requests)
    assert await tree(alice, space) == [space, remote, victim]
    assert len(scripted.requests) == asked, "answers are kept for a while"
    # Who does not go by way of that server is not told what it says.
    assert (await alice.get(f"v1/room_summary/{escape(victim)}")).status == 404
    for odd in ({}, {"room": 3}, {"room": card | {"room_id": "!other:example.org"}}, answer | {"children": 3}):
        ours.services.federation.spaces._kept.clear()
        scripted.on("GET", f"/_matrix/federation/v1/hierarchy/{remote}", odd)
        assert (await tree(alice, space))[0] == space


async def test_many_rooms_of_a_slow_server_come_page_by_page(ours: Peer, scripted: ScriptedServer):
    alice = await ours.register()
    space = await create(alice, **SPACE)
    names = [f"!room{number:02}:example.org" for number in range(70)]

    def answer(request: web.Request, body: Any) -> Any:
        room_id = request.path.rpartition("/")[2]
        card = {"num_joined_members": 1, "world_readable": True, "guest_can_join": False, "room_id": room_id}
        return {"room": card | {"children_state": []}, "children": [], "inaccessible_children": []}

    scripted.on("GET", "/_matrix/federation/v1/hierarchy/.*", answer)
    for number, name in enumerate(names):
        await put_under(alice, space, name, scripted.server_name, order=f"{number:02}")
    assert await tree(alice, space) == [space, *names]


async def test_an_openid_token_tells_a_third_party_who_somebody_is(ours: Peer):
    alice = await ours.register()
    made = (await alice.post(f"v3/user/{escape(alice.user_id)}/openid/request_token")).ok()
    anyone, path = ours.client(), "/_matrix/federation/v1/openid/userinfo"
    assert (await anyone.get(path, access_token=made["access_token"])).ok() == {"sub": alice.user_id}
    (await anyone.get(path, access_token="nonsense")).is_error(401, "M_UNKNOWN_TOKEN")
    (await anyone.get(path, access_token=alice.token)).is_error(401, "M_UNKNOWN_TOKEN")
    (await anyone.get(path)).is_error(401, "M_MISSING_TOKEN")


async def test_queries_of_unknown_kinds(ours: Peer, scripted: ScriptedServer):
    uri = "/_matrix/federation/v1/query/weather"
    (await scripted.ask(ours.base_url, ours.server_name, "GET", uri)).is_error(404, "M_NOT_FOUND")
    (await ours.client().get(uri)).is_error(401, "M_UNAUTHORIZED")


async def test_people_of_other_servers_are_found_in_shared_rooms(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register("alice"), await there.register("bobby_1")
    carol = await here.register("carol")
    (await bob.put(f"v3/profile/{escape(bob.user_id)}/displayname", {"displayname": "Robert 100%"})).ok()
    for term in ("bobby", "robert"):
        assert (await alice.post("v3/user_directory/search", {"search_term": term})).ok()["results"] == []
    room_id = await create(alice, preset="public_chat")
    (await bob.post(f"v3/join/{escape(room_id)}", via=here.server_name)).ok()
    for term in ("bobby_1", "ROBERT", "100%", there.server_name):
        found = (await alice.post("v3/user_directory/search", {"search_term": term})).ok()
        assert found["results"] == [{"user_id": bob.user_id, "display_name": "Robert 100%"}], term
    assert (await alice.post("v3/user_directory/search", {"search_term": "100_"})).ok()["results"] == []
    assert (await carol.post("v3/user_directory/search", {"search_term": "robert"})).ok()["results"] == []
    (await alice.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    assert (await alice.post("v3/user_directory/search", {"search_term": "robert"})).ok()["results"] == []
