"""Profiles, the search for people, aliases and the list of public rooms."""

from __future__ import annotations

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape


async def make_room(client: MatrixClient, **body: object) -> str:
    return (await client.post("v3/createRoom", {"preset": "public_chat", **body})).ok()["room_id"]


async def test_profile_fields_are_set_read_and_removed(alice: MatrixClient, anyone: MatrixClient) -> None:
    base = f"v3/profile/{escape(alice.user_id)}"
    assert (await anyone.get(base)).ok() == {}
    (await alice.put(f"{base}/displayname", {"displayname": "Alice"})).ok()
    (await alice.put(f"{base}/avatar_url", {"avatar_url": "mxc://localhost/abc"})).ok()
    (await alice.put(f"{base}/m.tz", {"m.tz": "Europe/Berlin"})).ok()
    (await alice.put(f"{base}/org.example.mood", {"org.example.mood": {"level": 3}})).ok()
    assert (await anyone.get(f"{base}/displayname")).ok() == {"displayname": "Alice"}
    assert (await anyone.get(base)).ok() == {
        "displayname": "Alice",
        "avatar_url": "mxc://localhost/abc",
        "m.tz": "Europe/Berlin",
        "org.example.mood": {"level": 3},
    }
    (await alice.delete(f"{base}/org.example.mood")).ok()
    (await alice.delete(f"{base}/org.example.mood")).ok()
    (await anyone.get(f"{base}/org.example.mood")).is_error(404, "M_NOT_FOUND")


async def test_profile_errors(alice: MatrixClient, bob: MatrixClient, anyone: MatrixClient) -> None:
    base = f"v3/profile/{escape(alice.user_id)}"
    (await bob.put(f"{base}/displayname", {"displayname": "x"})).is_error(403, "M_FORBIDDEN")
    (await bob.delete(f"{base}/displayname")).is_error(403, "M_FORBIDDEN")
    (await anyone.put(f"{base}/displayname", {"displayname": "x"})).is_error(401, "M_MISSING_TOKEN")
    (await alice.put(f"{base}/displayname", {})).is_error(400, "M_MISSING_PARAM")
    (await alice.put(f"{base}/displayname", {"displayname": 5})).is_error(400, "M_BAD_JSON")
    (await alice.put(f"{base}/avatar_url", {"avatar_url": "http://x"})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(f"{base}/nodots", {"nodots": 1})).is_error(400, "M_INVALID_PARAM")
    long_key = "a." + "b" * 300
    (await alice.put(f"{base}/{long_key}", {long_key: 1})).is_error(400, "M_KEY_TOO_LARGE")
    large = {"org.example.a": "x" * 40_000}
    (await alice.put(f"{base}/org.example.a", large)).ok()
    (await alice.put(f"{base}/org.example.b", {"org.example.b": "x" * 40_000})).is_error(400, "M_PROFILE_TOO_LARGE")
    (await alice.put(f"{base}/org.example.a", large)).ok()
    (await anyone.get("v3/profile/@nobody:localhost")).is_error(404, "M_NOT_FOUND")
    (await anyone.get("v3/profile/nobody")).is_error(400, "M_INVALID_PARAM")
    (await anyone.get("v3/profile/@alice:elsewhere.example")).is_error(404, "M_NOT_FOUND")


async def test_a_new_name_goes_into_the_rooms(alice: MatrixClient, bob: MatrixClient) -> None:
    room_ids = [await make_room(alice) for _ in range(2)]
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    (await alice.put(f"v3/profile/{alice.user_id}/displayname", {"displayname": "Alice"})).ok()
    joined = (await alice.get("v3/sync", since=since)).ok()["rooms"]["join"]
    for room_id in room_ids:
        event = joined[room_id]["timeline"]["events"][-1]
        assert event["type"] == "m.room.member"
        assert event["content"] == {"membership": "join", "displayname": "Alice"}
    # The same name again is no change, a custom field none for rooms.
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    (await alice.put(f"v3/profile/{alice.user_id}/displayname", {"displayname": "Alice"})).ok()
    (await alice.put(f"v3/profile/{alice.user_id}/org.example.x", {"org.example.x": 1})).ok()
    assert (await alice.get("v3/sync", since=since)).ok().get("rooms", {}).get("join", {}) == {}
    (await bob.post(f"v3/join/{escape(room_ids[0])}")).ok()


