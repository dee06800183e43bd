"""Tables of relations, threads and search: an older database is brought along, and no question scans a table."""

import json
from pathlib import Path
from typing import Any

from tests.homeserver.room_support import open_house
from tests.homeserver.storage.test_query_plans import Statements, _scans

from thingroom_common.database import Database
from thingroom_homeserver.rooms.outcomes import Sender, Sent
from thingroom_homeserver.rooms.present import Viewer
from thingroom_homeserver.rooms.read_events import PageWish, RelationsWish, read_relations
from thingroom_homeserver.rooms.relations import aggregations
from thingroom_homeserver.rooms.search import SearchWish, search
from thingroom_homeserver.rooms.send_event import redact_event, send_event
from thingroom_homeserver.rooms.threads import read_threads
from thingroom_homeserver.storage.relations import children, threads_of_room
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.storage.schema_accounts import ACCOUNT_MIGRATIONS
from thingroom_homeserver.storage.schema_events import EVENT_MIGRATIONS
from thingroom_homeserver.storage.search_index import find_events, match_expression

EVENT = "INSERT INTO events (event_id, room_id, type, sender, depth, origin_server_ts, position, json) VALUES "
ROOM = "!r:x"


async def test_what_was_there_before_is_indexed(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    database = await Database.open(path, (*EVENT_MIGRATIONS, *ACCOUNT_MIGRATIONS))

    def write(transaction: Any) -> None:
        for position, (kind, content) in enumerate(
            (
                ("m.room.message", {"body": "apple"}),
                ("m.room.message", {"body": "pear"}),
                ("m.room.name", {"name": "apple"}),
                ("m.room.message", {"body": ["apple"]}),
                ("m.room.message", {}),
                ("org.example", {"body": "apple"}),
            ),
            1,
        ):
            text = json.dumps({"content": content}).encode()
            values = (f"$e{position}", ROOM, kind, "@a:x", 1, position, position, text)
            transaction.execute(f"{EVENT} (?, ?, ?, ?, ?, ?, ?, ?)", values)
        transaction.execute("INSERT INTO event_relations VALUES ('$e1', '$e2', 'm.thread', 2)")

    await database.write(write)
    await database.close()
    database = await Database.open(path, MIGRATIONS)
    try:
        assert database.read(lambda c: threads_of_room(c, ROOM, upto=9, limit=9)) == [("$e1", 2)]
        related = database.read(lambda c: children(c, "$e1", ROOM, "m.thread", upto=9, limit=9))
        assert [(relation.event_id, relation.sender) for relation in related] == [("$e2", "@a:x")]
        expression = match_expression(["apple"], ("body", "name"))
        found = database.read(lambda c: find_events(c, expression, [ROOM], by_rank=False, limit=9))
        assert [hit.event_id for hit in found] == ["$e3", "$e1"]
        assert database.read(lambda c: find_events(c, expression, ["!other:x"], by_rank=True, limit=9)) == []
    finally:
        await database.close()


async def test_no_statement_about_relations_scans_a_table(tmp_path: Path) -> None:
    async with open_house(tmp_path / "homeserver.db") as house:
        rooms, alice = house.rooms, house.user("alice")
        room_id = await house.create("alice")
        with Statements(house) as statements:
            root = await house.say("alice", room_id, "root")
            sent = []
            for rel_type in ("m.thread", "m.annotation", "m.replace", "m.reference"):
                relation = {"rel_type": rel_type, "event_id": root, "key": "x"}
                content = {"body": "x", "m.relates_to": relation, "m.new_content": {}}
                outcome = await send_event(rooms, Sender(alice), room_id, "m.room.message", content)
                assert isinstance(outcome, Sent)
                sent.append(outcome.event_id)

            def read(connection: Any) -> None:
                stored = rooms.events.get(connection, root)
                assert stored is not None
                found = aggregations(rooms, connection, Viewer(alice, None, 0), [stored])
                assert set(found[root]) == {"m.thread", "m.replace", "m.reference"}
                for own in (True, False):
                    read_threads(rooms, connection, alice, room_id, None, 5, participated=own)
                page = PageWish(room_id, None, None, True, 5)
                for recurse in (True, False):
                    read_relations(rooms, connection, alice, RelationsWish(page, root, recurse=recurse))

            rooms.database.read(read)
            assert len(await search(rooms, alice, SearchWish("root"))) == 1
            for number, event_id in enumerate(sent):
                await redact_event(rooms, Sender(alice), room_id, event_id, {}, str(number))
        assert len(statements.queries) > 40
        connection = rooms.database._reader
        for text in set(statements.queries):
            assert [step for step in _scans(connection, text) if "VIRTUAL TABLE" not in step] == [], text
