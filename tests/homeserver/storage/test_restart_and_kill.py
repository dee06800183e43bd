"""What was answered is on disk: after a clean restart, after a failed write, and after SIGKILL in mid-stream."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.homeserver.room_support import House, open_house
from tests.patience import PATIENCE_SECONDS

from thingroom_common.database import Transaction
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.outcomes import Refused, Sender
from thingroom_homeserver.rooms.read_state import state_for
from thingroom_homeserver.rooms.tokens import parse_sync_token
from thingroom_homeserver.storage.positions import next_position

WRITER = Path(__file__).parent / "killed_writer.py"


def _state(house: House, name: str, room_id: str) -> object:
    return house.rooms.database.read(lambda c: state_for(house.rooms, c, house.user(name), room_id))


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "homeserver.db"
    async with open_house(path) as house:
        room = await house.create("alice", preset="public_chat", name="Kitchen")
        await house.must_change("bob", room, "bob", "join")
        ids = [await house.say("bob", room, f"m{n}", f"t{n}") for n in range(5)]
        since = (await house.sync("alice"))["next_batch"]
        missed = await house.say("bob", room, "while away")
        before, state = await house.sync("alice"), _state(house, "alice", room)
    async with open_house(path) as house:
        after = await house.sync("alice")
        assert _state(house, "alice", room) == state and not isinstance(state, Refused)
        old, new = parse_sync_token(before["next_batch"]), parse_sync_token(after["next_batch"])
        assert old is not None and new is not None and old.position == new.position
        sections = [answer["rooms"]["join"][room] for answer in (before, after)]
        timelines = [[event["event_id"] for event in section["timeline"]["events"]] for section in sections]
        assert timelines[0] == timelines[1] and sections[0]["summary"] == sections[1]["summary"]
        away = await house.sync("alice", since)
        assert [e["event_id"] for e in away["rooms"]["join"][room]["timeline"]["events"]] == [missed]
        assert await house.say("bob", room, "again", "t3") == ids[3]
        next_id = await house.say("bob", room, "next")
        stored = house.rooms.database.read(lambda c: house.rooms.events.get(c, next_id))
        assert stored is not None and stored.event.prev_event_ids == (missed,)
        assert stored.position == old.position + 1


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """Also when good writes to the same room share the commit with it."""
    async with open_house(tmp_path / "homeserver.db") as house:
        room_id = await house.create("alice")
        rooms, alice = house.rooms, Sender(house.user("alice"))
        ghosts: list[str] = []

        def fail(transaction: Transaction) -> None:
            room = rooms.cache.get(transaction, room_id)
            assert room is not None
            for draft in (Draft("m.room.topic", {"topic": "ghost"}, ""), Draft("m.room.message", {"body": "ghost"})):
                stored = append_event(rooms, transaction, room, alice, draft)
                assert not isinstance(stored, Refused)
                ghosts.append(stored.event_id)
            raise RuntimeError("after the events were written")

        before = await house.sync("alice")
        outcomes = await asyncio.gather(
            house.say("alice", room_id, "one"),
            rooms.database.write(fail),
            house.say("alice", room_id, "two"),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], RuntimeError) and len(ghosts) == 2
        after = await house.sync("alice", before["next_batch"])
        timeline = after["rooms"]["join"][room_id]["timeline"]["events"]
        assert [event["event_id"] for event in timeline] == [outcomes[0], outcomes[2]]
        for ghost in ghosts:
            assert rooms.database.read(lambda c, ghost=ghost: rooms.events.get(c, ghost)) is None
        second = rooms.database.read(lambda c: rooms.events.get(c, str(outcomes[2])))
        assert second is not None and second.event.prev_event_ids == (outcomes[0],)
        state = _state(house, "alice", room_id)
        assert isinstance(state, dict) and ("m.room.topic", "") not in state


async def test_a_failed_commit_takes_every_cached_event_back(tmp_path: Path) -> None:
    async with open_house(tmp_path / "homeserver.db") as house:
        room_id = await house.create("alice", preset="public_chat")
        rooms = house.rooms
        position = rooms.notifier.position

        def break_commit(transaction: Transaction) -> None:
            transaction.execute("PRAGMA defer_foreign_keys = ON")
            transaction.execute("CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY)")
            transaction.execute("CREATE TABLE IF NOT EXISTS child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
            transaction.execute("INSERT INTO child VALUES (1)")

        outcomes = await asyncio.gather(
            house.say("alice", room_id, "lost"),
            house.change("bob", room_id, "bob", "join"),
            rooms.database.write(break_commit),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, Exception) for outcome in outcomes), outcomes
        assert rooms.notifier.position == position
        assert not rooms.occupancy.is_joined(room_id, house.user("bob"))
        event_id = await house.say("alice", room_id, "kept")
        stored = rooms.database.read(lambda c: rooms.events.get(c, event_id))
        assert stored is not None and stored.position == position + 1
        extremity = rooms.database.read(lambda c: rooms.events.get(c, stored.event.prev_event_ids[0]))
        assert extremity is not None and extremity.position == position


async def test_positions_grow_and_an_undone_write_gives_its_own_back(tmp_path: Path) -> None:
    async with open_house(tmp_path / "homeserver.db") as house:
        database = house.rooms.database

        def undo(transaction: Transaction) -> int:
            next_position(transaction)
            raise ValueError

        taken = await asyncio.gather(
            database.write(next_position),
            database.write(undo),
            database.write(next_position),
            return_exceptions=True,
        )
        assert taken[0] == 1 and taken[2] == 2 and isinstance(taken[1], ValueError)


@pytest.mark.parametrize("kill_after", [1, 20, 60])
async def test_what_was_answered_survives_sigkill_exactly_once(tmp_path: Path, kill_after: int) -> None:
    """A writer tells of each answered event and is killed while more are under way; then all are sent again."""
    path = tmp_path / "homeserver.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    writer = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(path), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert writer.stdout is not None
    room_id = (await asyncio.wait_for(writer.stdout.readline(), PATIENCE_SECONDS)).decode().strip()
    answered: dict[str, str] = {}
    while len(answered) < kill_after:
        number, event_id = (await asyncio.wait_for(writer.stdout.readline(), PATIENCE_SECONDS)).decode().split()
        answered[number] = event_id
    writer.send_signal(signal.SIGKILL)
    # What was in the pipe when it died had been answered too. The last line may be cut.
    for line in (await writer.stdout.read()).decode().split("\n")[:-1]:
        number, event_id = line.split()
        answered[number] = event_id
    assert await writer.wait() == -signal.SIGKILL
    async with open_house(path) as house:
        resent = [str(number) for number in range(max(map(int, answered)) + 30)]
        ids = await asyncio.gather(*(house.say("alice", room_id, f"m{number}", number) for number in resent))
        again = dict(zip(resent, ids, strict=True))
        assert {number: again[number] for number in answered} == answered
        count = "SELECT transaction_id, COUNT(*) FROM events WHERE transaction_id IS NOT NULL GROUP BY 1"
        rows = house.rooms.database.read(lambda c: c.execute(count)).fetchall()
        counted = {row[0]: row[1] for row in rows}
        assert answered.keys() <= counted.keys() and set(counted.values()) == {1}
        chain = house.rooms.database.read(
            lambda c: c.execute("SELECT COUNT(*) FROM forward_extremities WHERE room_id = ?", (room_id,)).fetchone()
        )
        assert chain[0] == 1
