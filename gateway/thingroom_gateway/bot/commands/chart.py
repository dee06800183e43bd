"""chart: a picture of what was stored."""

from __future__ import annotations

import sqlite3
from typing import Final

from thingroom_gateway.alerts.texts import shown_duration
from thingroom_gateway.bot.answer import Answer, Attachment
from thingroom_gateway.bot.conversation import Tools, Where, range_of
from thingroom_gateway.bot.requests import Chart
from thingroom_gateway.charts.chart import Chart as Picture
from thingroom_gateway.charts.chart import ChartSeries
from thingroom_gateway.charts.prepare import MAX_SERIES, NoChart, Wanted, chart_of
from thingroom_gateway.charts.process import ChartError

_LEAST_MS: Final = 60_000


async def answer_chart(request: Chart, where: Where, tools: Tools) -> Answer:
    wanted = wanted_lines(request, where)
    if not wanted:
        return Answer("Nothing here measures that.")
    begin, end = range_of(request.span, tools.now_ms(), tools.zone)

    def read(connection: sqlite3.Connection) -> Picture | NoChart:
        return chart_of(connection, wanted, begin, max(end, begin + _LEAST_MS), tools.zone.key)

    chart = await tools.database.read_in_thread(read)
    if isinstance(chart, NoChart):
        return Answer(f"{chart.reason[:1].upper()}{chart.reason[1:]}.")
    if not any(line.points for line in chart.series):
        return Answer("There is nothing to draw in that time.")
    try:
        png = await tools.charts.render(chart)
    except ChartError as error:
        return Answer(f"Sorry: {error}.")
    filename = f"{chart.title.replace(': ', ' ').replace(',', '').replace('/', '-')}.png"
    size = (chart.width, chart.height)
    return Answer(attachments=[Attachment(png, "image/png", filename, alternative_text(chart), size)])


def wanted_lines(request: Chart, where: Where) -> list[Wanted]:
    """Which lines are meant. With nothing named, those said aloud of each device, of two units at most."""
    quantities = request.targets.quantities
    lines: list[Wanted] = []
    for device in where.chosen(request.targets):
        for name, quantity in device.profile.quantities.items():
            if quantity.kind != "text" and (name in quantities if quantities else not quantity.quiet):
                lines.append(Wanted(device, name))
    if quantities or len(lines) <= 1:
        return lines[: MAX_SERIES + 1]
    units: list[str] = []
    fitting: list[Wanted] = []
    for line in lines:
        quantity = line.device.profile.quantities[line.quantity]
        if quantity.kind == "number" and quantity.shown_unit not in units:
            if len(units) == 2:
                continue
            units.append(quantity.shown_unit)
        fitting.append(line)
    return fitting[:MAX_SERIES]


def alternative_text(chart: Picture) -> str:
    """The picture in words, for those who do not see it."""
    lines = "; ".join(_line_text(line) for line in chart.series)
    return f"{chart.title}, {shown_duration(chart.to_ms - chart.from_ms)}. {lines}"


def _line_text(line: ChartSeries) -> str:
    if not line.points:
        return f"{line.label}: no values"
    if line.kind == "boolean":
        return line.label
    least, most = min(point[1] for point in line.points), max(point[3] for point in line.points)
    last, digits = line.points[-1][2], line.decimals
    gaps = f", {len(line.gaps)} gaps" if line.gaps else ""
    return (
        f"{line.label}: {least:.{digits}f} to {most:.{digits}f} {line.unit}".rstrip()
        + f", at last {last:.{digits}f}{gaps}"
    )
