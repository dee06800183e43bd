"""Who may see an event: every combination of the history visibility rules."""

import pytest
from tests.synapse_peer.room_generator import ALICE, BOB, build

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.event_visibility import may_see, visibility_of
from thingroom_homeserver.core.room_rules import ROOM_RULES

ROOM = "!" + "a" * 43
MESSAGE = build(ROOM_RULES["12"], ROOM, "m.room.message", ALICE, {})


def visibility_event(value: object, state_key: str = "") -> Event:
    content = {"history_visibility": value}
    return build(ROOM_RULES["12"], ROOM, "m.room.history_visibility", ALICE, content, state_key=state_key)


def member_event(user: str, membership: str) -> Event:
    return build(ROOM_RULES["12"], ROOM, "m.room.member", ALICE, {"membership": membership}, state_key=user)


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", "knock"])
@pytest.mark.parametrize("current", ["join", "invite", "leave"])
@pytest.mark.parametrize("visibility", ["world_readable", "shared", "invited", "joined", "nonsense"])
def test_messages(visibility: str, membership: str, current: str):
    allowed = (
        visibility == "world_readable"
        or membership == "join"
        or (visibility in ("shared", "nonsense") and current == "join")
        or (visibility == "invited" and membership == "invite")
    )
    assert may_see(MESSAGE, visibility, membership, current) is allowed
    assert may_see(MESSAGE, visibility, membership, current, user_id=BOB) is allowed


def test_somebody_who_joined_since_and_left_again_sees_shared_history():
    assert not may_see(MESSAGE, "shared", "leave", "leave")
    assert may_see(MESSAGE, "shared", "leave", "leave", joined_since=True)
    assert not may_see(MESSAGE, "joined", "leave", "leave", joined_since=True)
    assert not may_see(MESSAGE, "shared", "leave", "join", joined_since=False)


def test_a_change_of_visibility_is_seen_by_whom_either_side_allows():
    opened, closed = visibility_event("world_readable"), visibility_event("joined")
    assert may_see(opened, "joined", "leave", "leave")
    assert may_see(closed, "world_readable", "leave", "leave")
    assert not may_see(closed, "invited", "leave", "leave")
    assert not may_see(visibility_event("world_readable", "elsewhere"), "joined", "leave", "leave")


def test_ones_own_member_events():
    joined, left, others = member_event(BOB, "join"), member_event(BOB, "leave"), member_event(ALICE, "join")
    assert may_see(joined, "joined", "leave", "leave", user_id=BOB)
    assert may_see(left, "joined", "join", "leave", user_id=BOB)
    assert may_see(member_event(BOB, "invite"), "invited", "leave", "leave", user_id=BOB)
    assert not may_see(member_event(BOB, "invite"), "joined", "leave", "leave", user_id=BOB)
    assert not may_see(others, "joined", "leave", "leave", user_id=BOB)
    assert not may_see(joined, "joined", "leave", "leave")


@pytest.mark.parametrize(("value", "meaning"), [("joined", "joined"), ("x", "shared"), (5, "shared"), ([], "shared")])
def test_the_value_of_a_visibility_event(value: object, meaning: str):
    assert visibility_of(visibility_event(value)) == meaning
    assert visibility_of(None) == "shared"
