"""The picture of a chart, by matplotlib: legible on a phone, in colours that the colour-blind tell apart.

Importing this costs some 70 MB and half a second, so it happens in process.py's process or in a command that ends soon.
May import matplotlib, chart and ticks.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from thingroom_gateway.charts.chart import Chart, ChartPoint, ChartSeries
from thingroom_gateway.charts.ticks import Tick, range_text, time_ticks

# Okabe and Ito's palette, the strongest first.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#B5589A", "#C98500", "#56B4E9")
STYLES: Final = ("-", "-", "-", (0, (5, 2)), (0, (5, 2)), (0, (2, 1.5)))
GROUND: Final = "#FBFAF7"
INK: Final = "#33363B"
FAINT: Final = "#6D7178"
GRID: Final = "#E3E1DB"
GAP: Final = "#EFEDE6"
DPI: Final = 100
# In points: at 100 dots an inch a point is 1.4 pixels.
SMALL: Final = 13.5
NORMAL: Final = 15.0
LARGE: Final = 18.0
LANE: Final = 78
HEAD: Final = 124
# A row of the legend, and so many series in one.
LEGEND: Final = 32
IN_A_ROW: Final = 3
FOOT: Final = 66
# Pixels that a digit of a scale takes, and what is left and right of it.
DIGIT: Final = 12.4
MARGIN: Final = 30
# Few points are shown as such.
FEW: Final = 60
MAX_TITLE: Final = 60
PALETTE: Final = 64


def render(chart: Chart) -> bytes:
    """The chart as PNG. Raises zoneinfo.ZoneInfoNotFoundError."""
    rcParams["font.family"] = "DejaVu Sans"
    numbers = [series for series in chart.series if series.kind == "number"]
    lanes = [series for series in chart.series if series.kind == "boolean"]
    height = chart.height if numbers or not lanes else min(chart.height, HEAD + FOOT + LANE * len(lanes))
    figure = Figure(figsize=(chart.width / DPI, height / DPI), dpi=DPI, facecolor=GROUND)
    canvas = FigureCanvasAgg(figure)
    colours = {id(series): COLOURS[index % len(COLOURS)] for index, series in enumerate(chart.series)}
    units = list(dict.fromkeys(series.unit for series in numbers))
    head = HEAD + (LEGEND * math.ceil(len(numbers) / IN_A_ROW) if len(numbers) > 1 else 0)
    left, right = (92 if numbers else 24), (92 if len(units) > 1 else 26)
    lanes_height = LANE * len(lanes) if numbers else height - HEAD - FOOT
    box = [left / chart.width, 0.0, 1 - (left + right) / chart.width, 0.0]
    bottom = FOOT
    axes: list[Axes] = []
    if lanes:
        lane_axes = figure.add_axes((box[0], bottom / height, box[2], lanes_height / height))
        _lanes(lane_axes, lanes, chart, colours)
        axes.append(lane_axes)
        bottom += lanes_height + (14 if numbers else 0)
    if numbers or not lanes:
        main = figure.add_axes((box[0], bottom / height, box[2], 1 - (bottom + head) / height))
        scales = _numbers(main, numbers, units, chart, colours)
        axes.append(main)
        _make_room(axes, scales, left, right, chart.width)
    zone = ZoneInfo(chart.timezone)
    _time_axis(axes, chart, zone)
    _words(figure, chart, zone, numbers, colours, height)
    canvas.draw()  # type: ignore[no-untyped-call]
    # A chart has few colours; with a palette it is a third of the size.
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    picture = io.BytesIO()
    image.quantize(PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(picture, "PNG", optimize=True)
    return picture.getvalue()


# --- the parts -------------------------------------------------------------------------------------------------------


def _numbers(
    axes: Axes, numbers: Sequence[ChartSeries], units: Sequence[str], chart: Chart, colours: dict[int, str]
) -> list[Axes]:
    """Draws the lines; returns the axes with a scale, the left one first."""
    by_unit: dict[str, Axes] = {}
    for index, unit in enumerate(units[:2]):
        own = axes if index == 0 else axes.twinx()
        by_unit[unit] = own
        of_unit = [series for series in numbers if series.unit == unit]
        tint = colours[id(of_unit[0])] if len(units) > 1 and len(of_unit) == 1 else FAINT
        _value_axis(own, of_unit, [mark.value for mark in chart.marks if mark.unit == unit], tint)
        own.annotate(
            unit,
            (index, 1),
            xycoords="axes fraction",
            xytext=(16 * index - 8, 9),
            textcoords="offset points",
            ha="left" if index else "right",
            va="bottom",
            color=tint,
            fontsize=NORMAL,
            parse_math=False,
        )
        if index:
            own.grid(False)
    if len(numbers) == 1:
        for begin, end in numbers[0].gaps:
            axes.axvspan(begin, end, color=GAP, lw=0, zorder=0.5)
    for index, series in enumerate(numbers):
        _line(by_unit[series.unit], series, colours[id(series)], STYLES[index % len(STYLES)])
    for mark in chart.marks:
        if mark.unit in by_unit:
            own = by_unit[mark.unit]
            own.axhline(mark.value, color=INK, lw=1.4, ls=(0, (6, 4)), alpha=0.75, zorder=2.5)
            own.annotate(
                mark.label[:MAX_TITLE],
                (0, mark.value),
                xycoords=("axes fraction", "data"),
                xytext=(6, 4),
                textcoords="offset points",
                color=INK,
                fontsize=SMALL - 1,
                parse_math=False,
                bbox={"facecolor": GROUND, "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
            )
    if not any(series.points for series in chart.series):
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "No readings", transform=axes.transAxes, ha="center", va="center", fontsize=LARGE, color=FAINT
        )
    return list(by_unit.values())


def _make_room(axes: Sequence[Axes], scales: Sequence[Axes], left: float, right: float, width: int) -> None:
    """Make the axes narrower where the numbers of a scale are long."""
    texts = [max((len(label.get_text()) for label in scale.get_yticklabels()), default=0) for scale in scales]
    wanted = [MARGIN + DIGIT * longest for longest in texts]
    left = max(left, wanted[0]) if wanted else left
    right = max(right, wanted[1]) if len(wanted) > 1 else right
    for one in axes:
        box = one.get_position()
        one.set_position((left / width, box.y0, 1 - (left + right) / width, box.height))


def _line(axes: Axes, series: ChartSeries, colour: str, style: Any) -> None:
    half = series.resolution_ms / 2
    number = len(series.points)
    for part in segments(series):
        times = [point[0] + half for point in part]
        means = [point[2] for point in part]
        if series.resolution_ms:
            lows, highs = [point[1] for point in part], [point[3] for point in part]
            if len(part) == 1:
                times = [part[0][0], part[0][0] + series.resolution_ms]
                means, lows, highs = means * 2, lows * 2, highs * 2
            axes.fill_between(times, lows, highs, color=colour, alpha=0.2, lw=0, zorder=2)
        elif len(part) == 1 or number <= FEW:
            axes.plot(times, means, "o", color=colour, ms=4.5 if number > 1 else 8, zorder=3)
        axes.plot(
            times, means, color=colour, lw=2.2, ls=style, zorder=3, solid_capstyle="round", solid_joinstyle="round"
        )


def segments(series: ChartSeries) -> Iterator[list[ChartPoint]]:
    """The points between the gaps."""
    ends = [end for _, end in series.gaps]
    part: list[ChartPoint] = []
    for point in series.points:
        while ends and point[0] >= ends[0]:
            ends.pop(0)
            if part:
                yield part
                part = []
        part.append(point)
    if part:
        yield part


def _value_axis(axes: Axes, of_unit: Sequence[ChartSeries], marks: Sequence[float], tint: str) -> None:
    lows = [point[1] for series in of_unit for point in series.points] + list(marks)
    highs = [point[3] for series in of_unit for point in series.points] + list(marks)
    if lows:
        low, high = min(lows), max(highs)
        # Ten of the last digit shown at least, so that noise does not look like weather.
        least = max(10.0 ** (1 - min(series.decimals for series in of_unit)), 1e-6 * max(abs(low), abs(high)))
        middle, span = (low + high) / 2, max(high - low, least)
        axes.set_ylim(middle - span * 0.56, middle + span * 0.56)
        if low >= 0 > axes.get_ylim()[0]:
            # A little below, so that a line along zero is whole.
            axes.set_ylim(-span * 0.02, middle + span * 0.56)
    bottom, top = axes.get_ylim()
    values = [
        float(value)
        for value in MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(bottom, top)
        if bottom <= value <= top
    ]
    axes.set_yticks(values, _tick_labels(values))
    axes.tick_params(axis="y", colors=tint, labelsize=NORMAL, length=0, pad=8)
    axes.grid(axis="y", color=GRID, lw=1.1)
    _bare(axes)


def _tick_labels(values: Sequence[float]) -> list[str]:
    """Round values, all with as many decimals as the step between them needs, thousands apart."""
    if len(values) < 2:
        return [f"{value:g}" for value in values]
    decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    texts = [f"{value:,.{decimals}f}" for value in values]
    return [("0" if not text.strip("-0.") else text).replace(",", "\u2009").replace("-", "−") for text in texts]


def _lanes(axes: Axes, lanes: Sequence[ChartSeries], chart: Chart, colours: dict[int, str]) -> None:
    """Each truth value on its lane: full where true, thin where false, pale where both, empty where unknown."""
    axes.set_ylim(len(lanes), 0)
    axes.set_yticks([])
    _bare(axes)
    for index, series in enumerate(lanes):
        colour = colours[id(series)]
        for begin, length, state in bands(series, chart.to_ms):
            top, thick, alpha = {
                "true": (index + 0.42, 0.46, 1.0),
                "both": (index + 0.42, 0.46, 0.45),
                "false": (index + 0.8, 0.08, 0.55),
            }[state]
            axes.broken_barh([(begin, length)], (top, thick), color=colour, alpha=alpha, lw=0, zorder=2)
        known = (f"▮ {series.words.get('true', 'on')}", f"▁ {series.words.get('false', 'off')}")
        axes.text(
            0,
            index + 0.36,
            f"{series.label}   {'   '.join(known)}" if series.points else f"{series.label}   no readings",
            transform=axes.get_yaxis_transform(),
            va="bottom",
            fontsize=SMALL,
            color=colour,
            parse_math=False,
        )


def bands(series: ChartSeries, to_ms: int) -> Iterator[tuple[float, float, str]]:
    """When a boolean was what: (begin, length, "true", "false" or "both"); each state holds until the next or a gap."""
    points = series.points
    gaps = sorted(series.gaps)
    for index, (ts, low, _, high) in enumerate(points):
        end = points[index + 1][0] if index + 1 < len(points) else max(ts + series.resolution_ms, to_ms)
        cut = next((begin for begin, _ in gaps if ts <= begin < end), end)
        state = "true" if low == 1 else "false" if high == 0 else "both"
        yield ts, max(0, min(cut, to_ms) - ts), state


def _time_axis(axes: Sequence[Axes], chart: Chart, zone: ZoneInfo) -> None:
    ticks = time_ticks(chart.from_ms, chart.to_ms, zone)
    for index, one in enumerate(axes):
        one.set_xlim(chart.from_ms, chart.to_ms)
        one.set_xticks([tick.ts for tick in ticks], [_two_lines(tick.label) for tick in ticks])
        one.grid(axis="x", color=GRID, lw=1.1)
        _keep_inside(one, ticks, chart)
        one.tick_params(axis="x", colors=FAINT, labelsize=SMALL, length=0, pad=7, labelbottom=index == 0)


def _keep_inside(axes: Axes, ticks: Sequence[Tick], chart: Chart) -> None:
    """Labels near the picture's edges begin or end at their ticks."""
    box = axes.get_position()
    for tick, label in zip(ticks, axes.get_xticklabels(), strict=True):
        share = (tick.ts - chart.from_ms) / max(1, chart.to_ms - chart.from_ms)
        x = (box.x0 + share * box.width) * chart.width
        half = 6.2 * max(len(line) for line in tick.label.split("\n"))
        if x < half:
            label.set_horizontalalignment("left")
        elif x > chart.width - half:
            label.set_horizontalalignment("right")


