"""Charts: pure preparation (ticks, units, gaps, bands), the pictures, and the process that draws them."""

from __future__ import annotations

import asyncio
import io
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.gateway.series_support import DAY, HOUR, MINUTE, START, every, store

from thingroom_gateway.charts.chart import Chart, ChartSeries, Mark
from thingroom_gateway.charts.draw import bands, render, segments, summary
from thingroom_gateway.charts.prepare import NoChart, Wanted, chart_of
from thingroom_gateway.charts.process import ChartError, ChartProcess
from thingroom_gateway.charts.ticks import range_text, time_ticks
from thingroom_gateway.series.reading import SeriesReading

BERLIN = ZoneInfo("Europe/Berlin")


def _line(points: list[tuple[float, float, float, float]], **more: object) -> ChartSeries:
    return ChartSeries(**{"label": "Temperature", "unit": "°C", "points": points, **more})  # type: ignore[arg-type]


def _chart(*series: ChartSeries, **more: object) -> Chart:
    given_ = {"title": "Kitchen", "from_ms": START, "to_ms": START + DAY, "timezone": "Europe/Berlin", **more}
    return Chart(series=list(series), **given_)  # type: ignore[arg-type]


def _wave(step: int, number: int = 100) -> list[tuple[float, float, float, float]]:
    return [(START + n * step, 20.0 + n % 7, 20.5 + n % 7, 21.0 + n % 7) for n in range(number)]


# --- ticks -----------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 4_102_444_800_000),
    st.integers(1000, 40 * 365 * DAY),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]),
)
@settings(max_examples=200, deadline=None)
def test_ticks_are_few_ascending_and_on_round_local_times(begin: int, length: int, name: str) -> None:
    zone = ZoneInfo(name)
    ticks = time_ticks(begin, begin + length, zone)
    assert len(ticks) <= 9
    if length > 10 * MINUTE:
        assert len(ticks) >= 2
    assert [tick.ts for tick in ticks] == sorted({tick.ts for tick in ticks})
    for tick in ticks:
        assert begin <= tick.ts <= begin + length
        local = datetime.fromtimestamp(tick.ts / 1000, UTC).astimezone(zone)
        assert local.microsecond == 0
        assert tick.label
        if length > 3 * DAY * 7:
            assert (local.hour, local.minute) == (0, 0)
    assert range_text(begin, begin + length, zone)


@pytest.mark.parametrize(
    ("length", "labels"),
    [
        (5 * MINUTE, ["01:00\nSun 15 Nov", "01:01", "01:02", "01:03", "01:04", "01:05"]),
        (DAY, ["04:00\nSun 15 Nov", "08:00", "12:00", "16:00", "20:00", "00:00\nMon 16 Nov"]),
        (7 * DAY, ["Mon 16\nNov", "Tue 17", "Wed 18", "Thu 19", "Fri 20", "Sat 21", "Sun 22"]),
        (30 * DAY, ["16 Nov\n2026", "23 Nov", "30 Nov", "7 Dec", "14 Dec"]),
        (365 * DAY, ["Jan\n2027", "Mar", "May", "Jul", "Sep", "Nov"]),
        (5 * 365 * DAY, ["2027", "2028", "2029", "2030", "2031"]),
    ],
)
def test_what_ticks_say(length: int, labels: list[str]) -> None:
    assert [tick.label for tick in time_ticks(START, START + length, BERLIN)] == labels


def test_ticks_over_the_change_of_the_clocks() -> None:
    """On 25 October 2026 Berlin's day has 25 hours: midnight to midnight, every four hours of the wall clock."""
    begin = round(datetime(2026, 10, 25, tzinfo=BERLIN).timestamp() * 1000)
    end = round(datetime(2026, 10, 26, tzinfo=BERLIN).timestamp() * 1000)
    assert end - begin == 25 * HOUR
    ticks = time_ticks(begin, end, BERLIN)
    assert [tick.label.split("\n")[0] for tick in ticks] == [
        "00:00",
        "04:00",
        "08:00",
        "12:00",
        "16:00",
        "20:00",
        "00:00",
    ]
    assert range_text(begin, end, BERLIN) == "Sun 25 Oct 00:00 – Mon 26 Oct 2026 00:00"


# --- preparation -----------------------------------------------------------------------------------------------------


