"""`thingroom watch` and `thingroom audit`. May import everything of this package; app/ calls it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click

from thingroom_watch.audit import Auditor, in_words, report_of
from thingroom_watch.home import Account, default_folder, load_account, load_trust, save_account, save_trust
from thingroom_watch.journal import Journal
from thingroom_watch.session import Session, WatchEnded, login
from thingroom_watch.sinks import KINDS, Sink, SinkUnusable, open_sink
from thingroom_watch.watching import FROM_BEGINNING, FROM_NOW, Watcher

_Result = TypeVar("_Result")
_HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the session, the trusted keys and places in rooms are kept. [default: ~/.local/state/thingroom-watch]",
)
_USER = click.option("--user", help="Log in as this Matrix user first, for instance @me:example.org.")
_SERVER = click.option(
    "--homeserver", default="", help="With --user: the URL, where the server's name does not lead to it."
)
_PIN = click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="FINGERPRINT",
    help="A device's key as the owner told you by another way than the room; it is remembered. May be repeated.",
)


class _Moment(click.ParamType):  # type: ignore[type-arg]
    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(datetime.fromisoformat(str(value)).astimezone().timestamp() * 1000)
        except (ValueError, OverflowError):
            self.fail(f"{value} is no date: 2026-11-22 or 2026-11-22T08:30, with an offset if it is not local time")


@click.command()
@click.argument("room")
@click.option("--since", type=_Moment(), help="The first time: begin with this date in the room's history.")
@click.option("--from-beginning", is_flag=True, help="The first time: begin with the room's first event.")
@click.option("--until-now", is_flag=True, help="End when all that is there is told.")
@click.option(
    "--to",
    "target",
    default="lines",
    show_default=True,
    help=f"Where it goes, as FORMAT or FORMAT:FILE. Formats: {', '.join(KINDS)}.",
)
@_PIN
@_USER
@_SERVER
@_HOME
def watch(
    room: str,
    since: int | None,
    from_beginning: bool,
    until_now: bool,
    target: str,
    pins: tuple[str, ...],
    user: str | None,
    homeserver: str,
    home: Path | None,
) -> None:
    """Read a room's devices with any Matrix account, each reading with a verdict.

    ROOM is an id, an alias, or the name of a room that the account is in or invited to. It begins with now unless told
    otherwise, and later goes on where it stopped, with each reading once in its file. Ends with 3 when the account is
    not let into the room, or not any more.
    """
    folder = home or default_folder()
    kind, _, path = target.partition(":")
    if kind not in KINDS or (kind == "sqlite" and not path):
        raise click.UsageError(f"--to {target}: FORMAT or FORMAT:FILE, with one of {', '.join(KINDS)}")
    since_ms = FROM_BEGINNING if from_beginning else FROM_NOW if since is None else since
    account = _account(folder, user, homeserver)
    _run(_watch(account, folder, room, since_ms, until_now, kind, Path(path) if path else None, _checked(pins)))


@click.command()
@click.argument("room")
@click.option("--since", type=_Moment(), help="Leave out what was sent before.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@_PIN
@_USER
@_SERVER
@_HOME
def audit(
    room: str,
    since: int | None,
    as_json: bool,
    pins: tuple[str, ...],
    user: str | None,
    homeserver: str,
    home: Path | None,
) -> None:
    """Read a room's whole history and report about each device: what came, what is missing, what cannot be believed.

    Ends with 1 when there is something that a person should look at: forged readings, or an alarm about a key.
    """
    folder = home or default_folder()
    report = _run(_audit(_account(folder, user, homeserver), folder, room, since or FROM_BEGINNING, _checked(pins)))
    click.echo(json.dumps(report, indent=1) if as_json else in_words(report))
    sys.exit(1 if report["alarms"] or report["forged"] else 0)


def _checked(pins: tuple[str, ...]) -> set[str]:
    found = {re.sub(r"[\s:]", "", pin).lower() for pin in pins}
    for pin in found:
        if not re.fullmatch(r"[0-9a-f]{64}", pin):
            raise click.UsageError(f"--pin {pin}: a fingerprint has 64 hex digits")
    return found


def _account(folder: Path, user: str | None, homeserver: str) -> Account:
    account = load_account(folder)
    if user is None:
        if account is None:
            raise click.UsageError(f"No session in {folder}: log in once with --user @me:example.org")
        return account
    if account is not None and account.user_id == user:
        return account
    if account is not None:
        raise click.UsageError(f"{folder} is of {account.user_id}: give another --home for {user}")
    password = os.environ.get("THINGROOM_WATCH_PASSWORD") or click.prompt("Password", hide_input=True, err=True)
    account = _run(login(homeserver, user, password))
    save_account(folder, account)
    return account


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    try:
        return asyncio.run(work)
    except WatchEnded as ended:
        click.echo(str(ended), err=True)
        sys.exit(3)
    except (SinkUnusable, OSError, sqlite3.Error, aiohttp.ClientError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(reason: str) -> None:
    click.echo(f"The homeserver cannot be reached, trying again: {reason}", err=True)


async def _watch(
    account: Account,
    folder: Path,
    room: str,
    since_ms: int,
    until_now: bool,
    kind: str,
    path: Path | None,
    pins: set[str],
) -> None:
    async with Session(account, _complain) as session:
        room_id = await session.enter(room)
        journal = Journal(_journal_path(folder, room_id, kind, path))
        trust = load_trust(folder, room_id)
        trust.pin(pins)
        save_trust(folder, room_id, trust)
        sink: Sink = open_sink(kind, path, journal)
        try:
            saved = lambda: save_trust(folder, room_id, trust)  # noqa: E731
            await Watcher(session, journal, sink, trust, since_ms, saved).run(until_now)
        finally:
            sink.close()
            journal.close()


def _journal_path(folder: Path, room_id: str, kind: str, path: Path | None) -> Path:
    if path is None:
        return folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', room_id)}.{kind}.watch"
    return path if kind == "sqlite" else path.with_name(f"{path.name}.watch")


async def _audit(account: Account, folder: Path, room: str, since_ms: int, pins: set[str]) -> dict[str, object]:
    async with Session(account, _complain) as session:
        room_id = await session.enter(room)
        trust = load_trust(folder, room_id)
        trust.pin(pins)
        journal, auditor = Journal(None), Auditor()
        watcher = Watcher(session, journal, auditor, trust, since_ms)
        await watcher.run(True)
        save_trust(folder, room_id, trust)
        return report_of(room_id, auditor, watcher.verifier)
