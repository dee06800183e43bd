"""Readings as CSV, JSON lines and SenML (RFC 8428): exact values, times in UTC, streamed.

Pure: readings in, pieces of text out; may import storage.series for its rows' types, units and thingroom_wire. The
command line and the bot write the pieces where they belong.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from thingroom_gateway.storage.series import StoredReading
from thingroom_gateway.units import UNITS
from thingroom_wire.keys import base_name, eui64_from_key_id

# RFC 9100: version 10 plus 2 to the power of feature 4, secondary units.
SECONDARY_UNITS_VERSION: Final = 26
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS: Final = ("", "drifting", "unset", "ahead")
_LINES: Final = 500


@dataclass(frozen=True, slots=True)
class Source:
    """Whose readings follow: the key id, the name that people gave, and the units that occur."""

    kid: bytes
    name: str
    units: frozenset[str] = frozenset()


Readings = Sequence[tuple[Source, Iterable[StoredReading]]]


def iso_time(ts: int) -> str:
    """Unix ms as "2026-11-20T18:00:00.000Z"."""
    return (_EPOCH + timedelta(milliseconds=ts)).strftime("%Y-%m-%dT%H:%M:%S") + f".{ts % 1000:03}Z"


def as_csv(readings: Readings) -> Iterator[str]:
    """RFC 4180 with a line of titles; the value exactly as it was stored."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("device", "name", "quantity", "unit", "time", "value", "clock", "sequence", "earliest", "latest"))
    lines = 0
    for source, rows in readings:
        kid = source.kid.hex()
        for time, sequence, value, clock, series, earliest, latest in rows:
            between = ("" if earliest is None else iso_time(earliest), "" if latest is None else iso_time(latest))
            about = (kid, source.name, series.quantity, series.unit, iso_time(time), value, _CLOCKS[clock], sequence)
            writer.writerow((*about, *between))
            lines += 1
            if lines % _LINES == 0:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


def as_json_lines(readings: Readings) -> Iterator[str]:
    """One JSON object a line; a number has the very digits that the device sent."""
    for source, rows in readings:
        head = f'{{"device":"{source.kid.hex()}","name":{json.dumps(source.name)},'
        for time, sequence, value, clock, series, earliest, latest in rows:
            unit = f'"unit":{json.dumps(series.unit)},' if series.unit else ""
            state = f'"clock":"{_CLOCKS[clock]}",' if clock else ""
            state += f'"earliest":"{iso_time(earliest)}",' if earliest is not None else ""
            state += f'"latest":"{iso_time(latest)}",' if latest is not None else ""
            yield (
                f'{head}"quantity":"{series.quantity}",{unit}"time":"{iso_time(time)}",{state}'
                f'"sequence":{sequence},"value":{_json_value(series.kind, value)}}}\n'
            )


def as_senml(readings: Readings) -> Iterator[str]:
    """One pack of SenML JSON: a base name for each device, absolute times in seconds, units that are registered.

    With a secondary unit (RFC 8798) in it the pack says the version that has them (RFC 9100).
    """
    secondary = any(UNITS[unit].secondary for source, _ in readings for unit in source.units if unit in UNITS)
    yield "["
    first = True
    for source, rows in readings:
        fresh = True
        for time, _, value, _, series, *_ in rows:
            head = ""
            if fresh:
                base = base_name(eui64_from_key_id(source.kid))
                version = f'"bver":{SECONDARY_UNITS_VERSION},' if first and secondary else ""
                head = f'"bn":{json.dumps(base)},{version}'
            unit = f'"u":{json.dumps(series.unit)},' if series.unit in UNITS else ""
            label = {"number": "v", "boolean": "vb", "text": "vs"}[series.kind]
            seconds = f"{time // 1000}.{time % 1000:03}".rstrip("0").removesuffix(".")
            separator = "\n" if first else ",\n"
            yield (
                f'{separator}{{{head}"n":"{series.quantity}","t":{seconds},{unit}'
                f'"{label}":{_json_value(series.kind, value)}}}'
            )
            first = fresh = False
    yield "\n]\n"


def _json_value(kind: str, value: str) -> str:
    """Of a number its digits, which are a JSON number as they are."""
    return json.dumps(value) if kind == "text" else value


FORMATS: Final[dict[str, Callable[[Readings], Iterator[str]]]] = {
    "csv": as_csv,
    "jsonl": as_json_lines,
    "senml": as_senml,
}
