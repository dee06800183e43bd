"""The parts of sliding sync: required state, hostile requests, stored connections, seams of encryption."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.sliding_support import SlidingClient, SlidingHouse, one_list, open_sliding_house, sources_of
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.sliding.connections import MAX_OFFERS, Pos, parse_pos
from thingroom_homeserver.sliding.request import parse_wish
from thingroom_homeserver.sliding.required_state import RequestError, dump, load, parse_required_state, wants
from thingroom_homeserver.storage import sliding as storage
from thingroom_homeserver.storage.positions import next_position

ME = "@me:localhost"
MEMBER = "m.room.member"


@pytest.mark.parametrize(
    ("asked", "wanted", "unwanted"),
    [
        ([["m.room.name", ""]], [("m.room.name", "")], [("m.room.topic", ""), ("m.room.name", "x")]),
        ([["*", "*"]], [("a", "b"), (MEMBER, "@x:y")], []),
        ([["*", ""]], [("a", "")], [("a", "b")]),
        ([["a", "*"]], [("a", "b")], [("b", "b")]),
        ([[MEMBER, "$ME"]], [(MEMBER, ME)], [(MEMBER, "@x:y"), (MEMBER, "$ME")]),
        ([[MEMBER, "$LAZY"]], [], [(MEMBER, ME), ("a", "")]),
        ([["*", "*"], [MEMBER, "$LAZY"], [MEMBER, "$ME"]], [("a", ""), (MEMBER, ME)], [(MEMBER, "@x:y")]),
        ([["*", "*"], [MEMBER, "@x:y"]], [("a", ""), (MEMBER, "@x:y")], [(MEMBER, ME)]),
        ({}, [], [("a", "")]),
        ({"include": [{}], "exclude": [{"type": "a"}]}, [("b", "c")], [("a", "c")]),
        ({"include": [{"state_key": "k"}]}, [("a", "k")], [("a", "")]),
        (
            {"include": [{}, {"type": MEMBER, "state_key": ME}], "lazy_members": True},
            [(MEMBER, ME)],
            [(MEMBER, "@x:y")],
        ),
    ],
)
def test_required_state(asked: Any, wanted: list[tuple[str, str]], unwanted: list[tuple[str, str]]) -> None:
    combined = frozenset([parse_required_state(asked, ME)])
    assert load(dump(combined)) == combined
    assert [key for key in wanted if not wants(combined, *key)] == []
    assert [key for key in unwanted if wants(combined, *key)] == []


names = st.sampled_from(
    [
        "lists",
        "room_subscriptions",
        "extensions",
        "conn_id",
        "a",
        "timeline_limit",
        "required_state",
        "ranges",
        "range",
        "filters",
        "is_dm",
        "spaces",
        "tags",
        "room_types",
        "include",
        "exclude",
        "type",
        "state_key",
        "lazy_members",
        "enabled",
        "since",
        "limit",
        "to_device",
        "typing",
        "rooms",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(names, json_values, max_size=5))
def test_any_request_is_taken_or_refused(body: dict[str, Any]) -> None:
    try:
        wish = parse_wish(body, ME)
    except RequestError:
        return
    assert all(0 <= one.config.timeline_limit <= 200 for one in wish.lists.values())
    assert len({one.filters for one in wish.lists.values()}) <= len(wish.lists)  # they can be keys


@given(st.text(max_size=30) | st.from_regex(r"p[0-9]*_[0-9]*_[0-9]*_[0-9]*"))
def test_a_position_is_read_as_it_is_written(text: str) -> None:
    pos = parse_pos(text)
    assert pos is None or parse_pos(str(pos)) == pos
    assert parse_pos(str(Pos(1, 2, 3, 4))) == Pos(1, 2, 3, 4)


class Messages:
    """The to-device messages of one device: (position, event)."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, dict[str, Any]]] = []
        self.deleted = 0

    def waiting(self, reader: Any, user_id: str, device_id: str, since: int, upto: int, limit: int) -> Any:
        found = [(position, event) for position, event in self.queue if since < position <= upto][:limit]
        return [event for _, event in found], found[-1][0] if len(found) == limit else upto

    async def acknowledge(self, user_id: str, device_id: str, position: int) -> None:
        self.deleted = position