async def test_a_chart_of_what_is_stored(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        kitchen, attic = stored.kitchen, stored.attic
        await stored.add(*every(MINUTE, START, START + DAY, ["20.0", "21.0"]))
        await stored.add(*every(HOUR, START, START + 4 * HOUR, ["101325"], "pressure"))
        await stored.add(*every(HOUR, START, START + 4 * HOUR, ["40"], "humidity"))
        await stored.add(SeriesReading("door", START - HOUR, "true", 0, 1))

        def chart(*wanted: tuple[object, str], **more: object) -> Chart | NoChart:
            pairs = [Wanted(device, name) for device, name in wanted]  # type: ignore[arg-type]
            return stored.database.read(
                lambda c: chart_of(c, pairs, START, START + DAY, "Europe/Berlin", **more)  # type: ignore[arg-type]
            )

        made = chart(
            (kitchen, "temperature"), (kitchen, "pressure"), (kitchen, "door"), marks=[Mark(value=22, unit="°C")]
        )
        assert isinstance(made, Chart)
        temperature, pressure, door = made.series
        assert (made.title, made.marks) == ("Kitchen: Temperature, Pressure, Door", [Mark(value=22, unit="°C")])
        assert (temperature.resolution_ms, len(temperature.points)) == (3 * MINUTE, 480)
        assert temperature.points[0] == (START, 20.0, pytest.approx(61 / 3), 21.0)
        assert (pressure.unit, pressure.points[0][2]) == ("hPa", pytest.approx(1013.25))
        assert door.points == [(START, 1.0, 1.0, 1.0)]
        assert door.words == {"true": "open", "false": "closed"}
        both = chart((kitchen, "temperature"), (attic, "temperature"))
        assert isinstance(both, Chart)
        assert ([line.label for line in both.series], both.title) == (
            ["Kitchen", "Attic"],
            "Temperature: Kitchen, Attic",
        )
        for wanted, reason in (
            (((kitchen, "temperature"), (kitchen, "humidity"), (kitchen, "pressure")), "two scales at most"),
            (((kitchen, "state"),), "a text makes no line"),
            (((kitchen, "colour"),), "Kitchen has no colour"),
            (((kitchen, "temperature"),) * 7, "6 series at most"),
            ((), "nothing was asked for"),
        ):
            refused = chart(*wanted)
            assert isinstance(refused, NoChart)
            assert reason in refused.reason


def test_lines_are_cut_at_gaps() -> None:
    points = [(START + n * MINUTE, 1.0, 1.0, 1.0) for n in (0, 1, 2, 10, 11, 30)]
    gaps = [(START + 2 * MINUTE, START + 10 * MINUTE), (START + 11 * MINUTE, START + 30 * MINUTE)]
    assert [len(part) for part in segments(_line(points, gaps=gaps))] == [3, 2, 1]
    assert [len(part) for part in segments(_line(points))] == [6]
    assert list(segments(_line([]))) == []


def test_states_hold_until_the_next_or_a_gap() -> None:
    points = [(START, 0, 0, 0), (START + 10, 1, 1, 1), (START + 50, 0, 0.5, 1)]
    door = _line(points, kind="boolean", gaps=[(START + 20, START + 50)])
    assert list(bands(door, START + 100)) == [
        (START, 10, "false"),
        (START + 10, 10, "true"),
        (START + 50, 50, "both"),
    ]


def test_the_summary() -> None:
    assert summary(_line([(1, -0.04, -0.04, 0.04), (2, 21.26, 21.26, 21.3)])) == "0.0 to 21.3, last 21.3 °C"
    assert summary(_line([(1, -5, -5, -5)], decimals=0)) == "−5 °C"
    assert summary(_line([(1, -5, -5, -5), (2, -5, -5, -5)], decimals=0)) == "always −5 °C"
    many = _line([(1, 12_345_678, 12_345_678, 12_345_678), (2, 9999, 9999, 9999)], decimals=0)
    assert summary(many) == "9999 to 12\u2009345\u2009678, last 9999 °C"


@pytest.mark.parametrize("value", [12_345_678.0, 0.00012, -1_234_567.0])
def test_long_numbers_of_a_scale_are_inside_the_picture(value: float) -> None:
    points = [(float(ts), value * (1 + ts / 1e5), value * (1 + ts / 1e5), value * (1 + ts / 1e5)) for ts in range(50)]
    line = _line(points, decimals=6 if abs(value) < 1 else 0)
    picture = Image.open(io.BytesIO(render(Chart(title="Meter", series=[line], from_ms=0, to_ms=50)))).convert("RGB")
    edge = picture.crop((0, 0, 6, picture.height))
    assert len(edge.getcolors() or []) == 1


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chart",
    [
        pytest.param(_chart(_line(_wave(15 * MINUTE))), id="raw"),
        pytest.param(_chart(_line(_wave(MINUTE), resolution_ms=MINUTE), _line(_wave(HOUR, 20), unit="%")), id="two"),
        pytest.param(_chart(_line([])), id="empty"),
        pytest.param(_chart(), id="nothing"),
        pytest.param(_chart(_line([]), _line([], unit="%")), id="two empty"),
        pytest.param(_chart(_line(_wave(HOUR, 1))), id="one point"),
        pytest.param(_chart(_line([(START, 5, 5, 5), (START + HOUR, 5, 5, 5)])), id="flat"),
        pytest.param(_chart(_line([(START, -1e18, 0, 1e18), (START + HOUR, 5, 5, 5)])), id="enormous"),
        pytest.param(_chart(_line([(START, 1e-9, 1e-9, 1e-9)], decimals=9)), id="tiny"),
        pytest.param(_chart(_line([(START, 0, 0, 0), (START + HOUR, 1, 1, 1)], kind="boolean")), id="door"),
        pytest.param(_chart(_line([], kind="boolean"), _line(_wave(HOUR, 20))), id="silent door"),
        pytest.param(_chart(_line(_wave(HOUR)), to_ms=START + 300 * 365 * DAY), id="centuries"),
        pytest.param(_chart(_line(_wave(HOUR)), to_ms=START + 1), id="an instant"),
        pytest.param(
            _chart(
                *(_line(_wave(HOUR), label="$\\frac{1}{" + "x" * 300) for _ in range(6)),
                title="$E=mc^2$ _{ \\ " + "long " * 40,
                marks=[Mark(value=22, unit="°C", label="$\\alpha")],
            ),
            id="names that are no mathematics",
        ),
    ],
)  # fmt: skip
def test_every_chart_becomes_a_picture(chart: Chart) -> None:
    data = render(chart)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.format, picture.width) == ("PNG", 1000)
        assert picture.height <= 600
    assert len(data) < 100_000


