"""The commands of `thingroom homeserver`: run it, and make accounts.

May import click and other command files; everything else is imported when a command runs, so that the `thingroom`
command starts quickly.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path

import click

from thingroom_common.command_group import Group
from thingroom_homeserver.admin.commands import COMMANDS
from thingroom_homeserver.admin_account_commands import ACCOUNT_COMMANDS
from thingroom_homeserver.cli_options import CONFIG_OPTION
from thingroom_homeserver.federation_commands import federation_commands
from thingroom_homeserver.media_commands import media_commands


@click.group("homeserver", cls=Group)
def homeserver_commands() -> None:
    """The Matrix homeserver by itself: run it, make accounts, look after it."""


@homeserver_commands.command("run")
@CONFIG_OPTION
def run_command(config_path: Path) -> None:
    """Run the homeserver until it is stopped."""
    from thingroom_homeserver.__main__ import run

    sys.exit(run(config_path))


@homeserver_commands.group("admin", cls=Group)
def admin_commands() -> None:
    """Look after the homeserver's accounts, rooms and database."""


for _command in COMMANDS:
    admin_commands.add_command(_command)
admin_commands.add_command(media_commands)
admin_commands.add_command(federation_commands)


@admin_commands.command("create-user")
@click.argument("name")
@CONFIG_OPTION
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of making one.")
@click.option("--admin", "is_admin", is_flag=True, help="Make a server administrator.")
def create_user_command(name: str, config_path: Path, password_stdin: bool, is_admin: bool) -> None:
    """Make the account NAME and print its password.

    Asks the running server where registration_shared_secret is set, and writes to its database otherwise; says which.
    """
    from thingroom_common.config_file import ConfigError
    from thingroom_homeserver.accounts.outcomes import Refused
    from thingroom_homeserver.config import load_config
    from thingroom_homeserver.create_user import create_user

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else secrets.token_urlsafe(15)
    try:
        made = asyncio.run(create_user(load_config(config_path), name, password, is_admin=is_admin))
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if isinstance(made, Refused):
        click.echo(f"{made.text}.", err=True)
        sys.exit(1)
    click.echo(f"Made {made.user_id} {made.how}.")
    if not password_stdin:
        click.echo(f"Password: {password}")


@admin_commands.command("reports")
@CONFIG_OPTION
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first.")
def reports_command(config_path: Path, limit: int) -> None:
    """Print what users reported, as lines of JSON.

    Events, rooms and users, the newest report first.
    """
    import dataclasses
    import json

    from thingroom_common.config_file import ConfigError
    from thingroom_homeserver.config import load_config
    from thingroom_homeserver.reports import list_reports

    try:
        found = asyncio.run(list_reports(load_config(config_path), limit))
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    if not found:
        click.echo("Nothing was reported.", err=True)
    for report in found:
        click.echo(json.dumps({key: value for key, value in dataclasses.asdict(report).items() if value is not None}))


for command in ACCOUNT_COMMANDS:
    admin_commands.add_command(command)