async def test_people_are_found_by_name_and_id(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    bob = await homeserver.register("bob")
    (await bob.put(f"v3/profile/{bob.user_id}/displayname", {"displayname": "Robert 100%"})).ok()
    for term in ("bob", "ROBERT", "100%"):
        found = (await alice.post("v3/user_directory/search", {"search_term": term})).ok()
        assert found == {"results": [{"user_id": bob.user_id, "display_name": "Robert 100%"}], "limited": False}
    assert (await alice.post("v3/user_directory/search", {"search_term": "b_b"})).ok()["results"] == []
    limited = (await alice.post("v3/user_directory/search", {"search_term": "localhost", "limit": 1})).ok()
    assert limited["limited"] is True and len(limited["results"]) == 1
    (await alice.post("v3/user_directory/search", {})).is_error(400, "M_MISSING_PARAM")
    (await alice.post("v3/user_directory/search", {"search_term": "x", "limit": 0})).is_error(400, "M_INVALID_PARAM")


async def test_aliases_are_made_resolved_and_removed(
    alice: MatrixClient, bob: MatrixClient, anyone: MatrixClient
) -> None:
    room_id = await make_room(alice)
    path = f"v3/directory/room/{escape('#kitchen:localhost')}"
    (await anyone.get(path)).is_error(404, "M_NOT_FOUND")
    (await alice.put(path, {"room_id": room_id})).ok()
    assert (await anyone.get(path)).ok() == {"room_id": room_id, "servers": ["localhost"]}
    assert (await bob.post(f"v3/join/{escape('#kitchen:localhost')}")).ok() == {"room_id": room_id}
    assert (await bob.get(f"v3/rooms/{escape(room_id)}/aliases")).ok() == {"aliases": ["#kitchen:localhost"]}
    (await alice.put(path, {"room_id": room_id})).is_error(409, "M_UNKNOWN")
    (await bob.delete(path)).is_error(403, "M_FORBIDDEN")
    (await alice.delete(path)).ok()
    (await alice.delete(path)).is_error(404, "M_NOT_FOUND")


async def test_who_may_name_a_room(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice)
    path = f"v3/directory/room/{escape('#kitchen:localhost')}"
    (await bob.put(path, {"room_id": room_id})).is_error(403, "M_FORBIDDEN")
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    (await bob.put(path, {"room_id": room_id})).ok()
    # The room's moderator may remove what a member made.
    (await alice.delete(path)).ok()


@pytest.mark.parametrize("alias", ["kitchen", "#kitchen", "#kit\0chen:localhost", "#x:elsewhere.example"])
async def test_unfit_aliases(alice: MatrixClient, alias: str) -> None:
    room_id = await make_room(alice)
    answer = await alice.put(f"v3/directory/room/{escape(alias)}", {"room_id": room_id})
    answer.is_error(400, "M_INVALID_PARAM")


async def test_alias_bodies(alice: MatrixClient) -> None:
    path = f"v3/directory/room/{escape('#kitchen:localhost')}"
    (await alice.put(path, {})).is_error(400, "M_MISSING_PARAM")
    (await alice.put(path, {"room_id": "nonsense"})).is_error(400, "M_INVALID_PARAM")


async def test_aliases_of_a_room_are_for_its_members(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice, preset="private_chat")
    (await bob.get(f"v3/rooms/{escape(room_id)}/aliases")).is_error(403, "M_FORBIDDEN")
    (await bob.get("v3/rooms/nonsense/aliases")).is_error(400, "M_INVALID_PARAM")


async def test_publishing_a_room(alice: MatrixClient, bob: MatrixClient, anyone: MatrixClient) -> None:
    room_id = await make_room(alice)
    path = f"v3/directory/list/room/{escape(room_id)}"
    assert (await anyone.get(path)).ok() == {"visibility": "private"}
    (await bob.put(path, {"visibility": "public"})).is_error(403, "M_FORBIDDEN")
    (await alice.put(path, {"visibility": "public"})).ok()
    assert (await anyone.get(path)).ok() == {"visibility": "public"}
    assert [room["room_id"] for room in (await anyone.get("v3/publicRooms")).ok()["chunk"]] == [room_id]
    (await alice.put(path, {"visibility": "private"})).ok()
    assert (await anyone.get("v3/publicRooms")).ok()["chunk"] == []
    (await alice.put(path, {"visibility": "odd"})).is_error(400, "M_INVALID_PARAM")
    (await anyone.get("v3/directory/list/room/!none:localhost")).is_error(404, "M_NOT_FOUND")
