"""History as a table for people: every reading, or what each local hour, day or month held.

May import storage.series, devices, profiles. The command line prints what `history_of` gives.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Quantity
from thingroom_gateway.storage import series as store
from thingroom_gateway.storage.series import DAY, FIVE_MINUTES, HOUR, SeriesRow
from thingroom_gateway.values import shown

MAX_READINGS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a line of the table stands for; `size` in ms, roughly for weeks and months."""

    name: str
    size: int
    start: Callable[[datetime], datetime]


def _minutes(number: int) -> Callable[[datetime], datetime]:
    return lambda at: at.replace(minute=at.minute - at.minute % number, second=0, microsecond=0)


def _hours(number: int) -> Callable[[datetime], datetime]:
    return lambda at: at.replace(hour=at.hour - at.hour % number, minute=0, second=0, microsecond=0)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


STEPS: Final = (
    Step("5min", FIVE_MINUTES, _minutes(5)),
    Step("15min", 3 * FIVE_MINUTES, _minutes(15)),
    Step("hour", HOUR, _hours(1)),
    Step("6hours", 6 * HOUR, _hours(6)),
    Step("day", DAY, _midnight),
    Step("week", 7 * DAY, lambda at: _midnight(at) - timedelta(days=at.weekday())),
    Step("month", 30 * DAY, lambda at: _midnight(at).replace(day=1)),
)
READING: Final = "reading"
STEP_NAMES: Final = (READING, *(step.name for step in STEPS))
# Without a wish: so many lines at most.
LINES: Final = 48


@dataclass(frozen=True, slots=True)
class Table:
    """`titles` head the columns, of which the first is the local time; `step` is one of STEP_NAMES."""

    titles: list[str]
    lines: list[list[str]]
    step: str
    cut: bool = False


def history_of(
    connection: sqlite3.Connection,
    device: Device,
    quantities: Sequence[str],
    from_ms: int,
    to_ms: int,
    zone: tzinfo,
    by: str | None = None,
) -> Table:
    """What is stored of some quantities of a device; `by` one of STEP_NAMES, None: as it fits. Texts: only readings."""
    rows = {name: found[-1] for name in quantities if (found := store.series_of(connection, device.row.id, name))}
    if by is None:
        counts = [store.count_readings(connection, row, from_ms, to_ms, LINES + 1) for row in rows.values()]
        texts = all(row.kind == "text" for row in rows.values())
        by = READING if max(counts, default=0) <= LINES or texts else _fitting(to_ms - from_ms).name
    if by == READING:
        return _readings(connection, device, rows, from_ms, to_ms, zone)
    step = next(step for step in STEPS if step.name == by)
    numeric = {name: row for name, row in rows.items() if row.kind != "text"}
    return _summary(connection, device, numeric, from_ms, to_ms, zone, step)


def _fitting(range_ms: int) -> Step:
    return next((step for step in STEPS if range_ms <= step.size * LINES), STEPS[-1])


def title(device: Device, name: str) -> str:
    """ "Temperature °C", or the bare name of what the profile does not know any more."""
    quantity = device.profile.quantities.get(name)
    return name if quantity is None else f"{quantity.title} {quantity.shown_unit}".rstrip()


def _readings(
    connection: sqlite3.Connection,
    device: Device,
    rows: dict[str, SeriesRow],
    from_ms: int,
    to_ms: int,
    zone: tzinfo,
) -> Table:
    lines: dict[int, list[str]] = {}
    cut = False
    for column, name in enumerate(rows, 1):
        quantity = device.profile.quantities.get(name)
        for number, reading in enumerate(store.stored_readings(connection, device.row.id, name, from_ms, to_ms)):
            if number >= MAX_READINGS:
                cut = True
                break
            line = lines.setdefault(reading.time, [""] * (len(rows) + 1))
            line[column] = in_words(quantity, reading.value)
    for time, line in lines.items():
        line[0] = _local(time, zone).strftime("%Y-%m-%d %H:%M:%S")
    ordered = [lines[time] for time in sorted(lines)]
    return Table(["time", *(title(device, name) for name in rows)], ordered, READING, cut)


def in_words(quantity: Quantity | None, text: str) -> str:
    """A stored value as people read it, without its unit."""
    if quantity is None or quantity.kind == "text":
        return text
    if quantity.kind == "boolean":
        return quantity.words.get(text, "on" if text == "true" else "off")
    return shown(format(quantity.for_people(Decimal(text)), "f"), quantity.precision)


def _summary(
    connection: sqlite3.Connection,
    device: Device,
    rows: dict[str, SeriesRow],
    from_ms: int,
    to_ms: int,
    zone: tzinfo,
    step: Step,
) -> Table:
    found: dict[datetime, dict[str, list[float]]] = {}
    for name, row in rows.items():
        # Local days begin on the hour in most zones, not in all: from the finer level where it is still there.
        width = HOUR if step.size > HOUR and _on_the_hour(from_ms, to_ms, zone) else FIVE_MINUTES
        for start, count, total, minimum, maximum in store.buckets(connection, row, from_ms, to_ms, width):
            held = found.setdefault(step.start(_local(start, zone)), {}).get(name)
            if held is None:
                found[step.start(_local(start, zone))][name] = [count, total, minimum, maximum]
            else:
                held[0] += count
                held[1] += total
                held[2] = min(held[2], minimum)
                held[3] = max(held[3], maximum)
    titles = ["time"]
    for name in rows:
        titles += [title(device, name), "least", "greatest"] if rows[name].kind == "number" else [title(device, name)]
    form = "%Y-%m-%d %H:%M" if step.size < DAY else "%Y-%m" if step.name == "month" else "%Y-%m-%d"
    lines = []
    for begin in sorted(found):
        line = [begin.strftime(form)]
        for name, row in rows.items():
            line += _cells(device.profile.quantities.get(name), row.kind, found[begin].get(name))
        lines.append(line)
    return Table(titles, lines, step.name)


def _cells(quantity: Quantity | None, kind: str, held: list[float] | None) -> list[str]:
    if kind == "boolean":
        if held is None:
            return [""]
        if held[2] != held[3]:
            return [f"{in_words(quantity, 'true')} and {in_words(quantity, 'false')}"]
        return [in_words(quantity, "true" if held[2] else "false")]
    if held is None:
        return ["", "", ""]
    return [_rounded(quantity, value) for value in (held[1] / held[0], held[2], held[3])]


def _rounded(quantity: Quantity | None, value: float) -> str:
    text = format(Decimal(repr(value)), "f")
    return f"{value:.6g}" if quantity is None else in_words(quantity, text)


def _on_the_hour(from_ms: int, to_ms: int, zone: tzinfo) -> bool:
    return all(_local(ts - ts % HOUR, zone).minute == 0 for ts in (from_ms, to_ms))


def _local(ts: int, zone: tzinfo) -> datetime:
    """The wall clock, naive: in autumn an hour comes twice, and its two halves are put together."""
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone(zone).replace(tzinfo=None, fold=0)
