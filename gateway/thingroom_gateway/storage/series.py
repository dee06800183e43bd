"""The time series in SQLite: readings go in with their envelopes, and come out raw or down-sampled.

May import thingroom_common, devices and series.reading. ingest.py writes through Recorder; charts, the bot, the command
line and the dashboard read with `latest`, `read` and `stored_readings`.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from thingroom_common.database import Transaction
from thingroom_gateway.devices import Registry
from thingroom_gateway.profiles import Quantity
from thingroom_gateway.series.gaps import find_gaps
from thingroom_gateway.series.reading import Point, Reading, Series, SeriesReading
from thingroom_gateway.storage import stamps

FIVE_MINUTES: Final = 300_000
HOUR: Final = 3_600_000
DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Level:
    """A table of down-sampled history and the length of its stretches in ms."""

    table: str
    size: int


LEVELS: Final = (Level("history_5min", FIVE_MINUTES), Level("history_hour", HOUR), Level("history_day", DAY))
# What a point of a chart may stand for, in ms: each divides the next level's size or is a multiple of it.
WIDTHS: Final = (
    *(seconds * 1000 for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 12)),
    *(days * DAY for days in (1, 2, 3, 7, 14, 28, 91, 364)),
)
_OF_KIND: Final = {"number": "CAST(value AS REAL)", "boolean": "(value = 'true')"}
_TRUTH: Final = {"true": 1.0, "false": 0.0}


class SeriesRow(NamedTuple):
    """A row of `series`."""

    id: int
    quantity: str
    unit: str
    kind: str


class StoredReading(NamedTuple):
    """A raw reading as it is kept; `time` in Unix ms, `clock` as in SeriesReading.

    Where the clock was not right the reading was taken between `earliest` (None: not known) and `latest`, Unix ms.
    """

    time: int
    sequence: int
    value: str
    clock: int
    series: SeriesRow
    earliest: int | None = None
    latest: int | None = None


Row = tuple[int, int, int, str, int]
Buckets = dict[tuple[int, int], list[float]]


class Recorder:
    """Adds readings to the series. Knows in memory which series there are, so that a reading costs no look-up."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[int, str], tuple[Quantity | None, int]] = {}
        self._texts: set[int] = set()
        # By series: up to when the hours and days have what the five minutes hold (Unix ms).
        self._merged: dict[int, int] = {}

    def add(self, transaction: Transaction, device_id: int, readings: Sequence[SeriesReading]) -> None:
        """Store the readings of one device, raw and in every level; see `add_many`."""
        self.add_many(transaction, [(device_id, readings)])

    def add_many(self, transaction: Transaction, items: Iterable[tuple[int, Sequence[SeriesReading]]]) -> None:
        """Store readings by device row id. Call it once a write: what shares a bucket then shares its update.

        Of two readings with one device, quantity, time and sequence the first is kept. Raises sqlite3.Error.
        """
        rows: list[Row] = []
        known = self._known
        for device_id, readings in items:
            quantities = self._registry.by_id(device_id).profile.quantities
            for name, ts, value, clock, sequence in readings:
                found = known.get((device_id, name))
                if found is None or found[0] is not quantities.get(name):
                    found = self._look_up(transaction, device_id, name, quantities.get(name), value)
                rows.append((found[1], ts, sequence, value, clock))
        if rows:
            self._add_to_levels(transaction, _insert(transaction, rows))

    def _add_to_levels(self, transaction: Transaction, rows: Iterable[Row]) -> None:
        texts = self._texts
        buckets: Buckets = {}
        for series, ts, _, value, _ in rows:
            if series in texts:
                continue
            number = _TRUTH[value] if value in _TRUTH else float(value)
            key = (series, ts - ts % FIVE_MINUTES)
            bucket = buckets.get(key)
            if bucket is None:
                buckets[key] = [1, number, number, number]
            else:
                _merge(bucket, 1, number, number, number)
        add_buckets(transaction, LEVELS[0], buckets)
        merged = self._merged
        late = {key: values for key, values in buckets.items() if key[1] < merged[key[0]]}
        if late:
            self._add_to_coarser(transaction, late)

    @staticmethod
    def _add_to_coarser(transaction: Transaction, buckets: Buckets) -> None:
        for level in LEVELS[1:]:
            buckets = _coarser(buckets, level.size)
            add_buckets(transaction, level, buckets)

    def merge(self, transaction: Transaction, before_ms: int, most_series: int, most_rows: int) -> int:
        """Bring hours and days along, up to the last full hour before `before_ms` (Unix ms), a part of it at a time.

        At most so many series, and about so many rows of each; returns how many series were behind, 0 when all is done.
        """
        until = before_ms - before_ms % HOUR
        behind = transaction.execute(
            "SELECT id, merged FROM series WHERE merged < ? ORDER BY merged LIMIT ?", (until, most_series)
        ).fetchall()
        for series, merged in behind:
            rows = transaction.execute(
                "SELECT start, count, total, minimum, maximum FROM history_5min WHERE series = ? AND start >= ?"
                " AND start < ? ORDER BY start LIMIT ?",
                (series, merged, until, most_rows),
            ).fetchall()
            # A whole number of hours: the last one may have been cut.
            reached = until if len(rows) < most_rows else rows[-1][0] - rows[-1][0] % HOUR
            buckets: Buckets = {(series, row[0]): list(row[1:]) for row in rows if row[0] < reached}
            self._add_to_coarser(transaction, buckets)
            transaction.execute("UPDATE series SET merged = ? WHERE id = ?", (reached, series))
            if series in self._merged:
                self._merged[series] = reached
                transaction.after_rollback(partial(self._merged.__setitem__, series, merged))
        return len(behind)

    def _look_up(
        self, transaction: Transaction, device_id: int, name: str, quantity: Quantity | None, value: str
    ) -> tuple[Quantity | None, int]:
        unit = (quantity.unit or "") if quantity else ""
        kind = quantity.kind if quantity else _kind_of(value)
        where = (device_id, name, unit, kind)
        row = transaction.execute(
            "SELECT id, merged FROM series WHERE device = ? AND quantity = ? AND unit = ? AND kind = ?", where
        ).fetchone()
        if row is None:
            row = transaction.execute(
                "INSERT INTO series (device, quantity, unit, kind) VALUES (?, ?, ?, ?) RETURNING id, merged", where
            ).fetchone()
            transaction.after_rollback(lambda: self._forget(device_id, name))
        self._merged[int(row[0])] = int(row[1])
        found = (quantity, int(row[0]))
        self._known[device_id, name] = found
        if kind == "text":
            self._texts.add(found[1])
        return found

    def _forget(self, device_id: int, name: str) -> None:
        gone = self._known.pop((device_id, name), None)
        if gone is not None:
            self._texts.discard(gone[1])


