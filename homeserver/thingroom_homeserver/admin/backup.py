"""A copy of the data directory, of a running server too, and the way back.

Databases are copied by SQLite's backup, which sees one moment between two commits; other files (the signing key,
media) as they are, after the databases, so that every file that a database names is there.
May import the standard library and thingroom_common.config_file. Used by commands.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.server import DATABASE_NAME, StartError, lock

SQLITE_HEADER = b"SQLite format 3\0"
NOT_COPIED = ("-wal", "-shm", "-journal")
LOCK = "lock"
LEFT_OUT = 2**40
"""Positions that a restored server leaves out: room for thousands of gaps (docs/decisions/0023)."""


def back_up(data: Path, target: Path) -> int:
    """Copy `data` to the new folder `target`; how many bytes that is. Raises ConfigError, OSError, sqlite3.Error."""
    if not (data / DATABASE_NAME).is_file():
        raise ConfigError(f"There is no database in {data}.")
    if target.exists():
        raise ConfigError(f"{target} exists already; name a folder that does not.")
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        unfinished.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise ConfigError(f"{unfinished} is left of a backup that was cut short; remove it.") from None
    _copy(data, unfinished)
    problem = integrity_problem(unfinished / DATABASE_NAME)
    if problem:
        raise ConfigError(f"The copy in {unfinished} is damaged: {problem}.")
    unfinished.rename(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def restore(source: Path, data: Path) -> None:
    """Put a backup into the data directory, which must be empty. Raises ConfigError, OSError, sqlite3.Error."""
    if not (source / DATABASE_NAME).is_file():
        raise ConfigError(f"{source} is not a backup: it has no {DATABASE_NAME}.")
    problem = integrity_problem(source / DATABASE_NAME)
    if problem:
        raise ConfigError(f"The backup {source} is damaged: {problem}.")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(data):
        if any(path.name != LOCK for path in data.iterdir()):
            raise ConfigError(f"{data} is not empty; move what is in it away first.")
        _copy(source, data)
        _leave_out_positions(data / DATABASE_NAME)


def _leave_out_positions(database: Path) -> None:
    """Begin beyond whatever was given between the backup and now.

    Clients' tokens and the numbers that other servers have of device lists are of that time: they must not be ahead.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE stream_position SET position = position + ?", (LEFT_OUT,))
        connection.commit()


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep the server out of the data directory meanwhile. Raises ConfigError if it runs there."""
    try:
        file = lock(data)
    except StartError as error:
        raise ConfigError(str(error)) from None
    with file:
        yield


@contextlib.contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment of the database and cannot change it. Raises ConfigError, sqlite3.Error."""
    if not database.is_file():
        raise ConfigError(f"There is no database in {database.parent}: the server has not run there yet.")
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    with contextlib.closing(connection):
        connection.execute("BEGIN")
        yield connection


def integrity_problem(database: Path) -> str | None:
    """What SQLite finds wrong with the file, in its words; None if it is sound."""
    try:
        with reading(database) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ["ok"] else "; ".join(found)


def _copy(source: Path, target: Path) -> None:
    files = [path for path in source.rglob("*") if path.is_file() and path.name != LOCK]
    databases = [path for path in files if _is_database(path)]
    for path in databases:
        _copy_database(path, _made_for(path, source, target))
    for path in files:
        if path not in databases and not path.name.endswith(NOT_COPIED):
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                shutil.copy2(path, _made_for(path, source, target))


def _made_for(path: Path, source: Path, target: Path) -> Path:
    copy = target / path.relative_to(source)
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return copy


def _is_database(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    return False


def _copy_database(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with reading(source) as connection, contextlib.closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
