"""One SQLite file, one writer, group commit.

Every program of Thingroom keeps its facts in one SQLite database and changes them through `Database.write`.
Writes are plain functions that take a `Transaction`; many of them share one COMMIT, and a caller is answered
only after that COMMIT is on disk. Reads use a second connection and never wait for the writer.

May import the standard library only. See docs/decisions/0002-one-writer-on-the-loop.md and 0021.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Row = sqlite3.Row
Parameters = Sequence[Any] | dict[str, Any]

# How long the event loop may be busy with statements before the batch is committed.
BATCH_SECONDS = 0.010
BATCH_WRITES = 1000
# Where the disk has lately taken less than this for every COMMIT, a thread to do it in costs more than it saves.
QUICK_COMMIT_SECONDS = 0.0003
FORGET_SLOW_COMMITS = 0.9


class SchemaTooNew(Exception):
    """The file was written by a later version of the program; the message is a sentence for whoever runs it."""


@dataclass(frozen=True)
class Migration:
    """One forward-only step of a schema. `name` is recorded once it is applied."""

    name: str
    sql: str


class Transaction:
    """What a write function may do: statements, and callbacks for when its fate is known."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []
        self._after_rollback: list[Callable[[], None]] = []

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> sqlite3.Cursor:
        return self._connection.executemany(sql, rows)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run `callback` on the loop once the write is on disk, in the order of the writes."""
        self._after_commit.append(callback)

    def after_rollback(self, callback: Callable[[], None]) -> None:
        """Run `callback` if this write, or the commit that carries it, fails: drop what was cached early."""
        self._after_rollback.append(callback)


@dataclass
class _Write(Generic[T]):
    function: Callable[[Transaction], T]
    answer: asyncio.Future[T]
    transaction: Transaction | None = None
    result: T | None = None
    error: Exception | None = field(default=None)


class Database:
    """An open SQLite file. Make one with `Database.open`; close it with `close`."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._waiting: deque[_Write[Any]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self.batches_committed = 0
        self.writes_committed = 0
        self._slowest_commit = 10 * QUICK_COMMIT_SECONDS
        self._task = asyncio.create_task(self._run(), name=f"writer of {path.name}")

    @classmethod
    async def open(cls, path: Path, migrations: Sequence[Migration]) -> Database:
        """Open `path` (made 0600 where it is missing), apply what is missing of `migrations`.

        Raises SchemaTooNew, OSError, sqlite3.DatabaseError.
        """
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        writer = _connect(path)
        try:
            _migrate(writer, migrations)
        except BaseException:
            writer.close()
            raise
        reader = _connect(path)
        reader.execute("PRAGMA query_only = ON")
        return cls(path, writer, reader)

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a short indexed query on what is committed. Runs on the loop: keep it under a millisecond.

        A commit may show here a moment before its `after_commit` callbacks have run. What must not be seen without
        its counterpart in memory belongs into memory before the commit, with an `after_rollback` that takes it back.
        """
        return function(self._reader)

    async def read_in_thread(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a long query in a thread with a connection of its own."""

        def run() -> T:
            with contextlib.closing(_connect(self.path)) as connection:
                connection.execute("PRAGMA query_only = ON")
                return function(connection)

        return await asyncio.to_thread(run)

    async def write(self, function: Callable[[Transaction], T]) -> T:
        """Run `function` in a transaction; return its result once that is on disk.

        What `function` raises undoes its own statements only and is raised here. A failed COMMIT undoes the
        whole batch and raises sqlite3.Error in every caller of it.
        """
        if self._closing:
            raise RuntimeError(f"{self.path} is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(function, answer))
        self._wake.set()
        return await answer

    async def close(self) -> None:
        """Finish the waiting writes and close the file."""
        self._closing = True
        self._wake.set()
        await self._task
        self._reader.close()
        self._writer.close()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._run_batch()

    async def _run_batch(self) -> None:
        done: list[_Write[Any]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            deadline = time.monotonic() + BATCH_SECONDS
            while self._waiting and len(done) < BATCH_WRITES:
                write = self._waiting.popleft()
                done.append(write)
                self._apply(write)
                if time.monotonic() > deadline:
                    break
            if self._slowest_commit < QUICK_COMMIT_SECONDS:
                self._commit()
            else:
                await asyncio.to_thread(self._commit)
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if not done and self._waiting:
                done = list(self._waiting)
                self._waiting.clear()
            self._fail(done, error)
            return
        self.batches_committed += 1
        self.writes_committed += len(done)
        self._succeed(done)

    def _commit(self) -> None:
        """Note how slow the disk is: what it did once it is expected to do again for a while."""
        began = time.perf_counter()
        self._writer.execute("COMMIT")
        self._slowest_commit = max(time.perf_counter() - began, FORGET_SLOW_COMMITS * self._slowest_commit)

    @property
    def writes_waiting(self) -> int:
        """How many writes wait for their batch."""
        return len(self._waiting)

    def _apply(self, write: _Write[Any]) -> None:
        write.transaction = Transaction(self._writer)
        self._writer.execute("SAVEPOINT one_write")
        try:
            write.result = write.function(write.transaction)
        except Exception as error:
            if not self._writer.in_transaction:
                # SQLite has undone the whole batch by itself, as it does on a full disk.
                if isinstance(error, sqlite3.Error):
                    raise
                raise sqlite3.OperationalError("the transaction is gone") from error
            self._writer.execute("ROLLBACK TO one_write")
            write.error = error
            _call_all(write.transaction._after_rollback)
        self._writer.execute("RELEASE one_write")

    @staticmethod
    def _succeed(done: list[_Write[Any]]) -> None:
        for write in done:
            assert write.transaction is not None
            if write.error is None:
                _call_all(write.transaction._after_commit)
            if not write.answer.done():
                if write.error is None:
                    write.answer.set_result(write.result)
                else:
                    write.answer.set_exception(write.error)

    @staticmethod
    def _fail(done: list[_Write[Any]], error: Exception) -> None:
        for write in done:
            if write.transaction is not None and write.error is None:
                _call_all(write.transaction._after_rollback)
            if not write.answer.done():
                write.answer.set_exception(write.error or error)


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    """Call each; one that fails is a bug that is reported, and must not stop the writer for everybody."""
    for callback in callbacks:
        try:
            callback()
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a transaction's callback failed", "exception": error}
            )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)")
    applied = {row["name"] for row in connection.execute("SELECT name FROM schema_migrations")}
    unknown = applied - {migration.name for migration in migrations}
    if unknown:
        path = connection.execute("PRAGMA database_list").fetchone()["file"]
        steps = ", ".join(sorted(unknown))
        raise SchemaTooNew(
            f"{path} was written by a later version of Thingroom (it has the steps {steps}): install that version"
            " again, or put a backup of before the upgrade in its place"
        )
    for migration in migrations:
        if migration.name in applied:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?)", (migration.name, time.time()))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _statements(sql: str) -> Iterable[str]:
    statement = ""
    for part in sql.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
