"""A copy of what the gateway keeps, of one that runs too, and the way back.

The database is copied by SQLite's backup, which sees one moment between two commits; keys, passwords and the
registration follow as they are. May import the standard library, config, control and series.stored. cli.py calls it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from thingroom_common.config_file import ConfigError
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.series.stored import DATABASE, open_read_only
from thingroom_gateway.storage.upgrade import INFIX

# Made anew when they are missing, or part of the database that is copied otherwise.
NOT_COPIED: Final = ("-wal", "-shm", "-journal", ".sock", ".unfinished")
_OF_BEFORE: Final = DATABASE + INFIX
CACHES: Final = ("matplotlib",)
REGISTRATION: Final = "registration.yaml"


def back_up(config: GatewayConfig, target: Path) -> int:
    """Copy what `config` names to the new folder `target`; how many bytes that is.

    Folders are 0700 and files 0600: the keys and the application service's tokens are in it. Raises ConfigError,
    OSError, sqlite3.Error.
    """
    data = config.directory
    if not (data / DATABASE).is_file():
        raise ConfigError(f"There is no database in {data}.")
    if target.exists():
        raise ConfigError(f"{target} exists already; name a folder that does not.")
    if data.resolve() in target.resolve().parents:
        raise ConfigError(f"{target} is inside {data}, which it is to be a copy of.")
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        unfinished.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise ConfigError(f"{unfinished} is left of a backup that was cut short; remove it.") from None
    _copy_database(data / DATABASE, unfinished / DATABASE)
    problem = _problem(unfinished / DATABASE)
    if problem:
        raise ConfigError(f"The copy in {unfinished} is damaged: {problem}.")
    _copy_files(data, unfinished)
    registration = Path(config.registration_file)
    if registration.is_file() and not (unfinished / REGISTRATION).exists():
        _copy_file(registration, unfinished / REGISTRATION)
    unfinished.rename(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def restore(source: Path, config: GatewayConfig) -> None:
    """Put a backup into the data directory, which must be empty; the registration, where it is missing.

    No gateway may run on the directory: with a database in it this does nothing. Raises ConfigError, OSError,
    sqlite3.Error.
    """
    if not (source / DATABASE).is_file():
        raise ConfigError(f"{source} is not a backup: it has no {DATABASE}.")
    problem = _problem(source / DATABASE)
    if problem:
        raise ConfigError(f"The backup {source} is damaged: {problem}.")
    data = config.directory
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(data.iterdir()):
        raise ConfigError(f"{data} is not empty; stop the gateway and move what is in it away first.")
    _copy_files(source, data, but=(REGISTRATION,))
    registration = Path(config.registration_file)
    if (source / REGISTRATION).is_file() and not registration.exists():
        registration.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_file(source / REGISTRATION, registration)
    # The database comes last: where it is, the rest is too.
    _copy_database(source / DATABASE, data / (DATABASE + ".unfinished"))
    (data / (DATABASE + ".unfinished")).rename(data / DATABASE)


def _copy_database(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with contextlib.closing(open_read_only(source)) as connection, contextlib.closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _copy_files(source: Path, target: Path, but: tuple[str, ...] = ()) -> None:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if relative.parts[0] in CACHES or path.name == DATABASE or path.name in but or path.name.endswith(NOT_COPIED):
            continue
        if path.is_file() and not path.name.startswith(_OF_BEFORE):
            (target / relative).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                _copy_file(path, target / relative)


def _copy_file(source: Path, target: Path) -> None:
    with (
        source.open("rb") as file,
        os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as copy,
    ):
        shutil.copyfileobj(file, copy)


def _problem(database: Path) -> str | None:
    """What SQLite finds wrong with the file, in its words; None if it is sound."""
    try:
        with contextlib.closing(open_read_only(database)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ["ok"] else "; ".join(found)
