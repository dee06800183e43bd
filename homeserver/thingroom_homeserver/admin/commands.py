"""`thingroom homeserver admin backup, restore, check-database, list-rooms, purge-room, rotate-signing-key`.

May import click; the rest is imported when a command runs. cli.py adds `COMMANDS` to the group.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from thingroom_homeserver.cli_options import CONFIG_OPTION

T = TypeVar("T")

FOLDER = click.Path(path_type=Path, file_okay=False)


def on_data(config_path: Path, action: Callable[[Path], T]) -> T:
    """Do `action` with the data directory; what goes wrong ends the program with a sentence and 2."""
    from thingroom_common.config_file import ConfigError
    from thingroom_common.database import SchemaTooNew
    from thingroom_homeserver.config import load_config

    try:
        return action(Path(load_config(config_path).data_directory))
    except (ConfigError, SchemaTooNew, OSError, sqlite3.Error) as error:
        click.echo(str(error), err=True)
        sys.exit(2)


@click.command("backup")
@click.argument("path", type=FOLDER)
@CONFIG_OPTION
def backup_command(path: Path, config_path: Path) -> None:
    """Copy everything into the new folder PATH.

    The database, the signing key and the media. The server may run meanwhile.
    """
    from thingroom_homeserver.admin.backup import back_up

    size = on_data(config_path, lambda data: back_up(data, path))
    click.echo(f"Copied {size} bytes to {path}. It holds secrets: keep it as you keep the data directory.")


@click.command("restore")
@click.argument("path", type=FOLDER)
@CONFIG_OPTION
def restore_command(path: Path, config_path: Path) -> None:
    """Put the backup PATH into the empty data directory. The server must not run."""
    from thingroom_homeserver.admin.backup import restore

    on_data(config_path, lambda data: restore(path, data))
    click.echo(f"Restored {path}.")


@click.command("check-database")
@CONFIG_OPTION
def check_database_command(config_path: Path) -> None:
    """Look for damage and for what does not fit together. The server may run meanwhile. Ends with 1 if there is any."""
    from thingroom_homeserver.admin.check import problems_of
    from thingroom_homeserver.server import DATABASE_NAME

    problems = on_data(config_path, lambda data: problems_of(data / DATABASE_NAME))
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(1)
    click.echo("The database is sound.")


@click.command("list-rooms")
@CONFIG_OPTION
def list_rooms_command(config_path: Path) -> None:
    """Print every room.

    With its version, whether it is public, its members (of them local), events and name.
    """
    from thingroom_homeserver.admin.rooms import list_rooms

    rooms = on_data(config_path, list_rooms)
    if not rooms:
        click.echo("There are no rooms.")
    for room in rooms:
        public = "public" if room.is_public else "private"
        members = f"{room.joined} joined ({room.local} local)"
        click.echo(f"{room.room_id}  version {room.version}  {public}  {members}  {room.events} events  {room.name}")


@click.command("purge-room")
@click.argument("room_id")
@CONFIG_OPTION
def purge_room_command(room_id: str, config_path: Path) -> None:
    """Remove a room that nobody here is in.

    With all of its events. The server must not run.
    """
    from thingroom_homeserver.admin.rooms import purge_room

    events = on_data(config_path, lambda data: asyncio.run(purge_room(data, room_id)))
    click.echo(f"Removed {room_id} with {events} events.")


@click.command("rotate-signing-key")
@CONFIG_OPTION
def rotate_signing_key_command(config_path: Path) -> None:
    """Sign with a new key from now on. Other servers go on checking old events with the old one. The server must not
    run."""
    from thingroom_homeserver.admin.backup import locked
    from thingroom_homeserver.clock import SystemClock
    from thingroom_homeserver.signing_key_file import rotate

    def rotate_locked(data: Path) -> tuple[str, str]:
        with locked(data):
            old, new = rotate(data, SystemClock().now_ms())
        return old.key_id, new.key_id

    old, new = on_data(config_path, rotate_locked)
    click.echo(f"{new} signs from now on; {old} is kept for what it has signed.")


COMMANDS = (
    backup_command,
    restore_command,
    check_database_command,
    list_rooms_command,
    purge_room_command,
    rotate_signing_key_command,
)