class Lists:
    def news(self, reader: Any, user_id: str, since: int, upto: int) -> SimpleNamespace:
        return SimpleNamespace(changed=["@bob:localhost"] if since < upto else [], left=[])


class Counts:
    def counts(self, reader: Any, user_id: str, room_id: str, upto: int) -> dict[str, tuple[int, int]]:
        return {"main": (2, 1), "$thread": (1, 0)}


async def test_the_seams_for_encryption_and_counts(tmp_path: Path) -> None:
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        messages = Messages()
        sliding.sources = replace(sliding.sources, to_device=messages, device_lists=Lists(), unread=Counts())
        room_id = await sliding.house.create("alice")
        wish = one_list() | {"extensions": {"to_device": {"enabled": True, "limit": 1}, "e2ee": {"enabled": True}}}
        first = await sliding.told("alice", wish)
        assert first["rooms"][room_id]["notification_count"] == 3
        assert first["rooms"][room_id]["highlight_count"] == 1
        assert "device_lists" not in first["extensions"]["e2ee"]
        assert first["extensions"]["e2ee"]["device_one_time_keys_count"] == {"signed_curve25519": 0}
        since = first["extensions"]["to_device"]["next_batch"]
        await sliding.house.say("alice", room_id, "x")
        position = sliding.house.rooms.notifier.position
        messages.queue = [(position - 1, {"type": "lost"}), (position, {"type": "one"}), (position, {"type": "two"})]
        wish["extensions"]["to_device"]["since"] = since
        second = await sliding.told("alice", wish, first["pos"])
        assert second["extensions"]["to_device"] == {"events": [{"type": "one"}], "next_batch": str(position)}
        assert second["extensions"]["e2ee"]["device_lists"] == {"changed": ["@bob:localhost"], "left": []}
        assert messages.deleted == int(since)
        for name in ("bob", "alice"):
            position = await _receipt(sliding, room_id, name)
        wish["extensions"]["to_device"]["since"] = str(position)
        third = await sliding.told("alice", wish, second["pos"])
        assert third["rooms"] == {room_id: {"notification_count": 3, "highlight_count": 1}}
        await _receipt(sliding, room_id, "bob")
        assert (await sliding.told("alice", wish, third["pos"]))["rooms"] == {}


async def _receipt(sliding: SlidingHouse, room_id: str, name: str) -> int:
    """A receipt of that user on some event; its position."""
    house = sliding.house

    def write(transaction: Any) -> int:
        position = next_position(transaction)
        transaction.after_commit(lambda: house.rooms.notifier.publish_room(room_id, position))
        return position

    position = await house.rooms.database.write(write)
    house.receipts.rows.append((position, room_id, {"$event": {"m.read": {house.user(name): {"ts": 1}}}}))
    return position


