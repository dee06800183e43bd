"""Findings as flat rows, one for each value: what JSON lines, CSV and SQLite have. Pure; may import model.

Every row has every column; numbers travel as exact text. sinks.py writes them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from thingroom_watch.model import Finding, Gap, Judged, KeyNews, Value

COLUMNS: Final = (
    "kind",
    "verdict",
    "trust",
    "reason",
    "device",
    "name",
    "sequence",
    "last_sequence",
    "quantity",
    "value",
    "unit",
    "time",
    "clock",
    "sent",
    "sender",
    "event_id",
    "place",
    "sentence",
)
Row = dict[str, str | int | None]


def rows_of(finding: Finding) -> Iterator[Row]:
    """The rows of a finding: `kind` reading (one row a value, or one without a value), gap or key.

    `verdict` of a gap is its kind, of news about a key "alarm" or "notice", and `reason` what kind of news it is.
    """
    empty: Row = dict.fromkeys(COLUMNS)
    empty |= {"device": finding.device, "name": finding.name, "event_id": finding.event_id}
    empty["sent"] = written_time(finding.sent_ms)
    if isinstance(finding, Gap):
        yield empty | {
            "kind": "gap",
            "verdict": finding.kind,
            "sequence": finding.first,
            "last_sequence": finding.last,
        }
    elif isinstance(finding, KeyNews):
        verdict = "alarm" if finding.alarm else "notice"
        yield empty | {"kind": "key", "verdict": verdict, "reason": finding.kind, "sentence": finding.sentence}
    else:
        yield from _reading(finding, empty)


def _reading(finding: Judged, empty: Row) -> Iterator[Row]:
    row = empty | {
        "kind": "reading",
        "verdict": str(finding.verdict),
        "trust": str(finding.trust),
        "reason": finding.reason or None,
        "sequence": finding.sequence or None,
        "clock": finding.clock or None,
        "sender": finding.sender,
        "place": finding.index,
    }
    if not finding.samples:
        yield row
    for sample in finding.samples:
        time = None if sample.time_ms is None else written_time(sample.time_ms)
        yield row | {
            "quantity": sample.quantity,
            "value": written_value(sample.value),
            "unit": sample.unit,
            "time": time,
        }


def written_value(value: Value) -> str:
    """Plain decimal notation, true or false, text as it is, bytes in base64."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f") if -30 < value.adjusted() < 30 else str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def written_time(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; a number of milliseconds for what no calendar has."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(unix_ms)
