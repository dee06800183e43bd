"""History visibility: by the state at each event, for each way in and out of a room."""

from pathlib import Path

import pytest
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.outcomes import Refused
from thingroom_homeserver.rooms.read_events import PageWish, read_event, read_page
from thingroom_homeserver.rooms.read_state import state_for


@pytest.fixture
async def house(tmp_path: Path):
    async with open_house(tmp_path / "homeserver.db") as house:
        yield house


def seen(house: House, name: str, room: str) -> set[str] | None:
    """The bodies of the messages that a user may read; None without any access."""
    wish = PageWish(room, None, None, True, 100)
    page = house.rooms.database.read(lambda c: read_page(house.rooms, c, house.user(name), wish, NO_FILTER))
    if isinstance(page, Refused):
        return None
    return {str(stored.event.content["body"]) for stored, _ in page.events if stored.event.type == "m.room.message"}


@pytest.mark.parametrize(
    ("visibility", "newcomer", "gone", "stranger"),
    [
        ("world_readable", {"before", "invited", "in", "after"}, {"before", "invited", "in", "after"}, True),
        ("shared", {"before", "invited", "in"}, {"before", "invited", "in"}, False),
        ("invited", {"invited", "in"}, {"invited", "in"}, False),
        ("joined", {"in"}, {"in"}, False),
    ],
)
async def test_who_sees_what(house: House, visibility: str, newcomer: set, gone: set, stranger: bool) -> None:
    room = await house.create("alice")
    await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": visibility})
    await house.say("alice", room, "before")
    await house.must_change("alice", room, "bob", "invite")
    await house.say("alice", room, "invited")
    expected_of_invited = {"before", "invited"} if visibility == "world_readable" else None
    assert seen(house, "bob", room) == expected_of_invited
    await house.must_change("bob", room, "bob", "join")
    await house.say("alice", room, "in")
    assert seen(house, "bob", room) == newcomer - {"after"}
    await house.must_change("bob", room, "bob", "leave")
    after = await house.say("alice", room, "after")
    assert seen(house, "bob", room) == gone
    assert seen(house, "alice", room) == {"before", "invited", "in", "after"}
    assert seen(house, "mallory", room) == (gone if stranger else None)
    alone = house.rooms.database.read(lambda c: read_event(house.rooms, c, house.user("bob"), room, after))
    assert isinstance(alone, Refused) is (visibility != "world_readable")


async def test_a_change_of_visibility_does_not_reach_back(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": "joined"})
    await house.say("alice", room, "private")
    await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": "shared"})
    await house.say("alice", room, "open")
    await house.must_change("bob", room, "bob", "join")
    assert seen(house, "bob", room) == {"open"}


async def test_who_left_has_the_state_of_then(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    topic = await house.set_state("alice", room, "m.room.topic", {"topic": "then"})
    await house.must_change("bob", room, "bob", "join")
    await house.must_change("bob", room, "bob", "leave")
    await house.set_state("alice", room, "m.room.topic", {"topic": "now"})
    state = house.rooms.database.read(lambda c: state_for(house.rooms, c, house.user("bob"), room))
    assert isinstance(state, dict) and state["m.room.topic", ""] == topic
    await house.must_change("alice", room, "carol", "invite")
    for name in ("carol", "mallory"):
        outcome = house.rooms.database.read(lambda c, n=name: state_for(house.rooms, c, house.user(n), room))
        assert isinstance(outcome, Refused)


@pytest.mark.parametrize(("before", "after"), [("world_readable", "joined"), ("joined", "world_readable")])
async def test_the_change_of_visibility_is_seen_from_both_sides(house: House, before: str, after: str) -> None:
    room = await house.create("alice")
    await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": before})
    changed = await house.set_state("alice", room, "m.room.history_visibility", {"history_visibility": after})
    topic = await house.set_state("alice", room, "m.room.topic", {"topic": "x"})

    def visible(event_id: str) -> bool:
        found = house.rooms.database.read(lambda c: read_event(house.rooms, c, "@mallory:localhost", room, event_id))
        return not isinstance(found, Refused)

    assert visible(changed) and visible(topic) is (after == "world_readable")
