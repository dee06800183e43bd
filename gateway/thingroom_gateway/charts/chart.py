"""What a chart is: plain data, before anything is drawn, and as JSON for the process that draws.

Pure; may import msgspec and series.reading. prepare.py makes charts, draw.py draws them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ChartPoint = tuple[float, float, float, float]
"""When (Unix ms) and the least, mean and greatest value; all three alike for a raw reading."""


class ChartSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or one lane of states, of a chart, in the unit that people read.

    A point stands for `resolution_ms` from its time on (0: an instant). `gaps` are (from, to), Unix ms. `kind` boolean
    is drawn as bands, named by `words` (for "true" and "false"). `decimals` is how exactly people read the values.
    """

    label: str
    unit: str
    points: list[ChartPoint]
    gaps: list[tuple[int, int]] = []
    kind: Literal["number", "boolean"] = "number"
    resolution_ms: int = 0
    decimals: int = 1
    words: dict[str, str] = {}


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A horizontal line at a threshold, in `unit`."""

    value: float
    unit: str
    label: str = ""


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A picture to draw: what it shows from `from_ms` to `to_ms` (Unix ms), read in `timezone` (an IANA name)."""

    title: str
    series: list[ChartSeries]
    from_ms: int
    to_ms: int
    timezone: str = "UTC"
    marks: list[Mark] = []
    width: int = 1000
    height: int = 600
