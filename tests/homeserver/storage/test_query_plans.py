"""Cost does not grow with history or with the number of rooms: every statement uses an index, and few are needed."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.homeserver.graph_support import ALICE, DAVE, Receiver, World, after_join
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.present import Viewer
from thingroom_homeserver.rooms.read_events import PageWish, read_context, read_page
from thingroom_homeserver.rooms.read_state import state_for

# Tables of one row, and rows that a query made itself or was given: as JSON, by an alias of json_each.
# The last two are a table of FTS5 itself with a row or two, read once a connection, and a queue, read from its head.
MAY_BE_SCANNED = (
    "stream_position",
    "chain",
    "json_each",
    "VIRTUAL TABLE INDEX 1:",
    "VIRTUAL TABLE INDEX 3:",
    "event_search VIRTUAL TABLE INDEX 0:=",
    "CONSTANT ROW",
    "(subquery",
    "SUBQUERY",
    "event_search_config",
    "search_waiting",
)


class Statements:
    """Every statement that the reader and the writer of a house ran while it recorded."""

    def __init__(self, house: House) -> None:
        database = house.rooms.database
        self.connections = (database._reader, database._writer)
        self.texts: list[str] = []

    def __enter__(self) -> "Statements":
        for connection in self.connections:
            connection.set_trace_callback(self.texts.append)
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.set_trace_callback(None)

    @property
    def queries(self) -> list[str]:
        return [text for text in self.texts if re.match(r"\s*(SELECT|WITH|UPDATE|DELETE|INSERT)", text)]


def _scans(connection: sqlite3.Connection, statement: str) -> list[str]:
    plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    return [step for step in plan if step.startswith("SCAN") and not any(name in step for name in MAY_BE_SCANNED)]


@pytest.fixture
async def house(tmp_path: Path):
    async with open_house(tmp_path / "homeserver.db") as house:
        yield house


async def test_no_statement_scans_a_table(house: House) -> None:
    with Statements(house) as statements:
        room = await house.create("alice", preset="public_chat", invite=("@carol:localhost",))
        since = (await house.sync("alice"))["next_batch"]
        await house.must_change("bob", room, "bob", "join")
        event_id = await house.say("bob", room, "hello", "t1")
        await house.say("bob", room, "hello", "t1")
        await house.set_state("alice", room, "m.room.topic", {"topic": "x"})
        for wanted in (None, {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}}):
            await house.sync("alice", since, wanted)
            await house.sync("bob", None, wanted)
            await house.sync("carol", since, wanted)
        await house.must_change("bob", room, "bob", "leave")
        await house.sync("bob", since)
        await house.sync("bob", None, {"room": {"include_leave": True}})
        rooms, reader = house.rooms, house.rooms.database.read
        for name in ("alice", "bob"):
            viewer = Viewer(house.user(name), None, 0)
            for backwards in (True, False):
                wish = PageWish(room, None, None, backwards, 5)
                reader(lambda c, w=wish, v=viewer: read_page(rooms, c, v.user_id, w, NO_FILTER))
            reader(lambda c, v=viewer: read_context(rooms, c, v, room, event_id, 5, NO_FILTER))
            reader(lambda c, v=viewer: state_for(rooms, c, v.user_id, room))
    assert len(statements.queries) > 200
    connection = house.rooms.database._reader
    scanning = {text: steps for text in set(statements.queries) if (steps := _scans(connection, text))}
    assert not scanning


async def test_no_statement_of_receipt_scans_a_table(tmp_path: Path) -> None:
    """Forks, gaps, history, redactions, a fill and a local event on top of it all."""
    world = World("11")
    async with open_house(tmp_path / "homeserver.db") as house:
        receiver = Receiver(house, world)
        with Statements(house) as statements:
            await receiver.join()
            for number in range(3):
                world.act(ALICE, "m.room.topic", {"topic": str(number)}, "", prevs=[world.joined.event_id])
            world.act(ALICE, "m.room.redaction", {}, redacts=world.made[-1].event_id)
            world.act(DAVE, "m.room.power_levels", {"users": {DAVE: 100}}, "", lying=True)
            await receiver.receive_all(after_join(world))
            await receiver.fill_history(3)
            await receiver.fill_history(100)
            await house.say("reader", world.room_id, "hello")
            await house.sync("reader")
    with closing(sqlite3.connect(tmp_path / "homeserver.db")) as connection:
        connection.row_factory = sqlite3.Row
        scanning = {text: steps for text in set(statements.queries) if (steps := _scans(connection, text))}
        assert not scanning


async def test_a_scan_would_be_noticed(house: House) -> None:
    assert _scans(house.rooms.database._reader, "SELECT 1 FROM events WHERE sender = 'x'")


async def test_an_incremental_sync_costs_the_same_in_one_room_and_in_fifty(house: House) -> None:
    rooms = [await house.create("alice") for _ in range(50)]
    await house.create("bob")
    one = await house.create("bob")
    counts = {}
    for name, room in (("alice", rooms[7]), ("bob", one)):
        since = (await house.sync(name))["next_batch"]
        await house.say(name, room, "news")
        with Statements(house) as statements:
            answer = await house.sync(name, since)
        assert list(answer["rooms"]["join"]) == [room]
        counts[name] = len(statements.queries)
    assert counts["alice"] == counts["bob"] <= 10
    assert house.receipts.asked[-1] == 1


async def test_a_send_costs_the_same_in_a_young_room_and_in_an_old_one(house: House) -> None:
    young, old = await house.create("alice"), await house.create("alice")
    for number in range(300):
        await house.say("alice", old, f"m{number}")
    counts = []
    for room in (young, old):
        await house.say("alice", room, "first")
        with Statements(house) as statements:
            await house.say("alice", room, "second", f"t {room}")
        counts.append(len(statements.queries))
    assert counts[0] == counts[1] <= 8
