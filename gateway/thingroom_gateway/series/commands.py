"""`thingroom history`, `thingroom export`, `thingroom chart`: what is stored, on the command line.

They read the database themselves, whether the gateway runs or not. May import everything in this package; the
`thingroom` command mounts them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

import click

from thingroom_common.config_file import ConfigError
from thingroom_gateway.charts.prepare import NoChart, Wanted, chart_of
from thingroom_gateway.charts.ticks import range_text
from thingroom_gateway.cli import config_option
from thingroom_gateway.config import load
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import ProfileError
from thingroom_gateway.series.export import FORMATS, Readings, Source
from thingroom_gateway.series.moments import parse_moment, parse_span
from thingroom_gateway.series.stored import Stored, opened
from thingroom_gateway.series.table import STEP_NAMES, Table, history_of
from thingroom_gateway.storage import series as store

DAY_MS = 86_400_000
# So many readings are worth a progress bar.
LONG = 20_000

_from_option = click.option("--from", "begin", metavar="TIME", help="2026-11-20, yesterday 18:00, 3 days ago ...")
_to_option = click.option("--to", "end", metavar="TIME", help="Up to then [default: now].")
_last_option = click.option("--last", metavar="SPAN", help="24h, 90 min, 2 weeks ... up to now (or to --to).")


@dataclass(frozen=True, slots=True)
class Range:
    """From when to when, Unix ms."""

    begin: int
    end: int


@click.command()
@config_option
@click.argument("device")
@click.argument("quantity", required=False)
@_from_option
@_to_option
@_last_option
@click.option("--by", type=click.Choice(STEP_NAMES), help="What a line stands for [default: as it fits].")
def history(
    config_path: Path,
    device: str,
    quantity: str | None,
    begin: str | None,
    end: str | None,
    last: str | None,
    by: str | None,
) -> None:
    """Show what DEVICE (its name or key id) measured: all of it, or one QUANTITY. The last 24 hours if not said.

    Few readings are shown as they are; of many the mean, least and greatest of each hour, day ... in local time.
    """
    with _store(config_path) as stored:
        found = stored.find(device)
        when = _range(stored.zone, begin, end, last)
        names = [_quantity(found, quantity)] if quantity else _quantities(stored, found)
        table = history_of(stored.connection, found, names, when.begin, when.end, stored.zone, by)
    head = f"{found.row.name} ({found.profile.title}, {found.kid_hex})"
    click.echo(f"{head}   {range_text(when.begin, when.end, stored.zone)}, time of {stored.zone.key}")
    if not table.lines:
        click.echo("No readings.")
        return
    for line in _columns(table):
        click.echo(line)
    if table.cut:
        click.echo("There is more; ask for less time, or use: thingroom export")


@click.command()
@config_option
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="csv",
    show_default=True,
    help="What it is written as.",
)
@click.option("--quantity", help="Only this quantity.")
@_from_option
@_to_option
@_last_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write [default: print it]."
)
def export(
    config_path: Path,
    devices: tuple[str, ...],
    form: str,
    quantity: str | None,
    begin: str | None,
    end: str | None,
    last: str | None,
    output: Path | None,
) -> None:
    """Write every reading of some DEVICEs (names or key ids; "all" for all): exact values, times in UTC.

    csv has a line of titles, jsonl an object a line, senml is one SenML pack (RFC 8428). All that is kept if no time is
    said.
    """
    with _store(config_path) as stored:
        wanted = stored.registry if devices == ("all",) else map(stored.find, devices)
        found = list({device.row.id: device for device in wanted}.values())
        when = _range(stored.zone, begin or (None if last else "1970-01-02"), end, last)
        name = None if quantity is None else quantity.casefold()
        total = sum(
            store.count_readings(stored.connection, row, when.begin, when.end)
            for device in found
            for row in store.series_of(stored.connection, device.row.id, name)
        )
        with _output(output) as file, _progress(total, output is not None) as step:
            for piece in FORMATS[form](_readings(stored, found, name, when, step)):
                file.write(piece)
    if output is not None:
        click.echo(f"{total} readings are in {output}.", err=True)


@click.command()
@config_option
@click.argument("device")
@click.argument("quantities", nargs=-1, required=True, metavar="QUANTITY...")
@_from_option
@_to_option
@_last_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("chart.png"),
    show_default=True,
    help="The picture, a PNG.",
)
def chart(
    config_path: Path,
    device: str,
    quantities: tuple[str, ...],
    begin: str | None,
    end: str | None,
    last: str | None,
    output: Path,
) -> None:
    """Draw one or more QUANTITYs of DEVICE: the last 24 hours if no time is said.

    Several DEVICEs, separated by commas, are drawn into one picture.
    """
    with _store(config_path) as stored:
        when = _range(stored.zone, begin, end, last)
        found = [stored.find(one) for one in device.split(",")]
        wanted = [Wanted(one, _quantity(one, name)) for name in quantities for one in found]
        made = chart_of(stored.connection, wanted, when.begin, when.end, stored.zone.key)
    if isinstance(made, NoChart):
        raise click.ClickException(f"There is no such chart: {made.reason}.")
    try:
        from thingroom_gateway.charts.draw import render
    except ImportError:
        raise click.ClickException(
            "Charts need matplotlib, which is not installed here: pip install matplotlib"
        ) from None
    output.write_bytes(render(made))
    click.echo(f"The chart is {output}.")


# --- what they share -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _store(config_path: Path) -> Iterator[Stored]:
    try:
        with opened(load(config_path)) as stored:
            yield stored
    except (ConfigError, ProfileError, sqlite3.Error, OSError) as error:
        raise click.ClickException(str(error)) from None


def _range(zone: ZoneInfo, begin: str | None, end: str | None, last: str | None) -> Range:
    now = time.time_ns() // 1_000_000
    # What was measured this very moment belongs to the last hours too.
    until = now + 1 if end is None else _moment("--to", end, now, zone)
    if begin is not None and last is not None:
        raise click.UsageError("Say --from or --last, not both.")
    if begin is not None:
        since = _moment("--from", begin, now, zone)
    else:
        span = DAY_MS if last is None else parse_span(last)
        if span is None:
            raise click.BadParameter(
                f"{last!r} is no span of time; write 24h, 90 min, 2 weeks ...", param_hint="--last"
            )
        since = max(0, until - span)
    if since >= until:
        raise click.UsageError("The time ends before it begins.")
    return Range(since, until)


def _moment(option: str, text: str, now: int, zone: ZoneInfo) -> int:
    found = parse_moment(text, now, zone)
    if found is None:
        raise click.BadParameter(
            f"{text!r} is no time; write 2026-11-20, 2026-11-20 18:00, yesterday, 18:00, 3 days ago ...",
            param_hint=option,
        )
    return found


def _quantities(stored: Stored, device: Device) -> list[str]:
    """Those of the profile in its order, then what only the store knows."""
    known = {row.quantity for row in store.series_of(stored.connection, device.row.id)}
    return [name for name in device.profile.quantities if name in known] + sorted(
        known - set(device.profile.quantities)
    )


def _quantity(device: Device, wanted: str) -> str:
    """By name or title. Raises click.ClickException."""
    word = wanted.casefold()
    for name, quantity in device.profile.quantities.items():
        if word in (name, quantity.title.casefold()):
            return name
    known = ", ".join(device.profile.quantities)
    raise click.ClickException(f"{device.row.name} has no {wanted}; it has {known}.")


def _readings(
    stored: Stored, devices: list[Device], quantity: str | None, when: Range, step: Callable[[int], None]
) -> Readings:
    def counted(rows: Iterator[store.StoredReading]) -> Iterator[store.StoredReading]:
        number = 0
        for row in rows:
            number += 1
            if number % 1000 == 0:
                step(1000)
            yield row
        step(number % 1000)

    return [
        (
            Source(
                device.row.kid,
                device.row.name,
                frozenset(row.unit for row in store.series_of(stored.connection, device.row.id, quantity)),
            ),
            counted(store.stored_readings(stored.connection, device.row.id, quantity, when.begin, when.end)),
        )
        for device in devices
    ]


@contextlib.contextmanager
def _progress(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, for what takes its time."""
    if not wanted or total < LONG or not sys.stderr.isatty():
        yield lambda _number: None
        return
    with click.progressbar(length=total, label="Readings", file=sys.stderr) as bar:
        yield bar.update


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """The file, which appears under its name only when it is whole; or standard output."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            yield file
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _columns(table: Table) -> Iterator[str]:
    rows = [table.titles, *table.lines]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(table.titles))]
    for number, row in enumerate(rows):
        cells = [row[0] + " " * (widths[0] - _width(row[0]))]
        cells += [" " * (width - _width(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True)]
        line = "  ".join(cells).rstrip()
        yield click.style(line, bold=True) if number == 0 else line


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
