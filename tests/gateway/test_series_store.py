"""The series: what goes in comes out, down-sampled or not, in whatever order it arrived."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.series_support import DAY, HOUR, MINUTE, START, every, store

from thingroom_gateway.series.gaps import find_gaps
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.storage import series
from thingroom_gateway.storage.series import LEVELS

_readings = st.lists(
    st.tuples(
        st.sampled_from(["temperature", "humidity", "door", "state"]),
        st.one_of(st.integers(0, 3 * DAY), st.integers(0, 3 * HOUR)),
        st.integers(-9_999_999, 9_999_999),
        st.integers(1, 5),
    ),
    max_size=60,
)


def _reading(quantity: str, offset: int, number: int, sequence: int) -> SeriesReading:
    value = f"{'-' if number < 0 else ''}{abs(number) // 1000}.{abs(number) % 1000:03}"
    if quantity == "door":
        value = "true" if number % 2 else "false"
    elif quantity == "state":
        value = f"state {number}"
    return SeriesReading(quantity, START + offset, value, number % 3, sequence)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=_readings, cuts=st.lists(st.integers(0, 60), max_size=4), seed=st.randoms(use_true_random=False))
async def test_down_sampled_is_what_the_raw_readings_give_in_any_order(readings, cuts, seed) -> None:
    """Each level equals what is recomputed of the raw readings, for any arrival order and any cut into writes."""
    arriving = [_reading(*one) for one in readings]
    seed.shuffle(arriving)
    kept: dict[tuple[str, int, int], SeriesReading] = {}
    for one in arriving:
        kept.setdefault((one.quantity, one.ts_ms, one.sequence), one)
    with tempfile.TemporaryDirectory() as directory:
        async with store(Path(directory)) as stored:
            open_hours: dict[int, dict[tuple[str, int], int]] = {}
            edges = [0, *sorted(min(cut, len(arriving)) for cut in cuts), len(arriving)]
            for begin, end in pairwise(edges):
                await stored.add(*arriving[begin:end])
                # Hours are brought along now and then, also too early: what comes after that is late.
                if seed.random() < 0.5:
                    before, most = START + seed.randrange(9 * DAY), seed.randrange(1, 4)
                    await stored.database.write(
                        partial(stored.recorder.merge, before_ms=before, most_series=most, most_rows=13)
                    )
            raw = list(
                stored.database.read(
                    lambda c: list(series.stored_readings(c, stored.kitchen.row.id, None, 0, START + 9 * DAY))
                )
            )
            assert [(r.time, r.sequence) for r in raw] == sorted((r.time, r.sequence) for r in raw)
            assert {(r.series.quantity, r.time, r.sequence, r.value, r.clock) for r in raw} == {
                (one.quantity, one.ts_ms, one.sequence, one.value, one.clock) for one in kept.values()
            }
            of_all = stored.database.read(lambda c: series.series_of(c, stored.kitchen.row.id))
            for level in LEVELS:
                open_hours[level.size] = {
                    (one.quantity, row[0]): row[1]
                    for one in of_all
                    if one.kind != "text"
                    for row in stored.database.read(lambda c, one=one, level=level: _level_rows(c, one, level))
                }
            while await stored.database.write(lambda t: stored.recorder.merge(t, START + 20 * DAY, 2, 13)):
                continue
            for level in LEVELS:
                expected: dict[tuple[str, int], list[float]] = defaultdict(list)
                for one in kept.values():
                    if one.quantity != "state":
                        number = {"true": 1.0, "false": 0.0}.get(one.value)
                        number = float(one.value) if number is None else number
                        expected[one.quantity, one.ts_ms - one.ts_ms % level.size].append(number)
                rows = stored.database.read(
                    lambda c, level=level: c.execute(
                        f"SELECT quantity, start, count, total, minimum, maximum FROM {level.table}"
                        " JOIN series ON series.id = series"
                    ).fetchall()
                )
                assert {(row[0], row[1]) for row in rows} == set(expected)
                # And the same was to be read before all hours were in.
                assert open_hours[level.size] == {key: len(values) for key, values in expected.items()}
                for quantity, start, count, total, minimum, maximum in rows:
                    values = expected[quantity, start]
                    assert (count, minimum, maximum) == (len(values), min(values), max(values))
                    assert total == pytest.approx(sum(values), rel=1e-9, abs=1e-9)


def _level_rows(connection, one, level):
    """(start, count) of a level over the whole time, as readers get them."""
    found, _ = series._grouped(connection, one, START - 9 * DAY, START + 20 * DAY, level.size, level)
    counted = connection.execute(
        f"SELECT start / ?4 * ?4, SUM(count) FROM {series._stretches(level)} GROUP BY 1",
        (one.id, START - 9 * DAY, START + 20 * DAY, level.size),
    ).fetchall()
    assert [point.ts for point in found] == sorted(row[0] for row in counted)
    return [tuple(row) for row in counted]


async def test_an_hour_that_is_open_is_read_as_it_stands(tmp_path: Path) -> None:
    """A day by days, an hour by hours, before and after the hour is over, and with what comes late; killed or not."""
    async with store(tmp_path) as stored:
        row = stored.kitchen.row.id
        ticks = [SeriesReading("temperature", START + n * MINUTE, str(n), 0, n + 1) for n in range(0, 180, 10)]

        def seen(width: int) -> list[tuple[int, float]]:
            (one,) = stored.database.read(lambda c: series.series_of(c, row, "temperature"))
            level = next(level for level in LEVELS if level.size == width)
            found, _ = stored.database.read(lambda c: series._grouped(c, one, START, START + DAY, width, level))
            return [(point.ts, point.maximum) for point in found]

        for number, tick in enumerate(ticks):
            await stored.add(tick)
            assert seen(DAY) == [(START, float(tick.value))]
            assert seen(HOUR)[-1] == (START + number // 6 * HOUR, float(tick.value))
            await stored.database.write(lambda t, tick=tick: stored.recorder.merge(t, tick.ts_ms, 10, 500))
            assert seen(DAY) == [(START, float(tick.value))]
        await stored.add(SeriesReading("temperature", START + 5 * MINUTE, "900", 0, 999))
        assert seen(DAY) == [(START, 900.0)] and seen(HOUR)[0] == (START, 900.0)

        def fail(transaction) -> None:
            stored.recorder.merge(transaction, START + DAY, 10, 500)
            raise ValueError

        with pytest.raises(ValueError):
            await stored.database.write(fail)
        await stored.add(SeriesReading("temperature", START + 175 * MINUTE, "950", 0, 1000))
        assert seen(DAY) == [(START, 950.0)] and seen(HOUR)[-1] == (START + 2 * HOUR, 950.0)


async def test_a_failed_write_leaves_nothing_and_is_not_remembered(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        row = stored.kitchen.row.id

        def fail(transaction) -> None:
            stored.recorder.add(transaction, row, [SeriesReading("temperature", START, "21.0", 0, 1)])
            raise ValueError

        with pytest.raises(ValueError):
            await stored.database.write(fail)
        assert stored.database.read(lambda c: c.execute("SELECT COUNT(*) FROM series").fetchone()[0]) == 0
        await stored.add(SeriesReading("temperature", START, "21.40", 1, 1))
        assert stored.database.read(lambda c: series.latest(c, row)) == {
            "temperature": (START, "21.40", "Cel", "number")
        }


async def test_what_is_latest_is_by_time_and_not_by_arrival(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        row = stored.kitchen.row.id
        await stored.add(
            SeriesReading("temperature", START + 9, "21.5", 0, 5),
            SeriesReading("temperature", START + DAY, "99", 0, 6),
            SeriesReading("door", START, "true", 0, 2),
        )
        await stored.add(SeriesReading("temperature", START + 3, "20.5", 0, 1))
        found = stored.database.read(lambda c: series.latest(c, row, START + HOUR))
        assert {name: one.value for name, one in found.items()} == {"temperature": "21.5", "door": "true"}
        assert stored.database.read(lambda c: series.latest(c, row))["temperature"].value == "99"


async def test_a_range_is_raw_where_that_is_little_and_down_sampled_where_not(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        row = stored.kitchen.row.id
        await stored.add(*every(MINUTE, START, START + 40 * DAY, ["20.0", "21.0", "22.0", "21.0"]))

        def read(begin: int, end: int, points: int = 500) -> series.Series:
            return stored.database.read(lambda c: series.read(c, row, "temperature", begin, end, points))

        hour = read(START + DAY, START + DAY + HOUR)
        assert (hour.resolution_ms, len(hour.points), hour.gaps) == (0, 60, [])
        assert hour.points[1] == (START + DAY + MINUTE, 21.0, 21.0, 21.0)
        for days, resolution in ((1, 3 * MINUTE), (7, 30 * MINUTE), (40, 2 * HOUR)):
            found = read(START, START + days * DAY)
            assert found.resolution_ms == resolution
            assert len(found.points) == days * DAY // resolution <= 500
            assert found.count == days * 1440
            assert found.gaps == []
            assert all(point.minimum <= point.mean <= point.maximum for point in found.points)
            assert found.points[5].mean == pytest.approx(21.0, abs=0.4)
        assert read(START - DAY, START).points == []
        nothing = stored.database.read(lambda c: series.read(c, row, "humidity", START, START + DAY))
        assert (nothing.points, nothing.unit) == ([], "")


async def test_gaps_are_found_raw_and_down_sampled(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        row = stored.kitchen.row.id
        await stored.add(*every(MINUTE, START, START + 6 * HOUR, ["20.0"]))
        await stored.add(*every(MINUTE, START + 10 * HOUR, START + DAY, ["20.0"]))
        for points in (2000, 100):
            [gap] = stored.database.read(
                lambda c, points=points: series.read(c, row, "temperature", START, START + DAY, points)
            ).gaps
            assert gap == pytest.approx((START + 6 * HOUR, START + 10 * HOUR), abs=15 * MINUTE)


def test_what_is_a_gap() -> None:
    minutes = [number * MINUTE for number in range(20)]
    assert find_gaps(minutes, 0) == []
    assert find_gaps(minutes[:5] + minutes[12:], 0) == [(4 * MINUTE, 12 * MINUTE)]
    assert find_gaps(minutes[:5] + minutes[7:], 0, MINUTE) == []
    assert find_gaps(minutes[:5] + minutes[9:], 0, MINUTE) == [(4 * MINUTE, 9 * MINUTE)]
    assert find_gaps(minutes[:5] + minutes[9:], 0, 10 * MINUTE) == []
    assert find_gaps([0, MINUTE, 3 * MINUTE], MINUTE) == [(2 * MINUTE, 3 * MINUTE)]
    # A sensor that speaks when something changes has no gaps that anybody could tell.
    assert find_gaps([0, 7, 8, 40, 41, 90, 160, 161, 300], 0) == []
    assert find_gaps([0, HOUR], 0) == find_gaps([5], 0) == find_gaps([], 0) == []


async def test_the_tables_read_well_with_other_tools(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        await stored.add(
            SeriesReading("temperature", START + 1, "21.40", 1, 1), SeriesReading("door", START + 2, "true", 0, 1)
        )
        kid = stored.kitchen.kid_hex
    connection = sqlite3.connect(tmp_path / "gateway.sqlite")
    rows = connection.execute("SELECT * FROM readings ORDER BY time").fetchall()
    assert rows == [
        (kid, "Kitchen", "temperature", "Cel", "2026-11-15T00:00:00.001Z", "21.40", 21.4, "drifting", 1),
        (kid, "Kitchen", "door", "", "2026-11-15T00:00:00.002Z", "true", 1, "synchronised", 1),
    ]
    for view in ("readings_5min", "readings_hourly", "readings_daily"):
        row = connection.execute(f"SELECT * FROM {view} WHERE quantity = 'temperature'").fetchone()
        assert row == (kid, "Kitchen", "temperature", "Cel", "2026-11-15T00:00:00Z", 21.4, 21.4, 21.4, 1)
    connection.close()
