"""What travels into and out of the time series: plain values, no SQL.

Pure; imports the standard library only. observation.py makes SeriesReading, storage/series.py gives the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class SeriesReading(NamedTuple):
    """One value of one quantity on its way into the series.

    `ts_ms` is Unix ms; `value` the exact text (a decimal, "true"/"false", or text); `clock` as in the envelope: 0
    synchronised, 1 drifting, 2 unset, and 3 ahead of ours (stamps.py); `sequence` the envelope's, or the gateway's own
    number for attested readings.
    """

    quantity: str
    ts_ms: int
    value: str
    clock: int
    sequence: int


_CLOCKS: Final = {"drifting": 1, "unset": 2, "ahead": 3}


def readings_from_json(text: str) -> list[SeriesReading]:
    """What `Observation.readings` says, read back: JSON objects separated by commas."""
    return [
        SeriesReading(
            one["name"], one["ts"], one["value"], _CLOCKS.get(one.get("clock", ""), 0), one.get("sequence", 0)
        )
        for one in json.loads(f"[{text}]")
    ]


class Reading(NamedTuple):
    """A stored value: `ts` in Unix ms, the exact text, the SenML unit ("" for none), the kind as in profiles."""

    ts: int
    value: str
    unit: str
    kind: str


class Point(NamedTuple):
    """What a stretch of time from `ts` (Unix ms) on held; of a raw reading all three are its value."""

    ts: int
    minimum: float
    mean: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Series:
    """A quantity of a device over a range of time, for people: charts and tables.

    `points` ascend in time. `resolution_ms` is 0 where they are the raw readings, else the length of each point's
    stretch. `gaps` are (from, to) in Unix ms where readings were expected and are missing. `count` is how many readings
    the points stand for. `kind` is number or boolean (false 0, true 1); `unit` the SenML unit.
    """

    quantity: str
    unit: str
    kind: str
    points: list[Point] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    resolution_ms: int = 0
    count: int = 0
