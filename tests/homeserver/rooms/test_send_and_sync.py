"""A room is made, people talk in it, and /sync tells it all."""

import asyncio
from pathlib import Path

import pytest
from tests.homeserver.room_support import House, open_house
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.rooms.outcomes import Refused, Why


@pytest.fixture
async def house(tmp_path: Path):
    async with open_house(tmp_path / "homeserver.db") as house:
        yield house


@pytest.mark.parametrize("version", sorted(KNOWN_ROOM_VERSIONS, key=int))
async def test_a_room_of_every_version_carries_messages(house: House, version: str) -> None:
    room = await house.create("alice", room_version=version, preset="public_chat", name="Kitchen")
    await house.must_change("bob", room, "bob", "join")
    event_id = await house.say("bob", room, "hello")
    first = (await house.sync("alice"))["rooms"]["join"][room]
    types = [event["type"] for event in first["timeline"]["events"]]
    assert types[0] == "m.room.create" and types[-2:] == ["m.room.member", "m.room.message"]
    assert first["timeline"]["events"][-1]["event_id"] == event_id
    assert first["summary"]["m.joined_member_count"] == 2
    stored = house.rooms.database.read(lambda c: house.rooms.events.get(c, event_id))
    assert stored is not None and stored.event.room_version == version
    assert stored.event.depth == len(types) and len(stored.event.prev_event_ids) == 1


async def test_a_waiting_sync_wakes_up_for_a_message(house: House) -> None:
    room = await house.create("alice", preset="public_chat")
    await house.must_change("bob", room, "bob", "join")
    since = (await house.sync("bob"))["next_batch"]
    waiting = asyncio.create_task(house.wait_sync("bob", since, 10.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    event_id = await house.say("alice", room, "wake up")
    response = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    section = response["rooms"]["join"][room]
    assert [event["event_id"] for event in section["timeline"]["events"]] == [event_id]
    assert section["timeline"]["limited"] is False and section["state"] == {"events": []}


async def test_a_sync_without_news_waits_and_then_answers_empty(house: House) -> None:
    room = await house.create("alice")
    since = (await house.sync("alice"))["next_batch"]
    await house.create("stranger")
    response = await house.wait_sync("alice", since, 0.05)
    assert response["rooms"] == {"join": {}, "invite": {}, "knock": {}, "leave": {}}
    assert room and response["next_batch"] != since


async def test_strangers_may_neither_send_nor_read(house: House) -> None:
    room = await house.create("alice")
    with pytest.raises(AssertionError, match="FORBIDDEN"):
        await house.say("mallory", room, "let me in")
    outcome = await house.change("mallory", room, "mallory", "join")
    assert isinstance(outcome, Refused) and outcome.why is Why.FORBIDDEN
    assert (await house.sync("mallory"))["rooms"]["join"] == {}