async def test_memory_is_bounded_by_what_is_stored(tmp_path: Path) -> None:
    """A connection that fell out of memory is read again; a room has at most three rows."""
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        room_id = await sliding.house.create("alice", preset="public_chat")
        pos = None
        for number in range(12):
            await sliding.house.must_change(f"u{number}", room_id, f"u{number}", "join")
            lazy = one_list(1, required={"include": [], "lazy_members": True})
            pos = (await sliding.told("alice", lazy, pos))["pos"]
            if number % 3 == 0:
                sliding.sources = sources_of(sliding.house)
        rows = sliding.house.rooms.database.read(
            lambda c: c.execute("SELECT COUNT(*) FROM sliding_rooms WHERE room_id = ?", (room_id,)).fetchone()[0]
        )
        assert 1 <= rows <= 3


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_request_that_was_given_up_overtakes_the_one_sent_instead(tmp_path: Path, restarted: bool) -> None:
    """Its answer reaches nobody, and the answer that the client took stays good."""
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        room_ids = [await sliding.house.create("alice") for _ in range(4)]
        client = SlidingClient()
        client.take(await sliding.told("alice", one_list(1, range=[0, 0])))
        taken = await sliding.told("alice", one_list(1, range=[0, 1]), client.pos)
        for shown in range(2, 4):
            lost = await sliding.told("alice", one_list(1, range=[0, shown]), client.pos)
            assert len(lost["rooms"]) == shown
        if restarted:
            sliding.sources = sources_of(sliding.house)
        client.take(taken)
        said = await sliding.house.say("alice", room_ids[3], "x")
        following = await sliding.told("alice", one_list(1, range=[0, 3]), client.pos)
        assert following["rooms"].keys() == {room_ids[0], room_ids[1], room_ids[3]}
        client.take(following)
        assert [client.rooms[room_ids[3]].timeline[-1], len(client.rooms)] == [said, 4]
        for pos in (lost["pos"], taken["pos"]):
            answer = await sliding.ask("alice", one_list(1), pos)
            assert (answer is None) == (pos == lost["pos"])


async def test_few_answers_that_no_request_names_are_remembered(tmp_path: Path) -> None:
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        for _ in range(3):
            await sliding.house.create("alice")
        first = (await sliding.told("alice", one_list(1, range=[0, 0])))["pos"]
        given = [(await sliding.told("alice", one_list(1, range=[0, 2]), first))["pos"] for _ in range(MAX_OFFERS + 2)]
        for sources in (sliding.sources, sources_of(sliding.house)):
            sliding.sources = sources
            assert await sliding.ask("alice", one_list(1), given[1]) is None
        assert (await sliding.told("alice", one_list(1, range=[0, 2]), given[2]))["rooms"] == {}
        assert await sliding.ask("alice", one_list(1), given[-1]) is None


async def test_connections_in_parallel(tmp_path: Path) -> None:
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        room_ids = [await sliding.house.create("alice") for _ in range(30)]

        async def client(number: int) -> set[str]:
            wish = one_list(1) | {"conn_id": str(number)}
            answer = await sliding.told("alice", wish)
            seen = set(answer["rooms"])
            events: set[str] = set()
            while len(events) < 20:
                answer = await sliding.told("alice", wish | {"timeout": 1}, answer["pos"], 5.0)
                for room in answer["rooms"].values():
                    assert not room.get("initial")
                    events |= {event["event_id"] for event in room.get("timeline", ())}
            assert seen == set(room_ids)
            return events

        clients = [asyncio.create_task(client(number)) for number in range(6)]
        while not all(sliding.sources.rooms.notifier._waiting.values()) or not sliding.sources.rooms.notifier._waiting:
            await asyncio.sleep(0.01)
        sent = set()
        for number in range(20):
            sent.add(await sliding.house.say("alice", room_ids[number], "x"))
        for events in await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_SECONDS):
            assert events == sent


async def test_the_bump_of_a_room_is_read_from_its_index(tmp_path: Path) -> None:
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        room_id = await sliding.house.create("alice")
        await sliding.house.say("alice", room_id, "x")
        first = await sliding.told("alice", one_list())
        bump = first["rooms"][room_id]["bump_stamp"]
        await sliding.house.set_state("alice", room_id, "m.room.topic", {"topic": "t"})
        second = await sliding.told("alice", one_list(), first["pos"])
        assert "bump_stamp" not in second["rooms"][room_id]
        await sliding.house.say("alice", room_id, "y")
        third = await sliding.told("alice", one_list(), second["pos"])
        assert third["rooms"][room_id]["bump_stamp"] == bump + 2
        statements: list[str] = []

        def plan(reader: Any) -> str:
            reader.set_trace_callback(statements.append)
            storage.last_bump_position(reader, room_id, 10)
            reader.set_trace_callback(None)
            return str([tuple(row) for row in reader.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")])

        assert "events_room_bump" in sliding.house.rooms.database.read(plan)
