"""Power levels: defaults, the versions' tolerances, creators."""

import math
from typing import Any

import pytest
from tests.synapse_peer.room_generator import ALICE, BOB, CAROL, build

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.power_levels import CREATOR_LEVEL, PowerLevels, parse_level, room_creator, room_creators
from thingroom_homeserver.core.room_rules import ROOM_RULES


def create_event(version: str, **content: Any) -> Event:
    rules = ROOM_RULES[version]
    room_id = None if rules.room_id_is_create_event_id else "!room:one.test"
    return build(rules, room_id, "m.room.create", ALICE, content, state_key="")


def levels(version: str, content: dict | None, **create: Any) -> PowerLevels:
    created = create_event(version, **create)
    event = None
    if content is not None:
        event = build(ROOM_RULES[version], created.room_id, "m.room.power_levels", ALICE, content, state_key="")
    return PowerLevels.of(event, created, ROOM_RULES[version])


def named(view: PowerLevels) -> list[int]:
    return [view.ban, view.kick, view.redact, view.invite, view.notification_level("room")]


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
@pytest.mark.parametrize("content", [None, {}])
def test_defaults(version: str, content: dict | None):
    view = levels(version, content, creator=ALICE)
    assert named(view) == [50, 50, 50, 0, 50]
    assert view.event_level("m.room.topic", is_state=True) == 50
    assert view.event_level("m.room.message", is_state=False) == 0
    assert view.user_level(BOB) == 0


@pytest.mark.parametrize(
    ("version", "create", "powerful"),
    [("1", {"creator": BOB}, BOB), ("10", {"creator": BOB}, BOB), ("11", {"creator": BOB}, ALICE), ("11", {}, ALICE)],
)
def test_the_creator_has_100_until_levels_are_set(version: str, create: dict, powerful: str):
    assert [user for user in (ALICE, BOB) if levels(version, None, **create).user_level(user) == 100] == [powerful]
    assert levels(version, {}, **create).user_level(powerful) == 0
    assert room_creator(create_event(version, **create), ROOM_RULES[version]) == powerful


def test_creators_of_version_12_stand_above_every_level():
    for content in (None, {}, {"users_default": 5}):
        view = levels("12", content, additional_creators=[BOB])
        assert view.user_level(ALICE) == view.user_level(BOB) == CREATOR_LEVEL == math.inf
        assert view.user_level(CAROL) == (content or {}).get("users_default", 0)
        assert view.user_level(ALICE) > 2**53
    create = create_event("12", additional_creators=[BOB])
    assert room_creators(create, ROOM_RULES["12"]) == {ALICE, BOB}
    assert room_creators(create, ROOM_RULES["11"]) == frozenset()


def test_what_is_set_counts():
    view = levels(
        "11",
        {
            "users": {ALICE: 100, BOB: -5},
            "users_default": 7,
            "events": {"m.room.topic": 60, "m.room.message": 1},
            "events_default": 2,
            "state_default": 3,
            "ban": 11,
            "kick": 12,
            "redact": 13,
            "invite": 14,
            "notifications": {"room": 15},
        },
    )
    assert named(view) == [11, 12, 13, 14, 15]
    assert [view.user_level(user) for user in (ALICE, BOB, CAROL)] == [100, -5, 7]
    assert view.event_level("m.room.topic", is_state=True) == 60
    assert view.event_level("m.room.message", is_state=False) == 1
    assert view.event_level("m.room.name", is_state=True) == 3
    assert view.event_level("org.example", is_state=False) == 2


@pytest.mark.parametrize(
    ("value", "until_5", "until_9", "since_10"),
    [
        (50, 50, 50, 50),
        ("50", 50, 50, None),
        ("00050", 50, 50, None),
        (" +50 ", 50, 50, None),
        ("-50", -50, -50, None),
        (50.57, 50, None, None),
        (-50.57, -50, None, None),
        (5.114698e4, 51146, None, None),
        (float("inf"), None, None, None),
        (float("nan"), None, None, None),
        (True, None, None, None),
        (None, None, None, None),
        ("5_0", None, None, None),
        ("5.0", None, None, None),
        ("+-5", None, None, None),
        ("", None, None, None),
        ("٥", None, None, None),
        ("9" * 5000, None, None, None),
        ([5], None, None, None),
    ],
)
def test_how_levels_may_be_written(value: object, until_5: int | None, until_9: int | None, since_10: int | None):
    assert parse_level(value, ROOM_RULES["5"]) == until_5
    assert parse_level(value, ROOM_RULES["6"]) == parse_level(value, ROOM_RULES["9"]) == until_9
    assert parse_level(value, ROOM_RULES["10"]) == parse_level(value, ROOM_RULES["12"]) == since_10


@pytest.mark.parametrize("content", [{"users": []}, {"users": {BOB: "x"}}, {"users": {BOB: None}}, {"events": 5}])
def test_unreadable_levels_count_as_missing(content: dict):
    view = levels("9", content | {"users_default": "12", "ban": [], "notifications": "x"}, creator=ALICE)
    assert view.user_level(BOB) == 12
    assert named(view) == [50, 50, 50, 0, 50]
    assert view.event_level("x", is_state=True) == 50
