"""The one writer: group commit, isolation of a failing write, migrations, and nothing lost after an answer."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from thingroom_common.database import Database, Migration, SchemaTooNew

ITEMS = Migration("items", "CREATE TABLE items (name TEXT PRIMARY KEY); CREATE TABLE other (n INTEGER);")


def insert(name):
    return lambda transaction: transaction.execute("INSERT INTO items VALUES (?)", (name,)).rowcount


def names(connection):
    return [row["name"] for row in connection.execute("SELECT name FROM items ORDER BY name")]


@pytest.fixture
async def database(tmp_path):
    database = await Database.open(tmp_path / "test.db", [ITEMS])
    yield database
    await database.close()


async def test_many_writes_share_commits_and_are_answered_in_order(database):
    other = sqlite3.connect(database.path)
    before = other.execute("PRAGMA data_version").fetchone()[0]
    results = await asyncio.gather(*(database.write(insert(f"{n:04}")) for n in range(300)))
    assert results == [1] * 300
    assert database.read(names) == [f"{n:04}" for n in range(300)]
    assert other.execute("PRAGMA data_version").fetchone()[0] != before
    other.close()


async def test_a_failing_write_leaves_its_neighbours_alone(database):
    undone, done = [], []

    def good(transaction):
        transaction.after_commit(lambda: done.append("good"))
        transaction.execute("INSERT INTO items VALUES ('good')")

    def bad(transaction):
        transaction.after_rollback(lambda: undone.append("bad"))
        transaction.after_commit(lambda: done.append("bad"))
        transaction.execute("INSERT INTO items VALUES ('bad')")
        raise ValueError("refused")

    results = await asyncio.gather(
        database.write(good), database.write(bad), database.write(insert("later")), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert results[2] == 1
    assert database.read(names) == ["good", "later"]
    assert (done, undone) == (["good"], ["bad"])


async def test_nothing_is_visible_to_readers_before_the_commit(database):
    seen = []

    def write(transaction):
        transaction.execute("INSERT INTO items VALUES ('a')")
        seen.append(database.read(names))

    await database.write(write)
    assert seen == [[]]
    assert database.read(names) == ["a"]
    assert await database.read_in_thread(names) == ["a"]


async def test_readers_cannot_write(database):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.read(lambda connection: connection.execute("INSERT INTO items VALUES ('x')"))


async def test_a_commit_that_fails_fails_every_caller_and_the_next_batch_works(database):
    undone = []

    def deferred(transaction):
        transaction.after_rollback(lambda: undone.append(1))
        transaction.execute("INSERT INTO items VALUES ('lost')")

    def breaks_the_commit(transaction):
        transaction.execute("PRAGMA defer_foreign_keys = ON")
        transaction.execute("INSERT INTO child VALUES (99)")

    await database.write(
        lambda t: t.execute("CREATE TABLE child (parent TEXT REFERENCES items (name) DEFERRABLE INITIALLY DEFERRED)")
    )
    results = await asyncio.gather(database.write(deferred), database.write(breaks_the_commit), return_exceptions=True)
    assert all(isinstance(result, sqlite3.IntegrityError) for result in results)
    assert undone == [1]
    assert await database.write(insert("after")) == 1
    assert database.read(names) == ["after"]


async def test_a_callback_that_fails_does_not_stop_the_writer(database):
    problems = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))

    def write(transaction):
        transaction.after_commit(lambda: 1 / 0)
        transaction.execute("INSERT INTO items VALUES ('a')")

    await database.write(write)
    assert isinstance(problems[0], ZeroDivisionError)
    assert await database.write(insert("b")) == 1


async def test_the_file_is_private_and_close_finishes_what_waits(tmp_path):
    database = await Database.open(tmp_path / "test.db", [ITEMS])
    assert (tmp_path / "test.db").stat().st_mode & 0o777 == 0o600
    waiting = [asyncio.ensure_future(database.write(insert(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*waiting) == [1] * 50
    with pytest.raises(RuntimeError, match="closed"):
        await database.write(insert("late"))


async def test_migrations_go_forward_once_and_a_newer_file_is_refused(tmp_path):
    path = tmp_path / "test.db"
    more = Migration("more", "ALTER TABLE items ADD COLUMN size INTEGER;")
    await (await Database.open(path, [ITEMS])).close()
    database = await Database.open(path, [ITEMS, more])
    await database.write(lambda t: t.execute("INSERT INTO items VALUES ('a', 1)"))
    await database.close()
    with pytest.raises(SchemaTooNew, match="more"):
        await Database.open(path, [ITEMS])


async def test_a_failing_migration_leaves_the_schema_as_it_was(tmp_path):
    path = tmp_path / "test.db"
    broken = Migration("broken", "CREATE TABLE fine (a); CREATE TABLE items (a);")
    await (await Database.open(path, [ITEMS])).close()
    with pytest.raises(sqlite3.OperationalError):
        await Database.open(path, [ITEMS, broken])
    database = await Database.open(path, [ITEMS])
    tables = {row[0] for row in database.read(lambda c: c.execute("SELECT name FROM sqlite_master").fetchall())}
    await database.close()
    assert "fine" not in tables


WRITER = """
import asyncio, sys
from pathlib import Path
from thingroom_common.database import Database, Migration
ITEMS = Migration("items", "CREATE TABLE items (name TEXT PRIMARY KEY);")
async def main():
    database = await Database.open(Path(sys.argv[1]), [ITEMS])
    async def stream(worker):
        for n in range(100000):
            await database.write(lambda t: t.execute("INSERT INTO items VALUES (?)", (f"{worker}-{n}",)))
            print(f"{worker}-{n}", flush=True)
    await asyncio.gather(*(stream(w) for w in range(5)))
asyncio.run(main())
"""


def test_what_was_answered_survives_sigkill(tmp_path):
    path = tmp_path / "test.db"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "common")}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment
    ) as process:
        first = [process.stdout.readline() for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        lines = [*first, *process.stdout.read().splitlines(keepends=True)]
    answered = {line.decode().strip() for line in lines if line.endswith(b"\n")}
    stored = {row[0] for row in sqlite3.connect(path).execute("SELECT name FROM items")}
    assert len(answered) > 20
    assert answered <= stored


@pytest.mark.parametrize(("slowest_lately", "in_a_thread"), [(0.0, False), (1.0, True)])
async def test_a_slow_disk_does_not_hold_up_the_loop(database, slowest_lately, in_a_thread):
    threads = []
    database._slowest_commit = slowest_lately
    database._writer.set_trace_callback(
        lambda statement: threads.append(threading.get_ident()) if statement == "COMMIT" else None
    )
    assert await database.write(insert("one")) == 1
    assert [thread != threading.get_ident() for thread in threads] == [in_a_thread]
    assert database._slowest_commit >= 0.9 * slowest_lately
