"""Sliding syncs, folded together, give the state and the timeline that /sync gives, over retries and restarts."""

import asyncio
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.room_story import ROOMS, USERS, Story, step
from tests.homeserver.room_support import FoldingClient, read_back
from tests.homeserver.sliding_support import SlidingClient, SlidingHouse, one_list, open_sliding_house, sources_of

from thingroom_homeserver.rooms.tokens import parse_page_token

WISHES: tuple[dict[str, Any], ...] = (
    one_list(),
    one_list(3),
    one_list(1, range=[0, 0]),
    one_list(0),
    one_list(2, ranges=[[0, 0], [1, 5]]),
    one_list(2, required={"include": [{}], "lazy_members": True}),
    one_list(4, required=[["m.room.member", "$LAZY"], ["*", "*"], ["m.room.member", "$ME"]], range=[0, 0]),
)
ALL = one_list(2)
how = st.sampled_from(("plain", "retry", "restart"))


async def _check(steps: list[tuple[Any, ...]], wish: dict[str, Any], ways: list[str], joined: int) -> None:
    lazy = wish["lists"]["all"]["required_state"] != {"include": [{}]}
    with tempfile.TemporaryDirectory() as directory:
        async with open_sliding_house(Path(directory) / "homeserver.db") as sliding:
            house = sliding.house
            room_ids = [await house.create("alice", room_version="11", preset="public_chat") for _ in range(ROOMS)]
            story = Story(house, room_ids)
            clients = {name: SlidingClient() for name in USERS}
            for room_id in room_ids[:joined]:
                await house.must_change("bob", room_id, "bob", "join")
            for name, client in clients.items():
                client.take(await sliding.told(name, wish))
            turn = 0
            for one in steps:
                if one[0] != "sync":
                    await story.play(one)
                    continue
                client, way = clients[one[1]], ways[turn % len(ways)]
                turn += 1
                if way == "restart":
                    sliding = replace(sliding, sources=sources_of(house))
                answer = await sliding.told(one[1], wish, client.pos)
                if way == "retry":
                    again = await sliding.told(one[1], wish, client.pos)
                    assert _without_ages(again["rooms"]) == _without_ages(answer["rooms"])
                    answer = again
                client.take(answer)
            # In the end the window is opened to all rooms.
            final = {"lists": {"all": {key: v for key, v in wish["lists"]["all"].items() if "range" not in key}}}
            for name, client in clients.items():
                client.take(await sliding.told(name, final, client.pos))
                await _compare(sliding, name, client, lazy)
                assert (await sliding.told(name, final, client.pos))["rooms"] == {}


def _without_ages(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ages(one) for name, one in value.items() if name != "age"}
    return [_without_ages(one) for one in value] if isinstance(value, list) else value


async def _compare(sliding: SlidingHouse, name: str, client: SlidingClient, lazy: bool) -> None:
    house = sliding.house
    fresh = FoldingClient()
    fresh.take(await house.sync(name, None, None))
    by = {kind: {r for r, room in client.rooms.items() if room.membership == kind} for kind in ("join", "invite")}
    assert by["join"] == fresh.joined.keys()
    assert by["invite"] == fresh.invited
    anew = SlidingClient()
    anew.take(await sliding.told(name, one_list() | {"conn_id": "other"}))
    for room_id in by["join"]:
        room, expected = client.rooms[room_id], fresh.joined[room_id]
        if lazy:
            assert room.state.items() <= expected.state.items(), (name, room_id)
            others = {key for key in expected.state if key[0] != "m.room.member"}
            assert others <= room.state.keys()
        else:
            assert room.state == expected.state, (name, room_id)
        assert room.shown == anew.rooms[room_id].shown
        assert room.shown["joined_count"] == expected.summary["m.joined_member_count"]
        everything = read_back(house, name, room_id, None)
        if room.gap is not None:
            assert read_back(house, name, room_id, parse_page_token(room.gap)) + room.timeline == everything


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.one_of(step, st.tuples(st.just("sync"), st.sampled_from(USERS))), min_size=5, max_size=40),
    st.sampled_from(WISHES),
    st.lists(how, min_size=1, max_size=4),
    st.integers(0, ROOMS),
)
def test_sliding_syncs_fold_to_what_sync_tells(
    steps: list[Any], wish: dict[str, Any], ways: list[str], joined: int
) -> None:
    asyncio.run(_check(steps, wish, ways, joined))


@pytest.mark.parametrize("seed", range(6))
async def test_windows_over_many_rooms(tmp_path: Path, seed: int) -> None:
    """Rooms wander in and out of windows that change, on two connections of each user."""
    chance = random.Random(seed)
    async with open_sliding_house(tmp_path / "homeserver.db") as sliding:
        house = sliding.house
        room_ids = [await house.create("alice", room_version="11", preset="public_chat") for _ in range(8)]
        for room_id in room_ids:
            await house.must_change("bob", room_id, "bob", "join")
        story = Story(house, room_ids)
        clients = {(name, conn_id): SlidingClient() for name in ("alice", "bob") for conn_id in ("a", "b")}
        for _ in range(250):
            room = chance.randrange(len(room_ids))
            one: tuple[Any, ...] = chance.choice(
                (
                    ("say", chance.choice(("alice", "bob")), room, chance.randrange(1, 6)),
                    ("topic", "alice", room, 1),
                    ("member", "bob", room, "bob", chance.choice(("leave", "join", "join"))),
                )
            )
            if chance.random() < 0.5:
                await story.play(one)
                continue
            (name, conn_id), client = chance.choice(list(clients.items()))
            first = chance.choice((0, 0, 0, 2))
            ranges = client.ranges = client.ranges if chance.random() < 0.7 else [[first, first + chance.randrange(4)]]
            wish = one_list(chance.choice((1, 1, 3)), ranges=ranges) | {"conn_id": conn_id}
            client.take(await sliding.told(name, wish, client.pos))
        for (name, conn_id), client in clients.items():
            wish = one_list(1) | {"conn_id": conn_id}
            client.take(await sliding.told(name, wish, client.pos))
            await _compare(sliding, name, client, False)
