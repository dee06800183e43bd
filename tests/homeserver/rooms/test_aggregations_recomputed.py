"""Aggregations equal a recomputation from all events, and the walk over spaces ends, whatever was sent."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.room_support import House, open_house

from thingroom_homeserver.rooms.hierarchy import Hierarchy, HierarchyWish, read_hierarchy
from thingroom_homeserver.rooms.outcomes import Sender, Sent
from thingroom_homeserver.rooms.present import Viewer
from thingroom_homeserver.rooms.relations import aggregations
from thingroom_homeserver.rooms.send_event import redact_event, send_event
from thingroom_homeserver.rooms.threads import Threads, read_threads
from thingroom_homeserver.storage.events import StoredEvent

USERS = ("alice", "bob")
number = st.integers(0, 30)
step = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(USERS), st.none(), st.just(0)),
    st.tuples(
        st.just("send"), st.sampled_from(USERS), st.sampled_from(("m.replace", "m.thread", "m.reference")), number
    ),
    st.tuples(st.just("redact"), st.just("alice"), st.none(), number),
)


async def play(house: House, room_id: str, steps: list[tuple[Any, ...]]) -> list[str]:
    ids = [await house.say("alice", room_id, "first")]
    for count, (kind, name, rel_type, target) in enumerate(steps):
        sender, target_id = Sender(house.user(name)), ids[target % len(ids)]
        if kind == "redact":
            await redact_event(house.rooms, sender, room_id, target_id, {}, f"r{count}")
            continue
        content: dict[str, Any] = {"body": str(count), "m.new_content": {"body": str(count)}}
        if rel_type is not None:
            content["m.relates_to"] = {"rel_type": rel_type, "event_id": target_id}
        sent = await send_event(house.rooms, sender, room_id, "m.room.message", content)
        if isinstance(sent, Sent):
            ids.append(sent.event_id)
    return ids


def recomputed(parent: StoredEvent, events: list[StoredEvent], viewer: str, *, in_thread: bool = False) -> Any:
    """What m.relations should say, from the specification's words and all events in order."""

    def relation(stored: StoredEvent) -> dict[str, Any]:
        return stored.event.content.get("m.relates_to", {})

    def children(rel_type: str) -> list[StoredEvent]:
        return [
            stored
            for stored in events
            if relation(stored).get("event_id") == parent.event_id and relation(stored)["rel_type"] == rel_type
        ]

    found: dict[str, Any] = {}
    edits = [stored for stored in children("m.replace") if stored.event.sender == parent.event.sender]
    if edits and parent.redacted_by is None and relation(parent).get("rel_type") != "m.replace":
        found["m.replace"] = max(edits, key=lambda edit: (edit.event.origin_server_ts, edit.event_id)).event_id
    if references := children("m.reference"):
        found["m.reference"] = [stored.event_id for stored in references]
    if (thread := children("m.thread")) and not in_thread:
        took_part = viewer in {stored.event.sender for stored in (parent, *thread)}
        inner = recomputed(thread[-1], events, viewer, in_thread=True)
        found["m.thread"] = (thread[-1].event_id, len(thread), took_part, inner)
    return found


def simplified(relations: dict[str, Any]) -> dict[str, Any]:
    """What was served, in the form of `recomputed`."""
    found: dict[str, Any] = {}
    if "m.replace" in relations:
        found["m.replace"] = relations["m.replace"]["event_id"]
    if "m.reference" in relations:
        found["m.reference"] = [entry["event_id"] for entry in relations["m.reference"]["chunk"]]
    if "m.thread" in relations:
        thread = relations["m.thread"]
        latest = thread["latest_event"]
        inner = simplified(latest["unsigned"].get("m.relations", {}))
        found["m.thread"] = (latest["event_id"], thread["count"], thread["current_user_participated"], inner)
    return found


async def check_aggregations(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_house(Path(directory) / "homeserver.db") as house:
            room_id = await house.create("alice", preset="public_chat")
            await house.must_change("bob", room_id, "bob", "join")
            ids = await play(house, room_id, steps)
            rooms, user_id = house.rooms, house.user("bob")
            viewer = Viewer(user_id, None, 0)

            def read(connection: Any) -> None:
                events = list(rooms.events.get_many(connection, ids).values())
                events.sort(key=lambda stored: stored.position or 0)
                served = aggregations(rooms, connection, viewer, events)
                for stored in events:
                    assert simplified(served.get(stored.event_id, {})) == recomputed(stored, events, user_id)
                threads = read_threads(rooms, connection, user_id, room_id, None, 100, participated=False)
                assert isinstance(threads, Threads)
                latest: dict[str, int] = {}
                for stored in events:
                    relation = stored.event.content.get("m.relates_to", {})
                    if relation.get("rel_type") == "m.thread":
                        latest[relation["event_id"]] = stored.position or 0
                wanted = sorted(latest, key=lambda root: -latest[root])
                assert [stored.event_id for stored, _ in threads.roots] == wanted

            rooms.database.read(read)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=25))
def test_aggregations_equal_a_recomputation(steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(check_aggregations(steps))


SPACES = 5


async def check_hierarchy(edges: list[tuple[int, int]], limit: int, max_depth: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_house(Path(directory) / "homeserver.db") as house:
            creation = {"type": "m.space"}
            spaces = [await house.create("alice", creation_content=creation) for _ in range(SPACES)]
            for parent, child in edges:
                await house.set_state("alice", spaces[parent], "m.space.child", {"via": ["x"]}, spaces[child])
            told: list[str] = []
            while True:
                wish = HierarchyWish(spaces[0], False, max_depth, limit, len(told))
                page = await read_hierarchy(house.rooms, house.user("alice"), wish)
                assert isinstance(page, Hierarchy) and 0 < len(page.rooms) <= limit
                told += [room["room_id"] for room in page.rooms]
                if not page.more:
                    break
            assert len(told) == len(set(told)) and told[0] == spaces[0]
            reachable = {0}
            for _ in range(SPACES):
                reachable |= {child for parent, child in edges if parent in reachable}
            if max_depth >= SPACES:
                assert set(told) == {spaces[index] for index in reachable}
            elif max_depth == 0:
                assert told == spaces[:1]
            else:
                assert set(told) <= {spaces[index] for index in reachable}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, SPACES - 1), st.integers(0, SPACES - 1)), max_size=12),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_a_hierarchy_ends_and_tells_each_room_once(edges: list[tuple[int, int]], limit: int, max_depth: int) -> None:
    asyncio.run(check_hierarchy(edges, limit, max_depth))