def _two_lines(label: str) -> str:
    """All labels are as high, so that their first lines stand level."""
    return label if "\n" in label else f"{label}\n "


def _bare(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _words(
    figure: Figure,
    chart: Chart,
    zone: ZoneInfo,
    numbers: Sequence[ChartSeries],
    colours: dict[int, str],
    height: int,
) -> None:
    def write(x: float, y: float, text: str, size: float, colour: str, **more: Any) -> Any:
        return figure.text(
            x / chart.width, 1 - y / height, text, fontsize=size, color=colour, va="baseline", parse_math=False, **more
        )

    title = chart.title if len(chart.title) <= MAX_TITLE else chart.title[: MAX_TITLE - 1] + "…"
    write(24, 38, title, LARGE, INK, weight="bold")
    write(24, 68, f"{range_text(chart.from_ms, chart.to_ms, zone)}  ({chart.timezone})", SMALL, FAINT)
    if len(numbers) == 1 and numbers[0].points:
        write(chart.width - 24, 38, summary(numbers[0]), SMALL, INK, ha="right")
    if len(numbers) > 1:
        room = (chart.width - 24) / min(IN_A_ROW, len(numbers))
        for index, series in enumerate(numbers):
            x, y = 24 + room * (index % IN_A_ROW), 100 + LEGEND * (index // IN_A_ROW)
            extent = f" {_extent(series)}" if series.points and len(numbers) <= 3 else ""
            text = f"● {series.label}{extent}" if series.points else f"○ {series.label}: no readings"
            most = int(room / 11.5)
            text = text if len(text) <= most else f"● {series.label}"
            write(x, y, text if len(text) <= most else text[: most - 1] + "…", SMALL, colours[id(series)])


def summary(series: ChartSeries) -> str:
    """For one series: "18.2 to 23.4, last 21.4 °C"; "always 45 %" where nothing moved."""
    last = f"{_number(series.points[-1][2], series)} {series.unit}".rstrip()
    if len(series.points) == 1 and not series.resolution_ms:
        return last
    least, most = _extent(series).split(" to ")
    return f"always {last}" if least == most else f"{least} to {most}, last {last}"


def _extent(series: ChartSeries) -> str:
    low, high = min(point[1] for point in series.points), max(point[3] for point in series.points)
    return f"{_number(low, series)} to {_number(high, series)}"


def _number(value: float, series: ChartSeries) -> str:
    # Thousands apart where there are many.
    text = f"{value:,.{series.decimals}f}".replace(",", "\u2009" if abs(value) >= 10_000 else "")
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", "−")
