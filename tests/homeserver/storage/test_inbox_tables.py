"""The tables of what other servers sent: what waits, for what, and which transactions were answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.storage.received_transactions import (
    KEPT_FOR_EACH_SERVER,
    answer_of_transaction,
    note_received_transaction,
)
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.storage.server_users import users_of_server
from thingroom_homeserver.storage.staged_events import (
    due_events,
    hurry_event,
    postpone_event,
    stage_event,
    staged_load,
    staged_loads,
    unstage_event,
    waiting_for,
)

ROOM, ORIGIN = "!room:here", "there:8448"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "homeserver.db", MIGRATIONS)
    yield database
    await database.close()


async def stage(database: Database, event_id: str, *missing: str, origin: str = ORIGIN, now_ms: int = 10) -> bool:
    return await database.write(lambda t: stage_event(t, event_id, ROOM, origin, now_ms, b"{}", missing))


async def test_events_wait_in_order_for_what_they_miss(database: Database) -> None:
    assert await stage(database, "$b", "$a", "$x")
    assert await stage(database, "$c", "$a")
    assert not await stage(database, "$b", "$y"), "it waits already"
    assert [each.event_id for each in database.read(lambda c: waiting_for(c, "$a"))] == ["$b", "$c"]
    assert [each.event_id for each in database.read(lambda c: waiting_for(c, "$y"))] == ["$b"]
    load = database.read(lambda c: staged_load(c, ROOM, ORIGIN))
    assert load is not None
    assert (load.events, load.size, load.next_try_ms) == (2, 4, 10)
    assert await database.write(lambda t: unstage_event(t, "$b"))
    assert not await database.write(lambda t: unstage_event(t, "$b"))
    assert database.read(lambda c: waiting_for(c, "$x")) == []
    await database.write(lambda t: unstage_event(t, "$c"))
    assert database.read(lambda c: staged_load(c, ROOM, ORIGIN)) is None
    assert database.read(lambda c: c.execute("SELECT COUNT(*) FROM staged_edges").fetchone()[0]) == 0


async def test_attempts_are_counted_and_put_off(database: Database) -> None:
    await stage(database, "$b", "$a")
    await stage(database, "$z", "$a", origin="elsewhere")
    await database.write(lambda t: postpone_event(t, "$b", 500))
    assert database.read(lambda c: due_events(c, ROOM, ORIGIN, 499, 10)) == []
    (due,) = database.read(lambda c: due_events(c, ROOM, ORIGIN, 500, 10))
    assert (due.event_id, due.attempts, due.received_ms) == ("$b", 1, 10)
    await database.write(lambda t: hurry_event(t, "$b", 3))
    assert len(database.read(lambda c: due_events(c, ROOM, ORIGIN, 3, 10))) == 1
    assert {load.origin for load in database.read(staged_loads)} == {ORIGIN, "elsewhere"}


async def test_the_last_answers_of_each_server_are_kept(database: Database) -> None:
    def note(transaction: Transaction) -> None:
        for number in range(KEPT_FOR_EACH_SERVER + 5):
            note_received_transaction(transaction, ORIGIN, f"t{number}", str(number).encode())
        note_received_transaction(transaction, "elsewhere", "t0", b"other")

    await database.write(note)
    last = KEPT_FOR_EACH_SERVER + 4
    assert database.read(lambda c: answer_of_transaction(c, ORIGIN, f"t{last}")) == str(last).encode()
    assert database.read(lambda c: answer_of_transaction(c, ORIGIN, "t4")) is None
    assert database.read(lambda c: answer_of_transaction(c, "elsewhere", "t0")) == b"other"


async def test_no_look_up_goes_through_a_table(database: Database) -> None:
    statements: list[str] = []
    database._reader.set_trace_callback(statements.append)
    database._writer.set_trace_callback(statements.append)
    await stage(database, "$b", "$a")
    await database.write(lambda t: postpone_event(t, "$b", 500))
    await database.write(lambda t: unstage_event(t, "$b"))
    await database.write(lambda t: note_received_transaction(t, ORIGIN, "t", b"{}"))
    database.read(lambda c: (waiting_for(c, "$a"), due_events(c, ROOM, ORIGIN, 9, 9), staged_load(c, ROOM, ORIGIN)))
    database.read(lambda c: (answer_of_transaction(c, ORIGIN, "t"), users_of_server(c, ROOM, ORIGIN)))
    database._reader.set_trace_callback(None)
    database._writer.set_trace_callback(None)
    for statement in statements:
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT"):
            plan = [row["detail"] for row in database._reader.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not any(step.startswith("SCAN") for step in plan), (statement, plan)