def _colours(chart: Chart, *, box: tuple[int, int, int, int]) -> set[tuple[int, ...]]:
    with Image.open(io.BytesIO(render(chart))) as picture:
        return {colour for _, colour in picture.convert("RGB").crop(box).getcolors(1_000_000)}  # type: ignore[union-attr]


def test_a_gap_is_seen_as_a_gap() -> None:
    """Where readings are missing the picture has nothing blue, as it has where the line goes on."""
    points = [(START + n * 15 * MINUTE, 20.0, 20.0, 20.0) for n in range(97) if not 40 <= n < 60]
    gap = (START + 39 * 15 * MINUTE, START + 60 * 15 * MINUTE)
    middle = (500, 130, 560, 520)

    def blue(colours: set[tuple[int, ...]]) -> bool:
        return any(b > 140 and r < 80 for r, _, b in colours)

    assert blue(_colours(_chart(_line(points)), box=middle))
    assert not blue(_colours(_chart(_line(points, gaps=[gap])), box=middle))


# --- the process -----------------------------------------------------------------------------------------------------


async def test_the_process_is_there_only_while_charts_are_asked_for(tmp_path: Path) -> None:
    chart = _chart(_line(_wave(15 * MINUTE)))
    process = ChartProcess(tmp_path / "cache", idle_seconds=0.3)
    assert process.pid is None
    pictures = await asyncio.gather(*(process.render(chart) for _ in range(3)))
    assert pictures == [render(chart)] * 3
    pid = process.pid
    assert pid is not None
    for _ in range(100):
        if process.pid is None and not psutil.pid_exists(pid):
            break
        await asyncio.sleep(0.05)
    assert not psutil.pid_exists(pid)
    # It comes again, and after it was killed too.
    assert await process.render(chart) == pictures[0]
    assert process.pid is not None
    os.kill(process.pid, 9)
    with pytest.raises(ChartError):
        await process.render(chart)
    assert await process.render(chart) == pictures[0]
    with pytest.raises(ChartError, match="could not be drawn"):
        await process.render(_chart(timezone="Mars/Olympus"))
    answers = await asyncio.gather(*(process.render(chart) for _ in range(12)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(ChartError) == 4
    await process.close()
    assert process.pid is None


async def test_a_chart_that_nobody_waits_for_leaves_no_half_answer(tmp_path: Path) -> None:
    chart, other = _chart(_line(_wave(15 * MINUTE))), _chart(_line([]))
    process = ChartProcess(tmp_path / "cache")
    await process.render(other)
    given_up = asyncio.create_task(process.render(chart))
    await asyncio.sleep(0.01)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert await process.render(other) == render(other)
    await process.close()
