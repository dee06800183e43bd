"""The tables of the time series: every reading, its down-sampled history, and views for people's own tools.

May import thingroom_common. storage/series.py has the statements; schema.py adds this to the other migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

_BUCKETS: Final = """
CREATE TABLE {table} (
    series INTEGER NOT NULL REFERENCES series,
    start INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total REAL NOT NULL,
    minimum REAL NOT NULL,
    maximum REAL NOT NULL,
    PRIMARY KEY (series, start)
) WITHOUT ROWID;
CREATE VIEW {view} AS
SELECT lower(hex(d.kid)) AS device, d.name AS name, s.quantity AS quantity, s.unit AS unit,
    strftime('%Y-%m-%dT%H:%M:%SZ', b.start / 1000, 'unixepoch') AS time,
    b.minimum AS minimum, b.total / b.count AS mean, b.maximum AS maximum, b.count AS count
FROM {table} b JOIN series s ON s.id = b.series JOIN devices d ON d.id = s.device;
"""

_RAW: Final = """
-- One quantity of one device in one unit. `kind` is number, boolean or text.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES devices,
    quantity TEXT NOT NULL,
    unit TEXT NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (device, quantity, unit, kind)
);
-- Every reading. `time` is Unix ms; `sequence` tells envelopes of the same instant apart; `value` is the exact text;
-- `clock` is 0 synchronised, 1 drifting, 2 unset.
CREATE TABLE samples (
    series INTEGER NOT NULL REFERENCES series,
    time INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    value TEXT NOT NULL,
    clock INTEGER NOT NULL,
    PRIMARY KEY (series, time, sequence)
) WITHOUT ROWID;
CREATE VIEW readings AS
SELECT lower(hex(d.kid)) AS device, d.name AS name, s.quantity AS quantity, s.unit AS unit,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.time / 1000.0, 'unixepoch') AS time, r.value AS value,
    CASE s.kind WHEN 'number' THEN CAST(r.value AS REAL) WHEN 'boolean' THEN r.value = 'true' END AS number,
    CASE r.clock WHEN 0 THEN 'synchronised' WHEN 1 THEN 'drifting' ELSE 'unset' END AS clock,
    r.sequence AS sequence
FROM samples r JOIN series s ON s.id = r.series JOIN devices d ON d.id = s.device;
-- Of numbers and booleans (false 0, true 1): what each five minutes, hour and day (UTC) held. `start` is Unix ms.
"""

_TO_FILL: Final = """
-- Envelopes that were stored before there were series: of each device those after `done` up to `goal` (arrivals).
CREATE TABLE series_to_fill (
    device INTEGER PRIMARY KEY REFERENCES devices,
    done INTEGER NOT NULL,
    goal INTEGER NOT NULL
);
INSERT INTO series_to_fill SELECT device, 0, stored FROM arrivals WHERE stored > 0;
"""

_LEVELS: Final = (
    ("history_5min", "readings_5min"),
    ("history_hour", "readings_hourly"),
    ("history_day", "readings_daily"),
)

_MERGED: Final = """
-- Hours and days get what the five minutes hold when the hour is over: up to `merged` (Unix ms) it is in all of them,
-- from there on in the five minutes only. What comes late goes into all at once.
ALTER TABLE series ADD COLUMN merged INTEGER NOT NULL DEFAULT 0;
UPDATE series SET merged = COALESCE(
    (SELECT MAX(start) / 3600000 * 3600000 + 3600000 FROM history_5min WHERE series = series.id), 0);
CREATE INDEX series_merged ON series (merged);
"""

_WITH_OPEN: Final = """
DROP VIEW {view};
CREATE VIEW {view} AS
SELECT lower(hex(d.kid)) AS device, d.name AS name, s.quantity AS quantity, s.unit AS unit,
    strftime('%Y-%m-%dT%H:%M:%SZ', b.begun / 1000, 'unixepoch') AS time,
    MIN(b.minimum) AS minimum, SUM(b.total) / SUM(b.count) AS mean, MAX(b.maximum) AS maximum, SUM(b.count) AS count
FROM (
    SELECT series, start AS begun, count, total, minimum, maximum FROM {table}
    UNION ALL
    SELECT f.series, f.start / {size} * {size}, f.count, f.total, f.minimum, f.maximum
    FROM history_5min f JOIN series o ON o.id = f.series WHERE f.start >= o.merged
) b JOIN series s ON s.id = b.series JOIN devices d ON d.id = s.device GROUP BY b.series, b.begun;
"""

_OPEN_LEVELS: Final = (
    {"table": "history_hour", "view": "readings_hourly", "size": 3_600_000},
    {"table": "history_day", "view": "readings_daily", "size": 86_400_000},
)

MIGRATIONS: Final = [
    Migration(
        "series_0001",
        "".join([_RAW, *(_BUCKETS.format(table=table, view=view) for table, view in _LEVELS), _TO_FILL]),
    ),
    # A clock that is ahead of ours has its name.
    Migration(
        "series_0002",
        """
DROP VIEW readings;
CREATE VIEW readings AS
SELECT lower(hex(d.kid)) AS device, d.name AS name, s.quantity AS quantity, s.unit AS unit,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.time / 1000.0, 'unixepoch') AS time, r.value AS value,
    CASE s.kind WHEN 'number' THEN CAST(r.value AS REAL) WHEN 'boolean' THEN r.value = 'true' END AS number,
    CASE r.clock WHEN 0 THEN 'synchronised' WHEN 1 THEN 'drifting' WHEN 2 THEN 'unset' ELSE 'ahead' END AS clock,
    r.sequence AS sequence
FROM samples r JOIN series s ON s.id = r.series JOIN devices d ON d.id = s.device;
""",
    ),
    Migration("series_0003", _MERGED + "".join(_WITH_OPEN.format(**of) for of in _OPEN_LEVELS)),
]
