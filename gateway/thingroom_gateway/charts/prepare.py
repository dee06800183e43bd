"""A chart from stored series: which of them go together, in the units that people read.

May import storage.series, devices, profiles. The bot, the dashboard and the command line ask `chart_of` in a thread
(Database.read_in_thread) and give its chart to process.py or draw.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from thingroom_gateway.charts.chart import Chart, ChartPoint, ChartSeries, Mark
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Quantity
from thingroom_gateway.series.reading import Series
from thingroom_gateway.storage import series as store

MAX_SERIES = 6
MAX_UNITS = 2
POINTS = 500
# A door says little: every change of a year is shown where there are not more than this.
STATES = 2000


@dataclass(frozen=True, slots=True)
class NoChart:
    """Why there is no such chart: a sentence for people, beginning in lower case."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One line of a chart."""

    device: Device
    quantity: str


def chart_of(
    connection: sqlite3.Connection,
    wanted: Sequence[Wanted],
    from_ms: int,
    to_ms: int,
    timezone: str,
    marks: Sequence[Mark] = (),
) -> Chart | NoChart:
    """What is stored of `wanted` between two instants (Unix ms), as a chart read in `timezone` (an IANA name).

    `marks` are in shown units. No chart of more than six series, of more than two units, of texts, of no time.
    """
    if not wanted:
        return NoChart("nothing was asked for")
    if len(wanted) > MAX_SERIES:
        return NoChart(f"a chart shows {MAX_SERIES} series at most")
    if to_ms <= from_ms:
        return NoChart("the time ends before it begins")
    devices = len({one.device.row.id for one in wanted})
    titles = len({one.quantity for one in wanted})
    lines: list[ChartSeries] = []
    for one in wanted:
        quantity = one.device.profile.quantities.get(one.quantity)
        if quantity is None:
            return NoChart(f"{one.device.row.name} has no {one.quantity}")
        if quantity.kind == "text":
            return NoChart(f"{quantity.title} is a text, and a text makes no line")
        points = STATES if quantity.kind == "boolean" else POINTS
        found = store.read(connection, one.device.row.id, one.quantity, from_ms, to_ms, points, quantity.interval_ms)
        before = _before(connection, one, from_ms) if quantity.kind == "boolean" else None
        label = " ".join([one.device.row.name] * (devices > 1) + [quantity.title] * (devices == 1 or titles > 1))
        lines.append(line_of(quantity, found, label, before))
    units = dict.fromkeys(line.unit for line in lines if line.kind == "number")
    if len(units) > MAX_UNITS:
        return NoChart(f"a chart has two scales at most, and these are {', '.join(unit or 'none' for unit in units)}")
    return Chart(
        title=title_of(wanted),
        series=lines,
        from_ms=from_ms,
        to_ms=to_ms,
        timezone=timezone,
        marks=[mark for mark in marks if mark.unit in units],
    )


def title_of(wanted: Sequence[Wanted]) -> str:
    """ "Kitchen: Temperature", "Kitchen: Temperature, Humidity", "Temperature: Kitchen, Attic"."""
    names = list(dict.fromkeys(one.device.row.name for one in wanted))
    titles = list(dict.fromkeys(one.device.profile.quantities[one.quantity].title for one in wanted))
    if len(names) == 1:
        return f"{names[0]}: {', '.join(titles)}"
    return f"{', '.join(titles)}: {', '.join(names)}"


def line_of(quantity: Quantity, found: Series, label: str, before: ChartPoint | None = None) -> ChartSeries:
    """One line in the unit that people read; `before` is the state that held when the chart begins."""
    offset = float(quantity.for_people(Decimal(0)))
    factor = float(quantity.for_people(Decimal(1))) - offset
    points: list[ChartPoint] = []
    for ts, minimum, mean, maximum in found.points:
        low, high = minimum * factor + offset, maximum * factor + offset
        points.append((ts, min(low, high), mean * factor + offset, max(low, high)))
    if before is not None:
        points.insert(0, before)
    return ChartSeries(
        label=label,
        unit=quantity.shown_unit,
        points=points,
        gaps=found.gaps,
        kind="boolean" if quantity.kind == "boolean" else "number",
        resolution_ms=found.resolution_ms,
        decimals=quantity.precision,
        words=quantity.words,
    )


def _before(connection: sqlite3.Connection, one: Wanted, from_ms: int) -> ChartPoint | None:
    last = store.latest(connection, one.device.row.id, from_ms - 1).get(one.quantity)
    if last is None:
        return None
    value = 1.0 if last.value == "true" else 0.0
    return (from_ms, value, value, value)
