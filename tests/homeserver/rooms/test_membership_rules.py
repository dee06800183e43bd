"""Joining restricted rooms, knocking, repeating oneself, and what room creation makes of its wishes."""

from pathlib import Path

import pytest
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS, ROOM_RULES
from thingroom_homeserver.rooms.create_room import InitialState, RoomWish, create_room
from thingroom_homeserver.rooms.membership import Change, change_membership, kick
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.read_state import state_for
from thingroom_homeserver.rooms.send_event import send_state


@pytest.fixture
async def house(tmp_path: Path):
    async with open_house(tmp_path / "homeserver.db") as house:
        yield house


def content(house: House, name: str, room: str, event_type: str, state_key: str = "") -> dict:
    def read(connection):
        state = state_for(house.rooms, connection, house.user(name), room)
        assert isinstance(state, dict), state
        stored = house.rooms.events.get(connection, state[event_type, state_key])
        assert stored is not None
        return stored.event.content

    return house.rooms.database.read(read)


@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
async def test_a_restricted_room_opens_to_members_of_another(house: House, rule: str) -> None:
    space = await house.create("alice", preset="public_chat")
    room = await house.create("alice")
    allow = [{"type": "m.room_membership", "room_id": space}]
    await house.set_state("alice", room, "m.room.join_rules", {"join_rule": rule, "allow": allow})
    refused = await house.change("bob", room, "bob", "join")
    assert isinstance(refused, Refused) and refused.why is Why.FORBIDDEN
    await house.must_change("bob", space, "bob", "join")
    await house.must_change("bob", room, "bob", "join")
    member = content(house, "bob", room, "m.room.member", "@bob:localhost")
    assert member["join_authorised_via_users_server"] == "@alice:localhost"
    await house.must_change("alice", room, "alice", "leave")
    await house.must_change("carol", space, "carol", "join")
    outcome = await house.change("carol", room, "carol", "join")
    assert isinstance(outcome, Sent), "bob may invite (level 0), so bob vouches"


async def test_a_knock_is_let_in(house: House) -> None:
    room = await house.create("alice")
    assert isinstance(await house.change("bob", room, "bob", "knock"), Refused)
    await house.set_state("alice", room, "m.room.join_rules", {"join_rule": "knock"})
    await house.must_change("bob", room, "bob", "knock", reason="please")
    answer = await house.sync("bob")
    stripped = answer["rooms"]["knock"][room]["knock_state"]["events"]
    assert stripped[0]["type"] == "m.room.create" and stripped[-1]["content"]["reason"] == "please"
    await house.must_change("alice", room, "bob", "invite")
    await house.must_change("bob", room, "bob", "join")
    assert (await house.sync("bob", answer["next_batch"]))["rooms"]["join"].keys() == {room}


async def test_saying_the_same_again_makes_no_event(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    joined = await house.must_change("bob", room, "bob", "join")
    assert await house.must_change("bob", room, "bob", "join") == joined
    topic = await house.set_state("alice", room, "m.room.topic", {"topic": "x"})
    assert await house.set_state("alice", room, "m.room.topic", {"topic": "x"}) == topic
    left = await house.must_change("bob", room, "bob", "leave")
    assert await house.must_change("bob", room, "bob", "leave") == left
    again = await kick(house.rooms, Sender("@alice:localhost"), room, "@bob:localhost", None)
    assert isinstance(again, Refused) and again.why is Why.FORBIDDEN


async def test_an_invite_beyond_this_server_is_refused_for_now(house: House) -> None:
    room = await house.create("alice")
    change = Change("@far:elsewhere.example", "invite")
    outcome = await change_membership(house.rooms, Sender("@alice:localhost"), room, change)
    assert isinstance(outcome, Refused) and outcome.why is Why.UNREACHABLE


@pytest.mark.parametrize("version", sorted(KNOWN_ROOM_VERSIONS, key=int))
async def test_creation_honours_every_wish(house: House, version: str) -> None:
    rules = ROOM_RULES[version]
    wish = {
        "preset": "trusted_private_chat",
        "room_version": version,
        "creation_content": {"m.federate": False, "creator": "@mallory:localhost", "room_version": "1"},
        "power_levels": {"events_default": 10},
        "initial_state": (
            InitialState("m.room.join_rules", "", {"join_rule": "public"}),
            InitialState("m.room.name", "", {"name": "from the state"}),
        ),
        "alias_localpart": "kitchen",
        "name": "from the wish",
        "topic": "warm",
        "invite": ("@bob:localhost",),
    }
    room = await house.create("alice", **wish)
    create = content(house, "alice", room, "m.room.create")
    assert create["room_version"] == version and create["m.federate"] is False
    assert create.get("creator") == ("@alice:localhost" if rules.creator_in_content else None)
    levels = content(house, "alice", room, "m.room.power_levels")
    if rules.privileged_creators:
        assert create["additional_creators"] == ["@bob:localhost"] and levels["users"] == {}
        assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    else:
        assert levels["users"] == {"@alice:localhost": 100, "@bob:localhost": 100}
    assert levels["events_default"] == 10
    assert content(house, "alice", room, "m.room.join_rules") == {"join_rule": "public"}
    assert content(house, "alice", room, "m.room.name") == {"name": "from the wish"}
    assert content(house, "alice", room, "m.room.topic")["topic"] == "warm"
    assert content(house, "alice", room, "m.room.canonical_alias") == {"alias": "#kitchen:localhost"}
    assert house.aliases.rooms == {"#kitchen:localhost": room}
    assert (await house.sync("bob"))["rooms"]["invite"].keys() == {room}


async def test_a_refused_creation_leaves_nothing(house: House) -> None:
    before = (await house.sync("alice"))["next_batch"]
    state = InitialState("m.room.member", "@bob:localhost", {"membership": "join"})
    wish = RoomWish(initial_state=(state,), alias_localpart="free")
    outcome = await create_room(house.rooms, Sender("@alice:localhost"), wish)
    assert isinstance(outcome, Refused) and outcome.why is Why.INVALID_ROOM_STATE
    assert house.aliases.rooms == {} and (await house.sync("alice"))["next_batch"] == before
    assert house.rooms.occupancy.joined_rooms("@alice:localhost") == frozenset()
    tables = ("rooms", "events", "current_state", "room_members", "state_groups")
    for table in tables:
        assert house.rooms.database.read(lambda c, t=table: c.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]) == 0


async def test_two_rooms_of_one_millisecond_are_two_rooms(tmp_path: Path) -> None:
    class StoppedClock:
        def now_ms(self) -> int:
            return 1_760_000_000_000

    async with open_house(tmp_path / "stopped.db", StoppedClock()) as house:
        assert await house.create("alice") != await house.create("alice")


async def test_canonical_aliases_must_point_here(house: House) -> None:
    room, other = await house.create("alice"), await house.create("alice", alias_localpart="other")
    sender = Sender("@alice:localhost")
    refusals = (("#other:localhost", Why.BAD_ALIAS), ("#none:localhost", Why.BAD_ALIAS), ("x", Why.INVALID_PARAM))
    for alias, why in refusals:
        outcome = await send_state(house.rooms, sender, room, "m.room.canonical_alias", "", {"alias": alias})
        assert isinstance(outcome, Refused) and outcome.why is why
    assert content(house, "alice", other, "m.room.canonical_alias") == {"alias": "#other:localhost"}
    house.aliases.rooms.clear()
    kept = {"alias": "#other:localhost", "alt_aliases": []}
    assert isinstance(await send_state(house.rooms, sender, other, "m.room.canonical_alias", "", kept), Sent)
