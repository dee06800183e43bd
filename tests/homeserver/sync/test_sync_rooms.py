"""What /sync tells in each situation: limited timelines, invites, leaving, coming back, lazy loading, filters."""

from pathlib import Path

import pytest
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.rooms.membership import forget, update_profile
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.ports import Profile

NOTHING = {"join": {}, "invite": {}, "knock": {}, "leave": {}}
LAZY = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}}


@pytest.fixture
async def house(tmp_path: Path):
    async with open_house(tmp_path / "homeserver.db") as house:
        yield house


def ids(section: dict) -> list[str]:
    return [event["event_id"] for event in section["timeline"]["events"]]


def state_keys(section: dict, name: str = "state") -> set[tuple[str, str]]:
    return {(event["type"], event["state_key"]) for event in section[name]["events"]}


async def test_a_limited_timeline_brings_the_state_of_the_gap(house: House) -> None:
    room = await house.create("alice")
    since = (await house.sync("alice"))["next_batch"]
    first = await house.set_state("alice", room, "m.room.topic", {"topic": "1"})
    await house.set_state("alice", room, "m.room.name", {"name": "1"})
    said = [await house.say("alice", room, f"m{n}") for n in range(11)]
    second = await house.set_state("alice", room, "m.room.topic", {"topic": "2"})
    section = (await house.sync("alice", since))["rooms"]["join"][room]
    assert section["timeline"]["limited"] is True and ids(section) == [*said[2:], second]
    in_state = {event["type"]: event["event_id"] for event in section["state"]["events"]}
    assert in_state.keys() == {"m.room.topic", "m.room.name"} and in_state["m.room.topic"] == first
    last = section["timeline"]["events"][-1]["unsigned"]
    assert last["replaces_state"] == first and last["prev_content"] == {"topic": "1"} and last["age"] >= 0
    after = (await house.sync("alice", since, state_after="state_after"))["rooms"]["join"][room]
    assert "state" not in after
    assert {event["type"]: event["event_id"] for event in after["state_after"]["events"]}["m.room.topic"] == second


async def test_nothing_new_is_nothing_told(house: House) -> None:
    room = await house.create("alice")
    since = (await house.sync("alice"))["next_batch"]
    assert (await house.sync("alice", since))["rooms"] == NOTHING
    full = (await house.sync("alice", since, full_state=True))["rooms"]["join"][room]
    assert ("m.room.create", "") in state_keys(full) and ids(full) == []


async def test_an_invite_is_answered(house: House) -> None:
    room = await house.create("alice", name="Kitchen")
    since = (await house.sync("bob"))["next_batch"]
    await house.must_change("alice", room, "bob", "invite", is_direct=True)
    answer = await house.sync("bob", since)
    assert answer["rooms"]["join"] == {}
    stripped = answer["rooms"]["invite"][room]["invite_state"]["events"]
    assert {event["type"] for event in stripped} >= {"m.room.create", "m.room.name", "m.room.join_rules"}
    assert stripped[-1]["state_key"] == "@bob:localhost" and stripped[-1]["content"]["is_direct"] is True
    assert all(set(event) == {"type", "state_key", "sender", "content"} for event in stripped)
    assert room in (await house.sync("bob"))["rooms"]["invite"]
    await house.must_change("bob", room, "bob", "leave")
    refused = (await house.sync("bob", answer["next_batch"]))["rooms"]
    assert refused["invite"] == {} and len(ids(refused["leave"][room])) == 1
    assert refused["leave"][room]["state"]["events"] == []
    assert (await house.sync("bob"))["rooms"] == NOTHING


