"""The commands of `thingroom homeserver admin media`.

May import click; everything else is imported when a command runs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thingroom_common.command_group import Group
from thingroom_homeserver.cli_options import CONFIG_OPTION

if TYPE_CHECKING:
    from thingroom_homeserver.media.housekeeping import Housekeeping

_DAY_MS = 86_400_000


@click.group("media", cls=Group)
def media_commands() -> None:
    """Look after uploaded files. The server may be running."""


@media_commands.command("usage")
@CONFIG_OPTION
def usage_command(config_path: Path) -> None:
    """Print how much each user has uploaded.

    The number of files and their size, and what the copies of other servers' files take.
    """

    async def work(housekeeping: Housekeeping) -> None:
        local = housekeeping.usage()
        for user_id, usage in local:
            click.echo(f"{usage.bytes:>15,} bytes  {usage.files:>8,} files  {user_id or '(pictures of URL previews)'}")
        remote = housekeeping.remote_usage()
        if remote.files:
            click.echo(f"{remote.bytes:>15,} bytes  {remote.files:>8,} files  (copies of other servers' files)")
        if not local and not remote.files:
            click.echo("There are no files.")

    _run(config_path, work)


@media_commands.command("quarantine")
@click.argument("what")
@click.option("--undo", is_flag=True, help="Serve it again.")
@CONFIG_OPTION
def quarantine_command(what: str, undo: bool, config_path: Path) -> None:
    """Stop serving a file, or all of a user's.

    WHAT is mxc://server/id, which may be another server's, or @user:server.
    """
    from thingroom_homeserver.clock import SystemClock
    from thingroom_homeserver.media.mxc import parse_mxc

    timestamp = None if undo else SystemClock().now_ms()

    async def work(housekeeping: Housekeeping) -> None:
        if what.startswith("@"):
            count = await housekeeping.quarantine_user(what, timestamp)
        elif parse_mxc(what) is None:
            click.echo(f"{what} is neither mxc://server/id nor @user:server.", err=True)
            sys.exit(1)
        else:
            count = int(await housekeeping.quarantine(what, timestamp))
        if not count:
            click.echo(f"This server has no file {what}.", err=True)
            sys.exit(1)
        click.echo(f"{'Released' if undo else 'Quarantined'}: {count} {'file' if count == 1 else 'files'}.")

    _run(config_path, work)


@media_commands.command("delete-older-than")
@click.argument("days", type=click.IntRange(0, 36_500))
@click.option("--user", "user_id", help="Only this user's files.")
@click.option("--previews", is_flag=True, help="Only the pictures of URL previews.")
@click.option("--avatars", is_flag=True, help="Also pictures that a profile or a room shows now.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@CONFIG_OPTION
def delete_command(
    days: int, user_id: str | None, previews: bool, avatars: bool, dry_run: bool, config_path: Path
) -> None:
    """Delete what was uploaded more than DAYS ago."""
    from thingroom_homeserver.clock import SystemClock
    from thingroom_homeserver.media.repository import SERVER

    whose = SERVER if previews else user_id
    before_ms = SystemClock().now_ms() - days * _DAY_MS

    async def work(housekeeping: Housekeeping) -> None:
        deleted = await housekeeping.delete_older(before_ms, user_id=whose, keep_avatars=not avatars, dry_run=dry_run)
        click.echo(f"{'Would delete' if dry_run else 'Deleted'} {deleted.files:,} files, {deleted.bytes:,} bytes.")

    _run(config_path, work)


@media_commands.command("delete-remote-unused")
@click.argument("days", type=click.IntRange(0, 36_500))
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@CONFIG_OPTION
def delete_remote_command(days: int, dry_run: bool, config_path: Path) -> None:
    """Delete copies that nobody wanted for DAYS.

    Copies of other servers' files: they are fetched again when somebody asks, as long as the other server has them.
    """
    from thingroom_homeserver.clock import SystemClock

    before_ms = SystemClock().now_ms() - days * _DAY_MS

    async def work(housekeeping: Housekeeping) -> None:
        deleted = await housekeeping.delete_remote_unused(before_ms, dry_run=dry_run)
        click.echo(f"{'Would delete' if dry_run else 'Deleted'} {deleted.files:,} files, {deleted.bytes:,} bytes.")

    _run(config_path, work)


def _run(config_path: Path, work: Callable[[Housekeeping], Coroutine[Any, Any, None]]) -> None:
    """Do `work` on the data directory of the configuration; what is wrong with that becomes a sentence and exit 2."""
    import sqlite3

    from thingroom_common.config_file import ConfigError
    from thingroom_common.database import SchemaTooNew

    async def run() -> None:
        async with _housekeeping(config_path) as housekeeping:
            await work(housekeeping)

    try:
        asyncio.run(run())
    except (ConfigError, SchemaTooNew) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except (OSError, sqlite3.Error) as error:
        click.echo(f"The data directory cannot be used: {error}.", err=True)
        sys.exit(2)


@asynccontextmanager
async def _housekeeping(config_path: Path) -> AsyncIterator[Housekeeping]:
    from thingroom_common.config_file import ConfigError
    from thingroom_common.database import Database
    from thingroom_homeserver.config import load_config
    from thingroom_homeserver.media.files import MediaFiles
    from thingroom_homeserver.media.housekeeping import Housekeeping
    from thingroom_homeserver.media.opening import FOLDER
    from thingroom_homeserver.server import DATABASE_NAME
    from thingroom_homeserver.storage.schema import MIGRATIONS

    config = load_config(config_path)
    folder = Path(config.data_directory)
    if not (folder / DATABASE_NAME).exists():
        raise ConfigError(f"There is no database in {folder}: the server has not run there yet.")
    database = await Database.open(folder / DATABASE_NAME, MIGRATIONS)
    try:
        yield Housekeeping(database, MediaFiles(folder / FOLDER), config.server_name)
    finally:
        await database.close()
