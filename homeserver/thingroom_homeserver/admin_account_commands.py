"""The commands of `thingroom homeserver admin` for accounts. All of them work in the database, server running or not.

A running server notices within a second. Only leaving the rooms of a deactivated account needs the server: it does
so at once if it runs, else at its next start. May import click; the rest is imported when a command runs.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thingroom_common.command_group import Group
from thingroom_homeserver.cli_options import CONFIG_OPTION

if TYPE_CHECKING:
    from thingroom_homeserver.offline_accounts import OfflineAccounts


class _Failed(Exception):
    """One sentence for the person at the terminal."""


def _run(config_path: Path, work: Callable[[OfflineAccounts], Awaitable[None]]) -> None:
    """`work` on the database; exits with 2 for a bad configuration and 1 for what `work` refuses."""
    from thingroom_common.config_file import ConfigError
    from thingroom_homeserver.config import load_config
    from thingroom_homeserver.offline_accounts import offline_accounts

    async def run() -> None:
        async with offline_accounts(load_config(config_path)) as offline:
            await work(offline)

    try:
        asyncio.run(run())
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except _Failed as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _account(offline: OfflineAccounts, name: str) -> sqlite3.Row:
    user_id = offline.accounts.user_id_of(name)
    account = offline.accounts.find(user_id)
    if account is None or account["deactivated"]:
        raise _Failed(f"There is no account {user_id}.")
    return account


@click.command("reset-password")
@click.argument("name")
@CONFIG_OPTION
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of making one.")
@click.option("--keep-sessions", is_flag=True, help="Leave the user signed in where they are.")
def reset_password_command(name: str, config_path: Path, password_stdin: bool, keep_sessions: bool) -> None:
    """Give the account NAME a new password.

    It is signed out everywhere.
    """
    from thingroom_homeserver.accounts.outcomes import Refused
    from thingroom_homeserver.storage.standing import note_outside_change

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else secrets.token_urlsafe(15)

    async def work(offline: OfflineAccounts) -> None:
        user_id = _account(offline, name)["user_id"]
        refused = await offline.accounts.set_password(user_id, password)
        if isinstance(refused, Refused):
            raise _Failed(f"{refused.text}.")
        if not keep_sessions:
            await offline.accounts.delete_all_devices(user_id)
            await offline.database.write(lambda t: note_outside_change(t, user_id, "signed out"))
        click.echo(f"{user_id} has a new password.")
        if not password_stdin:
            click.echo(f"Password: {password}")

    _run(config_path, work)


@click.command("deactivate")
@click.argument("name")
@CONFIG_OPTION
@click.option("--erase", is_flag=True, help="Also delete what is kept about the user besides messages.")
@click.confirmation_option(prompt="This cannot be undone. Deactivate the account?")
def deactivate_command(name: str, config_path: Path, erase: bool) -> None:
    """End the account NAME for good. Its rooms are left by the server: now if it runs, else when it starts."""

    async def work(offline: OfflineAccounts) -> None:
        user_id = _account(offline, name)["user_id"]
        await offline.accounts.deactivate(user_id, erase=erase)
        click.echo(f"{user_id} is deactivated.")

    _run(config_path, work)


def _standing_command(command: str, column: str, value: bool, text: str, said: str) -> click.Command:
    @click.command(command, help=text)
    @click.argument("name")
    @CONFIG_OPTION
    def run(name: str, config_path: Path) -> None:
        async def work(offline: OfflineAccounts) -> None:
            user_id = _account(offline, name)["user_id"]
            change = offline.standing.set_locked if column == "locked" else offline.standing.set_suspended
            await change(user_id, value)
            click.echo(f"{user_id} is {said}.")

        _run(config_path, work)

    return run


@click.command("list-users")
@CONFIG_OPTION
@click.option("--deactivated", is_flag=True, help="Deactivated accounts too.")
def list_users_command(config_path: Path, deactivated: bool) -> None:
    """Print every account, and what is special about it."""
    from thingroom_homeserver.storage.standing import list_accounts

    async def work(offline: OfflineAccounts) -> None:
        accounts = offline.database.read(lambda c: list_accounts(c, with_deactivated=deactivated))
        if not accounts:
            click.echo("There are no accounts.")
        for row in accounts:
            marks = [
                word
                for column, word in (
                    ("is_admin", "administrator"),
                    ("is_guest", "guest"),
                    ("locked", "locked"),
                    ("suspended", "suspended"),
                    ("deactivated", "deactivated"),
                )
                if row[column]
            ]
            if row["appservice_id"] is not None:
                marks.append(f"of {row['appservice_id']}")
            click.echo(row["user_id"] + (f" ({', '.join(marks)})" if marks else ""))

    _run(config_path, work)


@click.group("registration-token", cls=Group)
def registration_token_commands() -> None:
    """Tokens with which people make accounts.

    They are asked for one where registration_steps.token is on.
    """


@registration_token_commands.command("make")
@CONFIG_OPTION
@click.option("--token", help="The token [default: a random one].")
@click.option("--uses", type=click.IntRange(1), help="For how many accounts [default: any number].")
@click.option("--days", type=click.FloatRange(0, 36_500, min_open=True), help="For how long [default: for ever].")
def make_token_command(config_path: Path, token: str | None, uses: int | None, days: float | None) -> None:
    """Make a token and print it."""
    from thingroom_homeserver.accounts.outcomes import Refused

    async def work(offline: OfflineAccounts) -> None:
        seconds = None if days is None else int(days * 86_400)
        made = await offline.registration_tokens.make(token, uses=uses, seconds=seconds)
        if isinstance(made, Refused):
            raise _Failed(f"{made.text}.")
        click.echo(made)

    _run(config_path, work)


@registration_token_commands.command("list")
@CONFIG_OPTION
def list_tokens_command(config_path: Path) -> None:
    """Print every token with its uses and its end."""

    async def work(offline: OfflineAccounts) -> None:
        tokens = offline.registration_tokens.list_all()
        if not tokens:
            click.echo("There are no tokens.")
        for row in tokens:
            of = "" if row["uses_allowed"] is None else f" of {row['uses_allowed']}"
            until = (
                ""
                if row["expires_ts"] is None
                else time.strftime(", until %Y-%m-%d %H:%M UTC", time.gmtime(row["expires_ts"] / 1000))
            )
            click.echo(f"{row['token']}: used {row['used']}{of}{until}")

    _run(config_path, work)


@registration_token_commands.command("revoke")
@click.argument("token")
@CONFIG_OPTION
def revoke_token_command(token: str, config_path: Path) -> None:
    """Make TOKEN good for nothing."""

    async def work(offline: OfflineAccounts) -> None:
        if not await offline.registration_tokens.revoke(token):
            raise _Failed("There is no such token.")
        click.echo("Revoked.")

    _run(config_path, work)


ACCOUNT_COMMANDS: tuple[click.Command, ...] = (
    reset_password_command,
    deactivate_command,
    _standing_command("lock", "locked", True, "Lock the account NAME: nothing works until it is unlocked.", "locked"),
    _standing_command("unlock", "locked", False, "Unlock the account NAME.", "unlocked"),
    _standing_command("suspend", "suspended", True, "Suspend the account NAME: it can read and leave.", "suspended"),
    _standing_command("unsuspend", "suspended", False, "End the suspension of the account NAME.", "not suspended"),
    list_users_command,
    registration_token_commands,
)
