"""The commands of `thingroom homeserver admin federation`.

May import click; everything else is imported when a command runs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from thingroom_homeserver.admin.commands import on_data
from thingroom_homeserver.cli_options import CONFIG_OPTION


@click.group("federation")
def federation_commands() -> None:
    """Look after what is sent to other homeservers. The server may be running."""


@federation_commands.command("destinations")
@click.option("--failing", is_flag=True, help="Only those that do not answer.")
@CONFIG_OPTION
def destinations_command(failing: bool, config_path: Path) -> None:
    """Print each server that something is sent to: shared rooms, what waits, when it last took something."""
    from thingroom_homeserver.admin.federation import destinations

    for each in on_data(config_path, lambda data: destinations(data, failing_only=failing)):
        words = [f"{each.rooms} rooms", f"{each.queued} waiting"]
        words.append("nothing delivered" if each.delivered_ts is None else f"delivered {_when(each.delivered_ts)}")
        if each.failing_since_ts is not None and each.retry_at_ts is not None:
            words += [f"failing since {_when(each.failing_since_ts)}", f"next try {_when(each.retry_at_ts)}"]
        click.echo(f"{each.server_name}  {', '.join(words)}")


@federation_commands.command("rooms")
@click.argument("server")
@CONFIG_OPTION
def rooms_command(server: str, config_path: Path) -> None:
    """Print the rooms that SERVER is in too."""
    from thingroom_homeserver.admin.federation import rooms_shared_with

    for room_id in on_data(config_path, lambda data: rooms_shared_with(data, server)):
        click.echo(room_id)


@federation_commands.command("retry")
@click.argument("server")
@CONFIG_OPTION
def retry_command(server: str, config_path: Path) -> None:
    """Send to SERVER now, instead of waiting until it is tried again."""
    from thingroom_homeserver.admin.federation import try_again

    on_data(config_path, lambda data: asyncio.run(try_again(data, server)))
    click.echo(f"{server} is tried again.")


@federation_commands.command("check")
@click.argument("server")
@CONFIG_OPTION
def check_command(server: str, config_path: Path) -> None:
    """Find SERVER, ask it, and see whether it believes this one, which must be running. Ends with 1 if not."""
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
