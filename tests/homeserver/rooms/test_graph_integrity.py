"""Whatever people do, each stored event is one that another server would accept, and the tables fit the graph."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.room_story import ROOMS, Story, step
from tests.homeserver.room_support import SERVER, House, open_house

from thingroom_homeserver.core.auth_rules import Allowed, check_auth, check_auth_events_list
from thingroom_homeserver.core.event import Event, parse_untrusted_pdu
from thingroom_homeserver.core.hashing import content_hash_matches
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS, ROOM_RULES
from thingroom_homeserver.core.signing import verify_event
from thingroom_homeserver.storage.current_state import load_current_state
from thingroom_homeserver.storage.events import EventStore, StoredEvent
from thingroom_homeserver.storage.rooms import forward_extremities
from thingroom_homeserver.storage.state_groups import state_of_group


def _check_room(house: House, connection: sqlite3.Connection, room_id: str, version: str) -> int:
    """Walk the room from its beginning with a store that has nothing cached; returns the number of events."""
    rules, key = ROOM_RULES[version], house.rooms.signing_key
    timeline = EventStore().timeline(connection, room_id, above=0, upto=2**62, limit=10_000, backwards=False)
    known: dict[str, StoredEvent] = {}
    state: dict[tuple[str, str], str] = {}
    create: Event | None = None
    for stored in timeline:
        event = stored.event
        create = create or event
        parsed = parse_untrusted_pdu(event.pdu, version)
        assert isinstance(parsed, Event) and parsed.event_id == event.event_id and parsed.room_id == room_id
        assert verify_event(event.pdu, SERVER, key.key_id, key.public_key, rules)
        assert content_hash_matches(event.pdu, rules) or stored.redacted_by is not None
        assert all(previous in known for previous in event.prev_event_ids)
        assert event.depth == max((known[previous].event.depth for previous in event.prev_event_ids), default=0) + 1
        auth_events = [known[event_id].event for event_id in event.auth_event_ids]
        assert isinstance(check_auth_events_list(event, auth_events, rules), Allowed)
        if stored.redacted_by is None:
            by_place = {(auth.type, str(auth.state_key)): auth for auth in auth_events}
            assert isinstance(check_auth(event, by_place, rules, create=create), Allowed), event
        for auth in auth_events:
            assert state[auth.type, str(auth.state_key)] == auth.event_id, "authorised by the state of then"
        if event.state_key is not None:
            place = (event.type, event.state_key)
            assert stored.replaces_state == state.get(place)
            state[place] = event.event_id
        assert stored.state_group is not None and state_of_group(connection, stored.state_group) == state
        known[event.event_id] = stored
    assert load_current_state(connection, room_id) == state
    assert forward_extremities(connection, room_id) == [timeline[-1].event_id]
    _check_members(connection, room_id, state, known)
    return len(timeline)


def _check_members(connection: sqlite3.Connection, room_id: str, state: dict, known: dict[str, StoredEvent]) -> None:
    rows = connection.execute("SELECT user_id, membership, event_id FROM room_members WHERE room_id = ?", (room_id,))
    members = {row[0]: (row[1], row[2]) for row in rows}
    expected = {
        place[1]: (known[event_id].event.content["membership"], event_id)
        for place, event_id in state.items()
        if place[0] == "m.room.member"
    }
    assert members == expected


async def _check(steps: list[tuple[Any, ...]], version: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_house(Path(directory) / "homeserver.db") as house:
            room_ids = [await house.create("alice", room_version=version, preset="public_chat") for _ in range(ROOMS)]
            story = Story(house, room_ids)
            for one in steps:
                if one[0] != "sync":
                    await story.play(one)
            for room_id in room_ids:
                assert house.rooms.database.read(lambda c, r=room_id: _check_room(house, c, r, version)) >= 6


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=30), st.sampled_from(sorted(KNOWN_ROOM_VERSIONS)))
def test_every_event_would_pass_on_another_server(steps: list[Any], version: str) -> None:
    asyncio.run(_check(steps, version))


@pytest.mark.parametrize("version", sorted(KNOWN_ROOM_VERSIONS, key=int))
def test_every_version_after_a_lively_hour(version: str) -> None:
    steps = [
        ("member", "bob", 0, "bob", "join"),
        ("say", "bob", 0, 3),
        ("redact", "alice", 0),
        ("level", "alice", 0, "bob", 50),
        ("topic", "bob", 0, 2),
        ("member", "bob", 0, "carol", "invite"),
        ("kick", "alice", 0, "carol"),
        ("member", "alice", 0, "bob", "ban"),
        ("unban", "alice", 0, "bob"),
        ("rules", "alice", 0, "invite"),
        ("member", "bob", 0, "bob", "join"),
    ]
    asyncio.run(_check(steps, version))
