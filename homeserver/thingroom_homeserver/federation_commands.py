"""The commands of `thingroom homeserver admin federation`.

May import click; everything else is imported when a command runs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from thingroom_common.command_group import Group
from thingroom_homeserver.admin.commands import on_data
from thingroom_homeserver.cli_options import CONFIG_OPTION


@click.group("federation", cls=Group)
def federation_commands() -> None:
    """Look after what is sent to other homeservers. The server may be running."""


@federation_commands.command("destinations")
@click.option("--failing", is_flag=True, help="Only those that do not answer.")
@CONFIG_OPTION
def destinations_command(failing: bool, config_path: Path) -> None:
    """Print the servers that something is sent to.

    With how many rooms are shared, how much waits for it, when it last took something, and since when it fails.
    """
    from thingroom_homeserver.admin.federation import destinations

    found = on_data(config_path, lambda data: destinations(data, failing_only=failing))
    if not found:
        click.echo("No server fails." if failing else "Nothing was sent to other servers yet.")
    for each in found:
        words = [f"{each.rooms} {'room' if each.rooms == 1 else 'rooms'}", f"{each.queued} waiting"]
        words.append("nothing delivered" if each.delivered_ts is None else f"delivered {_when(each.delivered_ts)}")
        if each.failing_since_ts is not None and each.retry_at_ts is not None:
            words += [f"failing since {_when(each.failing_since_ts)}", f"next try {_when(each.retry_at_ts)}"]
        click.echo(f"{each.server_name}  {', '.join(words)}")


@federation_commands.command("rooms")
@click.argument("server")
@CONFIG_OPTION
def rooms_command(server: str, config_path: Path) -> None:
    """Print the rooms shared with SERVER."""
    from thingroom_homeserver.admin.federation import rooms_shared_with

    found = on_data(config_path, lambda data: rooms_shared_with(data, server))
    if not found:
        click.echo(f"No room is shared with {server}.")
    for room_id in found:
        click.echo(room_id)


@federation_commands.command("retry")
@click.argument("server")
@CONFIG_OPTION
def retry_command(server: str, config_path: Path) -> None:
    """Send to SERVER now, however it failed before."""
    from thingroom_homeserver.admin.federation import try_again

    on_data(config_path, lambda data: asyncio.run(try_again(data, server)))
    click.echo(f"{server} is tried again.")


@federation_commands.command("check")
@click.argument("server")
@CONFIG_OPTION
def check_command(server: str, config_path: Path) -> None:
    """See whether SERVER answers and believes this one.

    This server must be running, or the other cannot ask it for its key. Ends with 1 if anything is wrong.
    """
    from thingroom_common.config_file import ConfigError
    from thingroom_homeserver.admin.federation_check import check_server
    from thingroom_homeserver.config import load_config

    async def check() -> bool:
        good = True
        async for finding in check_server(load_config(config_path), server):
            click.echo(f"{'✓' if finding.good else '✗'} {finding.text}")
            good &= finding.good
        return good

    try:
        good = asyncio.run(check())
    except (ConfigError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if not good:
        sys.exit(1)


def _when(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))