def _kind_of(value: str) -> str:
    """The kind of a quantity that no profile describes any more."""
    if value in _TRUTH:
        return "boolean"
    return "number" if value.removeprefix("-").replace(".", "", 1).isdecimal() and value.isascii() else "text"


def _insert(transaction: Transaction, rows: list[Row]) -> list[Row]:
    """Insert raw readings; returns those that were new. All at once, and past each one that is there already."""
    kept: list[Row] = []
    before = _changes(transaction)
    while rows:
        try:
            transaction.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            # The rows before the one that failed are in.
            now = _changes(transaction)
            done, before = now - before, now
            kept += rows[:done]
            rows = rows[done + 1 :]
        else:
            return kept + rows
    return kept


def _changes(transaction: Transaction) -> int:
    return int(transaction.execute("SELECT total_changes()").fetchone()[0])


def _merge(bucket: list[float], count: float, total: float, minimum: float, maximum: float) -> None:
    bucket[0] += count
    bucket[1] += total
    if minimum < bucket[2]:
        bucket[2] = minimum
    if maximum > bucket[3]:
        bucket[3] = maximum


def _coarser(buckets: Buckets, size: int) -> Buckets:
    coarse: Buckets = {}
    for (series, start), values in buckets.items():
        key = (series, start - start % size)
        bucket = coarse.get(key)
        if bucket is None:
            coarse[key] = list(values)
        else:
            _merge(bucket, values[0], values[1], values[2], values[3])
    return coarse


