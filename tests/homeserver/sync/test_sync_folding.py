"""Incremental syncs, folded together, give what an initial sync gives: whatever happened, whenever the client asked."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.room_story import ROOMS, USERS, Story, step
from tests.homeserver.room_support import FoldingClient, House, open_house, read_back

from thingroom_homeserver.rooms.tokens import parse_page_token
from thingroom_homeserver.storage.memberships import Member, rooms_of_user

FILTERS: tuple[Any, ...] = (
    None,
    {"room": {"timeline": {"limit": 3}}},
    {"room": {"timeline": {"limit": 1}}},
    {"room": {"timeline": {"types": ["m.room.message"], "limit": 2}}},
    {"room": {"timeline": {"limit": 0}}},
)


async def _check(steps: list[tuple[Any, ...]], wanted: Any, state_after: bool, joined: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_house(Path(directory) / "homeserver.db") as house:
            room_ids = [await house.create("alice", room_version="11", preset="public_chat") for _ in range(ROOMS)]
            story = Story(house, room_ids)
            clients = {name: FoldingClient() for name in USERS}
            more = {"state_after": "state_after" if state_after else None}
            for room_id in room_ids[:joined]:
                await house.must_change("bob", room_id, "bob", "join")
            for name, client in clients.items():
                client.take(await house.sync(name, None, wanted, **more))
            for step in steps:
                if step[0] == "sync":
                    client = clients[step[1]]
                    client.take(await house.sync(step[1], client.token, wanted, **more))
                else:
                    await story.play(step)
            for name, client in clients.items():
                client.take(await house.sync(name, client.token, wanted, **more))
                fresh = FoldingClient()
                everything = await house.sync(name, None, {"room": {"include_leave": False}}, **more)
                fresh.take(everything)
                joined_now = {member.room_id for member in _members(house, name, "join")}
                assert client.joined.keys() == fresh.joined.keys() == joined_now
                assert (client.invited, client.knocked) == (fresh.invited, fresh.knocked)
                if wanted is None:
                    for events in client.farewells.values():
                        assert events[-1]["state_key"] == house.user(name)
                        assert events[-1]["content"]["membership"] in ("leave", "ban")
                for room_id, folded in client.joined.items():
                    assert folded.state == fresh.joined[room_id].state, (name, room_id)
                    assert folded.summary == fresh.joined[room_id].summary
                    if wanted is None or "types" not in wanted["room"]["timeline"]:
                        await _check_timeline(house, name, room_id, folded.timeline, folded.gaps)


async def _check_timeline(house: House, name: str, room_id: str, timeline: list[str], gaps: list[str]) -> None:
    """Since the last gap, the client has every event it may see; before it, /messages continues seamlessly."""
    everything = read_back(house, name, room_id, None)
    if gaps:
        position = parse_page_token(gaps[-1])
        assert read_back(house, name, room_id, position) + timeline == everything
    else:
        assert timeline == everything[len(everything) - len(timeline) :]


def _members(house: House, name: str, membership: str) -> list[Member]:
    return house.rooms.database.read(lambda c: rooms_of_user(c, house.user(name), (membership,)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=5, max_size=40), st.sampled_from(FILTERS), st.booleans(), st.integers(0, ROOMS))
def test_incremental_syncs_fold_to_the_initial_sync(
    steps: list[Any], wanted: Any, state_after: bool, joined: int
) -> None:
    asyncio.run(_check(steps, wanted, state_after, joined))
