"""The rows that the benchmark writes for a long history: a sound database, and what the server reads from it."""

from itertools import pairwise
from pathlib import Path

from bench.bulk_history import RARE, add_messages, first_time
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.admin.check import problems_of
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.read_events import Page, PageWish, read_page
from thingroom_homeserver.rooms.search import SearchWish, search

COUNT = RARE // 2 + 10
IGNORED = {"nid", "event_id", "depth", "origin_server_ts", "position", "json", "session"}


def page(house: House, room_id: str, limit: int) -> Page:
    user = house.user("alice")
    found = house.rooms.database.read(
        lambda c: read_page(house.rooms, c, user, PageWish(room_id, None, None, True, limit), NO_FILTER)
    )
    assert isinstance(found, Page)
    return found


async def test_what_is_written_at_once_is_as_if_it_had_been_sent(tmp_path: Path) -> None:
    database = tmp_path / "homeserver.db"
    async with open_house(database) as house:
        room_id, alice = await house.create("alice"), house.user("alice")
        await house.say("alice", room_id, "by hand")
    done = list(add_messages(database, room_id, alice, COUNT))
    assert done[-1] == COUNT
    assert problems_of(database) == []
    async with open_house(database) as house:
        after = await house.say("alice", room_id, "thunderstorm, by hand")
        events = [stored.event for stored, _ in page(house, room_id, COUNT + 20).events]
        assert events[0].event_id == after
        assert len({event.event_id for event in events}) == len(events)
        for event, before in pairwise(events):
            assert event.prev_event_ids == (before.event_id,) and event.depth == before.depth + 1
        written = events[1 : COUNT + 1]
        assert written[-1].origin_server_ts == first_time(COUNT) + 1000
        assert len(await search(house.rooms, alice, SearchWish("thunderstorm"))) == 2
        rows = house.rooms.database.read(
            lambda c: [
                dict(c.execute("SELECT * FROM events WHERE event_id = ?", (event_id,)).fetchone())
                for event_id in (after, written[0].event_id)
            ]
        )
        sent, bulk = ({key: value for key, value in row.items() if key not in IGNORED} for row in rows)
        assert sent == bulk