async def test_a_joined_room_comes_whole(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    for number in range(12):
        await house.say("alice", room, f"m{number}")
    since = (await house.sync("bob"))["next_batch"]
    await house.must_change("bob", room, "bob", "join")
    section = (await house.sync("bob", since))["rooms"]["join"][room]
    assert section["timeline"]["limited"] is True and len(ids(section)) == 10
    assert state_keys(section) >= {("m.room.create", ""), ("m.room.member", "@alice:localhost")}
    assert ("m.room.member", "@bob:localhost") not in state_keys(section)
    assert section["summary"] == {
        "m.joined_member_count": 2,
        "m.invited_member_count": 0,
        "m.heroes": ["@alice:localhost"],
    }
    assert [event["unsigned"]["membership"] for event in section["timeline"]["events"]] == ["leave"] * 9 + ["join"]


@pytest.mark.parametrize("how", ["leave", "kick", "ban"])
async def test_leaving_ends_what_is_told(house: House, how: str) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.must_change("bob", room, "bob", "join")
    since = (await house.sync("bob"))["next_batch"]
    heard = await house.say("alice", room, "still here")
    sender, membership = ("bob", "leave") if how == "leave" else ("alice", "ban" if how == "ban" else "leave")
    ended = await house.must_change(sender, room, "bob", membership)
    await house.say("alice", room, "behind your back")
    await house.set_state("alice", room, "m.room.topic", {"topic": "gossip"})
    answer = await house.sync("bob", since)
    assert answer["rooms"]["join"] == {} and ids(answer["rooms"]["leave"][room]) == [heard, ended]
    assert (await house.sync("bob", answer["next_batch"]))["rooms"] == NOTHING
    assert (await house.sync("bob"))["rooms"] == NOTHING
    wanted = {"room": {"include_leave": True}}
    section = (await house.sync("bob", None, wanted))["rooms"]["leave"][room]
    assert ids(section)[-1] == ended and ("m.room.topic", "") not in state_keys(section)
    if membership == "leave":
        assert await forget(house.rooms, house.user("bob"), room) is None
        assert (await house.sync("bob", None, wanted))["rooms"] == NOTHING


async def test_coming_back_fills_the_gap_of_membership(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": "joined"})
    await house.must_change("bob", room, "bob", "join")
    since = (await house.sync("bob"))["next_batch"]
    left = await house.must_change("bob", room, "bob", "leave")
    unseen = await house.say("alice", room, "secret")
    topic = await house.set_state("alice", room, "m.room.topic", {"topic": "changed"})
    back = await house.must_change("bob", room, "bob", "join")
    section = (await house.sync("bob", since))["rooms"]["join"][room]
    assert unseen not in ids(section) and topic not in ids(section)
    assert ids(section)[-2:] == [left, back]
    assert topic in [event["event_id"] for event in section["state"]["events"]]


async def test_lazy_loading_brings_the_senders(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    for name in ("bob", "carol", "dave"):
        await house.must_change(name, room, name, "join")
    await house.say("bob", room, "one")
    await house.say("bob", room, "two")
    await house.set_state("alice", room, "m.room.name", {"name": "no heroes then"})
    await house.say("bob", room, "three")
    await house.say("bob", room, "four")
    first = await house.sync("carol", None, LAZY)
    section = first["rooms"]["join"][room]
    members = {key for kind, key in state_keys(section) if kind == "m.room.member"}
    assert members == {"@bob:localhost", "@carol:localhost"}
    assert ("m.room.create", "") in state_keys(section)
    await house.say("dave", room, "five")
    section = (await house.sync("carol", first["next_batch"], LAZY))["rooms"]["join"][room]
    assert state_keys(section) == {("m.room.member", "@dave:localhost")}
    await house.must_change("bob", room, "bob", "leave")
    for number in range(3):
        await house.say("dave", room, f"later {number}")
    section = (await house.sync("carol", first["next_batch"], LAZY))["rooms"]["join"][room]
    assert section["timeline"]["limited"] is True
    assert ("m.room.member", "@bob:localhost") in state_keys(section), "a leave in the gap must be told"


async def test_filters_choose_rooms_types_and_senders(house: House) -> None:
    one, two = await house.create("alice", preset="public_chat"), await house.create("alice")
    await house.must_change("bob", one, "bob", "join")
    await house.say("bob", one, "from bob")
    mine = await house.say("alice", one, "from alice")
    chosen = {"rooms": [one], "timeline": {"types": ["m.room.mess*"], "senders": ["@alice:localhost"]}}
    joined = (await house.sync("alice", None, {"room": chosen}))["rooms"]["join"]
    assert list(joined) == [one] and ids(joined[one]) == [mine]
    joined = (await house.sync("alice", None, {"room": {"not_rooms": [one]}}))["rooms"]["join"]
    assert list(joined) == [two]
    wanted = {"room": {"state": {"types": []}, "timeline": {"not_types": ["*"]}}}
    section = (await house.sync("alice", None, wanted))["rooms"]["join"][two]
    assert ids(section) == [] and section["state"]["events"] == []


async def test_what_is_not_an_event_is_told_too(house: House) -> None:
    room, quiet = await house.create("alice"), await house.create("alice")
    since = (await house.sync("alice"))["next_batch"]
    house.typing.set(room, ["@bob:localhost"])
    answer = await house.sync("alice", since)
    assert answer["rooms"]["join"][room]["ephemeral"]["events"] == [
        {"type": "m.typing", "content": {"user_ids": ["@bob:localhost"]}}
    ]
    assert quiet not in answer["rooms"]["join"]
    assert (await house.sync("alice", answer["next_batch"]))["rooms"] == NOTHING
    notifier = house.rooms.notifier
    position = notifier.position + 1
    house.receipts.rows.append((position, room, {"$x": {"m.read": {"@bob:localhost": {"ts": 1}}}}))
    house.account_data.rows.append((position, "@alice:localhost", quiet, "m.tag", {"tags": {}}))
    house.account_data.rows.append((position, "@alice:localhost", "", "m.direct", {}))
    notifier.publish_room(room, position)
    answer = await house.sync("alice", answer["next_batch"])
    assert answer["account_data"]["events"] == [{"type": "m.direct", "content": {}}]
    assert answer["rooms"]["join"][room]["ephemeral"]["events"][0]["type"] == "m.receipt"
    assert answer["rooms"]["join"][quiet]["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 0}


async def test_a_new_profile_reaches_every_room(house: House) -> None:
    rooms = [await house.create("alice") for _ in range(3)]
    since = (await house.sync("alice"))["next_batch"]
    house.profiles.profiles["@alice:localhost"] = Profile("Alice", "mxc://localhost/a")
    await update_profile(house.rooms, Sender("@alice:localhost"))
    joined = (await house.sync("alice", since))["rooms"]["join"]
    assert joined.keys() == set(rooms)
    for section in joined.values():
        (event,) = section["timeline"]["events"]
        assert event["content"] == {
            "membership": "join",
            "displayname": "Alice",
            "avatar_url": "mxc://localhost/a",
        }
        assert section["timeline"]["limited"] is False
    await update_profile(house.rooms, Sender("@alice:localhost"))
    assert (await house.sync("alice", (await house.sync("alice"))["next_batch"]))["rooms"] == NOTHING


async def test_a_sync_that_reaches_before_the_restart_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    async with open_house(path) as house:
        room, other = await house.create("alice"), await house.create("alice")
        since = (await house.sync("alice"))["next_batch"]
        told = await house.say("alice", room, "before the restart")
    async with open_house(path) as house:
        later = await house.say("alice", other, "after it")
        joined = (await house.sync("alice", since))["rooms"]["join"]
        assert (ids(joined[room]), ids(joined[other])) == ([told], [later])


async def test_a_forgotten_room_comes_back_with_an_invite(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.must_change("bob", room, "bob", "join")
    await house.must_change("bob", room, "bob", "leave")
    assert await forget(house.rooms, house.user("bob"), room) is None
    since = (await house.sync("bob"))["next_batch"]
    await house.must_change("alice", room, "bob", "invite")
    for answer in (await house.sync("bob"), await house.sync("bob", since)):
        assert answer["rooms"]["invite"].keys() == {room}


def members_told(answer: dict, room: str) -> list[str]:
    section = answer["rooms"]["join"].get(room, {"state": {"events": []}})
    return [event["state_key"] for event in section["state"]["events"] if event["type"] == "m.room.member"]


async def test_lazily_loaded_members_are_told_once(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    bob = house.user("bob")
    await house.must_change("bob", room, "bob", "join")
    for number in range(10):
        await house.say("alice", room, f"{number}")
    wanted = {"room": {"state": {"lazy_load_members": True}}}
    more = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    await house.sync("bob", None, wanted)
    since = (await house.sync("alice", None, {"room": wanted["room"] | {"not_rooms": [room]}}))["next_batch"]

    await house.say("bob", room, "one")
    one = await house.sync("alice", since, wanted)
    assert members_told(one, room) == [bob]
    await house.say("bob", room, "two")
    two = await house.sync("alice", one["next_batch"], wanted)
    assert members_told(two, room) == []
    # An answer that was lost is given again with all it had.
    assert members_told(await house.sync("alice", since, wanted), room) == [bob]
    assert members_told(await house.sync("alice", two["next_batch"], wanted), room) == []
    # Other filters have memories of their own.
    await house.say("bob", room, "three")
    other = {"room": wanted["room"] | {"timeline": {"limit": 5}}}
    assert members_told(await house.sync("alice", two["next_batch"], other), room) == [bob]
    for _ in range(2):
        assert members_told(await house.sync("alice", two["next_batch"], more), room) == [bob]


async def test_a_room_that_was_come_back_to_is_told_as_a_gap(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.must_change("bob", room, "bob", "join")
    since = (await house.sync("bob"))["next_batch"]
    await house.must_change("bob", room, "bob", "leave")
    left = (await house.sync("bob", since))["next_batch"]
    await house.must_change("bob", room, "bob", "join")
    again = (await house.sync("bob", left))["rooms"]["join"][room]
    assert again["timeline"]["limited"]
