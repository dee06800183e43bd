"""What is too old or too much goes in small steps; what was stored before there were series comes in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.gateway.gateway_support import TIME, Thing, eventually, gateway
from tests.gateway.series_support import DAY, HOUR, MINUTE, START, Store, every, store

from thingroom_common.database import Database
from thingroom_gateway.config import GatewayConfig, HistoryConfig
from thingroom_gateway.outcomes import Frame
from thingroom_gateway.series import upkeep
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.series.upkeep import Upkeep
from thingroom_gateway.storage import schema_series, series
from thingroom_gateway.storage.schema import MIGRATIONS
from thingroom_gateway.storage.series_upkeep import database_bytes


async def _finish(looking_after: Upkeep) -> int:
    steps = 0
    while await looking_after.step():
        steps += 1
        assert steps < 10_000
    return steps


def _rows(stored: Store) -> list[int]:
    return [
        stored.database.read(lambda c, name=name: int(c.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]))
        for name in ("samples", "history_5min", "history_hour", "history_day")
    ]


async def test_each_level_is_kept_as_long_as_it_should(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        await stored.add(*every(10 * MINUTE, START, START + 20 * DAY, ["20.0"]))
        await stored.add(*every(HOUR, START, START + 20 * DAY, ["on and on"], "state"))
        keep = HistoryConfig(readings_days=2, five_minutes_days=5, hours_days=10, days_days=0)
        upkeep_ = Upkeep(stored.database, stored.recorder, keep, lambda: START + 20 * DAY)
        assert await _finish(upkeep_) > 4
        # The last hour is over this very moment: it waits for what comes a little late.
        assert _rows(stored) == [2 * 144 + 2 * 24, 5 * 144, 10 * 24 - 1, 20]
        assert await upkeep_.step() is False
        # What is left of an old stretch is read from the level that still has it.
        row = stored.kitchen.row.id
        for begin, end, resolution, count in ((18, 20, 0, 288), (16, 18, 300_000, 288), (11, 20, 3_600_000, 9 * 144)):
            found = stored.database.read(
                lambda c, b=begin, e=end: series.read(c, row, "temperature", START + b * DAY, START + e * DAY, 1000)
            )
            assert (found.resolution_ms, found.count) == (resolution, count)
        whole = stored.database.read(lambda c: series.read(c, row, "temperature", START, START + 20 * DAY, 1000))
        assert (whole.resolution_ms, len(whole.points), whole.count) == (DAY, 20, 20 * 144)


async def test_the_last_reading_of_a_silent_device_stays(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        await stored.add(*every(HOUR, START, START + DAY, ["20.0"]))
        keep = HistoryConfig(readings_days=1)
        await _finish(Upkeep(stored.database, stored.recorder, keep, lambda: START + 100 * DAY))
        assert _rows(stored)[0] == 1
        found = stored.database.read(lambda c: series.latest(c, stored.kitchen.row.id))
        assert found["temperature"].ts == START + 23 * HOUR


async def test_the_size_is_kept_by_giving_up_the_oldest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with store(tmp_path) as stored:
        await stored.add(*every(MINUTE, START, START + 30 * DAY, ["20.00", "21.25"]))
        before = stored.database.read(database_bytes)
        keep = HistoryConfig(readings_days=0, max_megabytes=1)
        assert before > 1_500_000
        looking_after = Upkeep(stored.database, stored.recorder, keep, lambda: START + 30 * DAY)
        await _finish(looking_after)
        assert stored.database.read(database_bytes) <= 1_000_000
        raw, five, _, _ = _rows(stored)
        assert 2 * 1440 <= raw < 30 * 1440
        assert five == 30 * 288
        oldest = stored.database.read(lambda c: c.execute("SELECT MIN(time) FROM samples").fetchone()[0])
        assert oldest % DAY == 0
        # With nothing to spare it stays larger, and says so once.
        await stored.add(*every(1000, START + 29 * DAY, START + 30 * DAY, ["20.00"], "humidity"))
        for _ in range(2):
            await _finish(looking_after)
        assert [record.message for record in caplog.records].count(
            "the database is larger than history.max_megabytes (1), and no more of the history can be spared"
        ) == 1
        assert _rows(stored)[0] == 2 * 1440 + 86_400


async def test_a_step_is_small(tmp_path: Path) -> None:
    async with store(tmp_path) as stored:
        await stored.add(*every(MINUTE, START, START + 5 * DAY, ["20.0"]))
        looking_after = Upkeep(
            stored.database, stored.recorder, HistoryConfig(readings_days=1), lambda: START + 50 * DAY
        )
        before = _rows(stored)[0]
        while await looking_after.step():
            now = _rows(stored)[0]
            assert before - now <= upkeep.STEP_ROWS + 1
            before = now
        assert before == 1


async def test_a_database_from_before_the_series_is_filled(config: GatewayConfig) -> None:
    """Envelopes of an earlier version come into the series behind the gateway's back, new ones meanwhile too."""
    thing = Thing()
    async with gateway(config, thing) as running:
        await _send(running.ingest, [thing.envelope(n, thing.pack(200 + n, TIME + n * 1000)) for n in range(1, 301)])
        await eventually(lambda: running.core.counters["coap.accepted"] == 300)
        before = running.core.database.read(_dump)
    assert len(before["samples"]) == 600
    path = config.directory / "gateway.sqlite"
    _take_back(path)
    async with gateway(config) as running:
        await _send(running.ingest, [thing.envelope(301, thing.pack(250, TIME + 301_000))])
        await eventually(lambda: running.core.database.read(_filled))
        after = running.core.database.read(_dump)
    assert len(after["samples"]) == 602
    assert set(before["samples"]) < set(after["samples"])
    # The day is not over: its row is not made yet, and is to be read all the same.
    assert sum(row[8] for row in after["readings_daily"]) == 602