def add_buckets(transaction: Transaction, level: Level, buckets: Buckets) -> None:
    """Add to a level: (series, start) -> [count, total, minimum, maximum]."""
    if not buckets:
        return
    transaction.executemany(
        f"INSERT INTO {level.table} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"  # noqa: S608
        " count = count + excluded.count, total = total + excluded.total,"
        " minimum = MIN(minimum, excluded.minimum), maximum = MAX(maximum, excluded.maximum)",
        [
            (series, start, int(count), total, minimum, maximum)
            for (series, start), (count, total, minimum, maximum) in buckets.items()
        ],
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def series_of(connection: sqlite3.Connection, device_id: int, quantity: str | None = None) -> list[SeriesRow]:
    """The series of a device (of one quantity), oldest first: more than one where a profile changed its unit."""
    rows = connection.execute(
        "SELECT id, quantity, unit, kind FROM series WHERE device = ?1 AND (?2 IS NULL OR quantity = ?2) ORDER BY id",
        (device_id, quantity),
    )
    return [SeriesRow(*row) for row in rows]


def latest(connection: sqlite3.Connection, device_id: int, until_ms: int | None = None) -> dict[str, Reading]:
    """The newest value of each quantity; with `until_ms` of those not later (a clock may run ahead)."""
    found: dict[str, Reading] = {}
    for series in series_of(connection, device_id):
        row = connection.execute(
            "SELECT time, value FROM samples WHERE series = ? AND time <= ? ORDER BY time DESC, sequence DESC LIMIT 1",
            (series.id, (1 << 62) if until_ms is None else until_ms),
        ).fetchone()
        if row is not None:
            found[series.quantity] = Reading(row[0], row[1], series.unit, series.kind)
    return found


def read(
    connection: sqlite3.Connection,
    device_id: int,
    quantity: str,
    from_ms: int,
    to_ms: int,
    points: int = 600,
    expected_ms: int | None = None,
) -> Series:
    """A quantity from `from_ms` up to, not including, `to_ms` (Unix ms), in about `points` points or fewer.

    Raw where that is at most half as many again, else down-sampled. `expected_ms` is how far apart readings should be,
    for the gaps; without it that is judged by the readings. Of texts, and of what nobody measured, there are no points.
    """
    rows = series_of(connection, device_id, quantity)
    if not rows or rows[-1].kind == "text":
        return Series(quantity, rows[-1].unit if rows else "", rows[-1].kind if rows else "number")
    row = rows[-1]
    width = _fitting_width(max(1, to_ms - from_ms), max(1, points))
    level = _level(connection, row, from_ms, to_ms, width, points + points // 2)
    if level is None:
        found, width = _raw(connection, row, from_ms, to_ms), 0
        count = len(found)
    else:
        width = max(width, level.size)
        found, count = _grouped(connection, row, from_ms, to_ms, width, level)
    wanted = row.kind != "boolean" or expected_ms is not None
    holes = find_gaps([point.ts for point in found], width, expected_ms) if wanted else []
    return Series(quantity, row.unit, row.kind, found, holes, width, count)


RAW: Final = Level("samples", 1)


def _fitting_width(range_ms: int, points: int) -> int:
    """The shortest of WIDTHS that cuts the range into at most `points` stretches."""
    return next((width for width in WIDTHS if range_ms <= width * points), WIDTHS[-1])


def _level(
    connection: sqlite3.Connection, row: SeriesRow, from_ms: int, to_ms: int, width: int, few: int
) -> Level | None:
    """Where to read from; None for every raw reading as it is."""
    reach = [_oldest(connection, RAW, row), *(_oldest(connection, level, row) for level in LEVELS)]
    ladder = (RAW, *LEVELS)

    def reaches(rung: int) -> bool:
        """Whether this level goes back as far as the range, or as any coarser one does."""
        own = reach[rung]
        if own is None:
            return False
        return own <= from_ms or all(
            other is None or own < other + coarser.size
            for coarser, other in zip(ladder[rung + 1 :], reach[rung + 1 :], strict=True)
        )

    if reaches(0) and count_readings(connection, row, from_ms, to_ms, few + 1) <= few:
        return None
    fitting = max(rung for rung, level in enumerate(ladder) if width % level.size == 0)
    finer = [rung for rung in range(fitting, -1, -1) if reaches(rung)]
    coarser = [rung for rung in range(fitting + 1, len(ladder)) if reaches(rung)]
    return ladder[(finer[:1] if finer[:1] == [fitting] else coarser or finer or [fitting])[0]]


def _oldest(connection: sqlite3.Connection, level: Level, row: SeriesRow) -> int | None:
    column = "time" if level is RAW else "start"
    found = connection.execute(
        f"SELECT MIN({column}) FROM {level.table} WHERE series = ?",  # noqa: S608
        (row.id,),
    ).fetchone()[0]
    return None if found is None else int(found)


def _raw(connection: sqlite3.Connection, row: SeriesRow, from_ms: int, to_ms: int) -> list[Point]:
    found = connection.execute(
        f"SELECT time, {_OF_KIND[row.kind]} FROM samples WHERE series = ? AND time >= ? AND time < ?"  # noqa: S608
        " ORDER BY time, sequence",
        (row.id, from_ms, to_ms),
    )
    return [Point(time, value, value, value) for time, value in found]


def _grouped(
    connection: sqlite3.Connection, row: SeriesRow, from_ms: int, to_ms: int, width: int, level: Level
) -> tuple[list[Point], int]:
    if level is RAW:
        value = _OF_KIND[row.kind]
        columns, time = f"MIN({value}), SUM({value}), MAX({value}), COUNT(*)", "time"
        source = "samples WHERE series = ?1 AND time >= ?2 AND time < ?3"
    else:
        columns, time, source = "MIN(minimum), SUM(total), MAX(maximum), SUM(count)", "start", _stretches(level)
    found = connection.execute(
        f"SELECT {time} / ?4 * ?4, {columns} FROM {source} GROUP BY 1 ORDER BY 1",  # noqa: S608
        (row.id, from_ms - from_ms % level.size, -(-to_ms // level.size) * level.size, width),
    ).fetchall()
    points = [Point(start, least, total / count, most) for start, least, total, most, count in found]
    return points, sum(one[4] for one in found)


def _stretches(level: Level) -> str:
    """Where the rows of a level are, of series ?1 from ?2 up to ?3, whole stretches: what is not merged yet counts."""
    chosen = "series = ?1 AND start < ?3 AND start >="
    columns = "start, count, total, minimum, maximum"
    if level is LEVELS[0]:
        return f"{level.table} WHERE {chosen} ?2"
    return (
        f"(SELECT {columns} FROM {level.table} WHERE {chosen} ?2 UNION ALL"  # noqa: S608
        f" SELECT {columns} FROM {LEVELS[0].table} WHERE {chosen}"
        " MAX(?2, (SELECT merged FROM series WHERE id = ?1)))"
    )


def buckets(
    connection: sqlite3.Connection, row: SeriesRow, from_ms: int, to_ms: int, width: int
) -> list[tuple[int, int, float, float, float]]:
    """(start, count, total, minimum, maximum) from a level that is not coarser than `width` ms where there is one.

    For tables that put them together again by local days or months. Not for texts.
    """
    fitting = max((level for level in LEVELS if level.size <= width), key=lambda level: level.size, default=LEVELS[0])
    level = _level(connection, row, from_ms, to_ms, fitting.size, -1) or LEVELS[0]
    level = level if level in LEVELS else LEVELS[0]
    found = connection.execute(
        "SELECT start / ?4 * ?4, SUM(count), SUM(total), MIN(minimum), MAX(maximum)"  # noqa: S608
        f" FROM {_stretches(level)} GROUP BY 1 ORDER BY 1",
        (row.id, from_ms - from_ms % level.size, -(-to_ms // level.size) * level.size, level.size),
    )
    return [tuple(one) for one in found]


def count_readings(connection: sqlite3.Connection, row: SeriesRow, from_ms: int, to_ms: int, most: int = -1) -> int:
    """How many raw readings there are, counted up to `most` if that is not negative."""
    found = connection.execute(
        "SELECT COUNT(*) FROM (SELECT 1 FROM samples WHERE series = ? AND time >= ? AND time < ? LIMIT ?)",
        (row.id, from_ms, to_ms, most),
    ).fetchone()[0]
    return int(found)


def stored_readings(
    connection: sqlite3.Connection, device_id: int, quantity: str | None, from_ms: int, to_ms: int
) -> Iterator[StoredReading]:
    """Every raw reading of a device (of one quantity) in order of time; they stream, whatever their number."""
    moments = stamps.moments(connection, device_id)

    def of(series: SeriesRow) -> Iterator[StoredReading]:
        for row in connection.execute(
            "SELECT time, sequence, value, clock FROM samples WHERE series = ? AND time >= ? AND time < ?"
            " ORDER BY time, sequence",
            (series.id, from_ms, to_ms),
        ):
            moment = moments.get(row[1]) if row[3] else None
            if moment is None:
                yield StoredReading(row[0], row[1], row[2], row[3], series)
                continue
            since = row[0] - moment.base
            earliest = None if moment.earliest is None else moment.earliest + since
            yield StoredReading(row[0], row[1], row[2], row[3], series, earliest, moment.latest + since)

    return heapq.merge(
        *(of(series) for series in series_of(connection, device_id, quantity)), key=attrgetter("time", "sequence")
    )
