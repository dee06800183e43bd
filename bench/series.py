"""The time series: what a reading costs to keep, on the processor and on disk, and a chart over a year of minutes.

`python -m bench series` (or `main()`). The year is made through the same Recorder that ingest calls; the charts are
drawn in the process that the gateway starts for them.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
from rich.table import Table
from tests.gateway.series_support import DAY, MINUTE, Store, store

from bench.measure import console, progress
from thingroom_common.database import Transaction
from thingroom_gateway.charts.chart import Chart
from thingroom_gateway.charts.prepare import Wanted, chart_of
from thingroom_gateway.charts.process import ChartProcess
from thingroom_gateway.series.export import Source, as_csv
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.storage import series

YEAR_MINUTES = 365 * 1440
# What ingest commits at once under load.
BATCH = 256

Item = tuple[int, list[SeriesReading]]


def year_of_minutes(seed: int, end: int, minutes: int = YEAR_MINUTES) -> list[list[SeriesReading]]:
    """Batches of a year (or so many minutes) of one-minute readings of two quantities, as a room has them."""
    noise = random.Random(seed)
    batches: list[list[SeriesReading]] = []
    for begin in range(0, minutes, BATCH):
        batch: list[SeriesReading] = []
        for number in range(begin, min(begin + BATCH, minutes)):
            ts = end - (minutes - number) * MINUTE
            day = math.sin(number / 1440 * math.tau)
            batch.append(SeriesReading("temperature", ts, f"{20 + 3 * day + noise.gauss(0, 0.2):.1f}", 0, number))
            batch.append(SeriesReading("humidity", ts, f"{50 - 8 * day + noise.gauss(0, 1):.0f}", 0, number))
        batches.append(batch)
    return batches


async def _insert(stored: Store, batches: Iterable[list[Item]]) -> float:
    """Processor seconds of the writes themselves, which the loop waits for; commits happen in another thread."""
    busy = 0.0
    for batch in batches:

        def write(transaction: Transaction, batch: list[Item] = batch) -> None:
            nonlocal busy
            begin = time.thread_time()
            stored.recorder.add_many(transaction, batch)
            busy += time.thread_time() - begin

        await stored.database.write(write)
    return busy


async def _insert_scattered(directory: Path, devices: int, rounds: int) -> float:
    """The same, each envelope of another device: nothing shares a bucket."""
    now = time.time_ns() // 1_000_000
    async with store(directory, [f"Thing {number}" for number in range(devices)]) as stored:

        def batch(number: int) -> list[Item]:
            ts = now + number * MINUTE
            pair = [SeriesReading("temperature", ts, "20.4", 0, number), SeriesReading("humidity", ts, "45", 0, number)]
            return [(device.row.id, pair) for device in stored.registry]

        await _insert(stored, [batch(0)])
        return await _insert(stored, map(batch, range(1, rounds + 1)))


async def _chart(
    stored: Store, charts: ChartProcess, quantities: list[str], days: int, end: int
) -> tuple[float, float]:
    """Seconds to read and prepare, and to draw."""
    wanted = [Wanted(stored.kitchen, name) for name in quantities]
    begin = time.perf_counter()
    made = await stored.database.read_in_thread(lambda c: chart_of(c, wanted, end - days * DAY, end, "Europe/Berlin"))
    read = time.perf_counter() - begin
    assert isinstance(made, Chart)
    assert all(line.points for line in made.series)
    begin = time.perf_counter()
    picture = await charts.render(made)
    assert picture.startswith(b"\x89PNG")
    return read, time.perf_counter() - begin


async def measure() -> dict[str, float]:
    """The figures by name: seconds, bytes, megabytes."""
    found: dict[str, float] = {}
    end = time.time_ns() // 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        progress("a year of minutes")
        batches = year_of_minutes(1, end)
        readings = sum(map(len, batches))
        async with store(directory) as stored:
            found["insert_us"] = (
                await _insert(stored, [[(stored.kitchen.row.id, batch)] for batch in batches]) / readings * 1e6
            )
            del batches
            path = directory / "gateway.sqlite"
            await stored.database.write(lambda t: None)
            stored.database.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
            found["bytes_per_reading"] = path.stat().st_size / readings
            progress("charts")
            charts = ChartProcess(directory / "cache")
            before = psutil.Process().memory_info().rss
            found["chart_first_read"], found["chart_first_draw"] = await _chart(
                stored, charts, ["temperature"], 365, end
            )
            warm = [await _chart(stored, charts, ["temperature", "humidity"], 365, end) for _ in range(5)]
            found["chart_year_read"] = min(read for read, _ in warm)
            found["chart_year_draw"] = min(draw for _, draw in warm)
            found["chart_week_read"] = (await _chart(stored, charts, ["temperature"], 7, end))[0]
            found["chart_day_read"] = (await _chart(stored, charts, ["temperature"], 1, end))[0]
            assert charts.pid is not None
            found["chart_process_mb"] = psutil.Process(charts.pid).memory_info().rss / 1e6
            found["gateway_grew_mb"] = (psutil.Process().memory_info().rss - before) / 1e6
            await charts.close()
            progress("export")
            row = stored.kitchen.row

            def export(connection: sqlite3.Connection) -> int:
                rows = series.stored_readings(connection, row.id, None, 0, end)
                with (directory / "out.csv").open("w") as file:
                    return sum(file.write(piece) for piece in as_csv([(Source(row.kid, row.name), rows)]))

            begin = time.perf_counter()
            await stored.database.read_in_thread(export)
            found["export_per_second"] = readings / (time.perf_counter() - begin)
        progress("a thousand devices")
        scattered = directory / "scattered"
        scattered.mkdir()
        found["insert_scattered_us"] = await _insert_scattered(scattered, 1000, 20) / 40_000 * 1e6
    progress("")
    return found


def main() -> dict[str, float]:
    found = asyncio.run(measure())
    table = Table(title=f"The time series, {os.cpu_count()} cores", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    for text, key, form in (
        ("a reading into the series, one device's backlog", "insert_us", "{:.2f} µs"),
        ("a reading into the series, each of another device", "insert_scattered_us", "{:.2f} µs"),
        ("a reading on disk, with its history", "bytes_per_reading", "{:.1f} bytes"),
        ("chart of a year of minutes: read and prepare, first", "chart_first_read", "{:.3f} s"),
        ("chart of a year: draw, with the start of the process", "chart_first_draw", "{:.3f} s"),
        ("chart of a year, two quantities: read and prepare", "chart_year_read", "{:.3f} s"),
        ("chart of a year, two quantities: draw", "chart_year_draw", "{:.3f} s"),
        ("chart of a week: read and prepare", "chart_week_read", "{:.3f} s"),
        ("chart of a day: read and prepare", "chart_day_read", "{:.3f} s"),
        ("memory of the process that draws, while it is there", "chart_process_mb", "{:.0f} MB"),
        ("what the gateway's own process grew by", "gateway_grew_mb", "{:.1f} MB"),
        ("export as CSV", "export_per_second", "{:,.0f} readings/s"),
    ):
        table.add_row(text, form.format(found[key]))
    console().print(table)
    return found


if __name__ == "__main__":
    main()
