"""What waits for the search index: found at once, in it after a while, over a restart, and not once it is redacted."""

import asyncio
from pathlib import Path

from tests.homeserver.room_support import House, open_house
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.search import SearchWish, search
from thingroom_homeserver.rooms.search_indexing import EVENTS_A_WRITE, keep_indexed
from thingroom_homeserver.rooms.send_event import redact_event


def rows(house: House, table: str) -> int:
    return house.rooms.database.read(lambda c: int(c.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]))


async def found(house: House, word: str) -> int:
    return len(await search(house.rooms, house.user("alice"), SearchWish(word)))


async def test_what_waits_is_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    count = 2 * EVENTS_A_WRITE + 3
    async with open_house(tmp_path / "homeserver.db") as house:
        room_id = await house.create("alice", name="Weather")
        for number in range(count):
            await house.say("alice", room_id, f"rain {number}")
        assert (rows(house, "search_waiting"), rows(house, "event_search")) == (count + 1, 0)
        assert await found(house, "rain") == count
        assert (rows(house, "search_waiting"), rows(house, "event_search")) == (0, count + 1)
        await house.say("alice", room_id, "snow")
    async with open_house(tmp_path / "homeserver.db") as house:
        assert rows(house, "search_waiting") == 1
        assert await found(house, "snow") == 1


async def test_what_is_redacted_while_it_waits_is_never_indexed(tmp_path: Path) -> None:
    async with open_house(tmp_path / "homeserver.db") as house:
        room_id = await house.create("alice")
        alice = Sender(house.user("alice"))
        early = await house.say("alice", room_id, "hail early")
        assert await found(house, "hail") == 1
        late = await house.say("alice", room_id, "hail late")
        for number, event_id in enumerate((early, late)):
            await redact_event(house.rooms, alice, room_id, event_id, {}, str(number))
        assert (rows(house, "search_waiting"), rows(house, "event_search")) == (0, 0)
        assert await found(house, "hail") == 0


async def test_the_index_keeps_up_by_itself(tmp_path: Path) -> None:
    async with open_house(tmp_path / "homeserver.db") as house:
        room_id = await house.create("alice")
        await house.say("alice", room_id, "before it runs")
        keeping = asyncio.create_task(keep_indexed(house.rooms, 0.01))
        for expected in (1, 2, 3):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (rows(house, "search_waiting"), rows(house, "event_search")) != (0, expected):
                    await asyncio.sleep(0.005)
            await house.say("alice", room_id, f"fog {expected}")
        keeping.cancel()