async def _send(ingest, payloads: list[bytes]) -> None:
    class Link:
        left = len(payloads)

        def settled(self, settled) -> None:
            self.left -= len(settled)

        def resume(self) -> None:
            raise AssertionError

    link = Link()
    for payload in payloads:
        assert ingest.offer(Frame("up", payload, "coap"), link)
    await eventually(lambda: link.left == 0)


def _filled(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT COUNT(*) FROM series_to_fill").fetchone()[0] == 0


def _dump(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: [tuple(row) for row in connection.execute(f"SELECT * FROM {name}")]
        for name in ("samples", "readings_daily")
    }


def _take_back(path: Path) -> None:
    """Make the database one of before the series: their tables and the migration are gone."""
    connection = sqlite3.connect(path)
    for kind in ("view", "table"):
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = ?", (kind,)).fetchall():
            if f"{kind.upper()} {name} " in schema_series.MIGRATIONS[0].sql:
                connection.execute(f"DROP {kind} {name}")
    connection.executemany(
        "DELETE FROM schema_migrations WHERE name = ?", [(migration.name,) for migration in schema_series.MIGRATIONS]
    )
    connection.commit()
    connection.close()


async def test_the_migration_names_what_is_to_fill(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    earlier = [migration for migration in MIGRATIONS if migration not in schema_series.MIGRATIONS]
    await (await Database.open(path, earlier)).close()
    connection = sqlite3.connect(path)
    for number in (1, 2):
        connection.execute(
            "INSERT INTO devices (id, kid, device_key, agreement_key, downlink_key, name, place, profile, status,"
            " enrolled_at) VALUES (?1, ?1, x'', x'', x'', '', '', 'climate', 'active', 0)",
            (number,),
        )
    connection.execute("INSERT INTO arrivals VALUES (1, 7, 3), (2, 0, 0)")
    connection.commit()
    connection.close()
    database = await Database.open(path, [*earlier, *schema_series.MIGRATIONS])
    rows = database.read(lambda c: [tuple(row) for row in c.execute("SELECT * FROM series_to_fill")])
    await database.close()
    assert rows == [(1, 0, 7)]


async def test_readings_read_back_from_what_the_envelopes_say(config: GatewayConfig) -> None:
    from thingroom_gateway.series.reading import readings_from_json

    text = (
        '{"sequence":7,"ts":1000,"name":"temperature","unit":"Cel","value":"21.40"},'
        '{"sequence":7,"ts":900,"clock":"drifting","name":"state","value":"a \\"b\\""}'
    )
    assert readings_from_json(text) == [
        SeriesReading("temperature", 1000, "21.40", 0, 7),
        SeriesReading("state", 900, 'a "b"', 1, 7),
    ]
