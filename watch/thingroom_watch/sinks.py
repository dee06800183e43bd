"""Where findings go: lines for people, JSON lines, CSV, SenML, raw events, SQLite.

A file holds exactly what was committed: its length is in the journal, and what a killed watcher wrote beyond that is
cut off before the next one goes on. SQLite shares the journal's transaction. May import journal, rows, words, model.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from thingroom_watch.journal import Journal
from thingroom_watch.model import Finding, Judged, Verdict
from thingroom_watch.rows import COLUMNS, rows_of, written_value
from thingroom_watch.words import sentence_of

Event = dict[str, Any]
Pair = tuple[Event, Sequence[Finding]]
Write = Callable[[Sequence[Pair]], str]


class Sink(Protocol):
    """Takes what came, in order. `write` is called within the journal's transaction, and is durable when it returns."""

    def write(self, journal: Journal, pairs: Sequence[Pair]) -> None: ...

    def close(self) -> None: ...


class SinkUnusable(Exception):
    """The sink cannot be written to; the message says why, for people."""


def open_sink(kind: str, path: Path | None, journal: Journal) -> Sink:
    """The sink of one of KINDS. Raises SinkUnusable, OSError."""
    if kind == "sqlite":
        return _Table(journal)
    write, heading = _FORMATS[kind]
    return _Lines(write) if path is None else _File(path, write, heading, journal)


class _Lines:
    """Standard output: what was told last may be told again after a kill."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, journal: Journal, pairs: Sequence[Pair]) -> None:
        sys.stdout.write(self._write(pairs))
        sys.stdout.flush()

    def close(self) -> None:
        pass


class _File:
    def __init__(self, path: Path, write: Write, heading: str, journal: Journal) -> None:
        length = int(journal.place("length") or 0)
        self._write = write
        self._file: BinaryIO = path.open("r+b" if path.exists() else "x+b")
        size = self._file.seek(0, os.SEEK_END)
        if size < length or (size and not journal.place("length")):
            self._file.close()
            raise SinkUnusable(f"{path} is not what was written here before: move it away, or its .watch file, too.")
        self._file.truncate(length)
        self._file.seek(length)
        if not length:
            self._append(heading)
            with journal.commit():
                journal.put(length=str(self._file.tell()))

    def write(self, journal: Journal, pairs: Sequence[Pair]) -> None:
        self._append(self._write(pairs))
        journal.put(length=str(self._file.tell()))

    def _append(self, text: str) -> None:
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _Table:
    """The table `readings` in the journal's own file, with the columns of rows.py and numbers once more as `number`."""

    def __init__(self, journal: Journal) -> None:
        columns = ", ".join(COLUMNS)
        with journal.commit():
            journal.connection.execute(f"CREATE TABLE IF NOT EXISTS readings ({columns}, number REAL)")
            journal.connection.execute("CREATE INDEX IF NOT EXISTS readings_by_time ON readings (device, time)")
        self._insert = f"INSERT INTO readings VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"  # noqa: S608

    def write(self, journal: Journal, pairs: Sequence[Pair]) -> None:
        journal.connection.executemany(
            self._insert,
            (
                (*(row[column] for column in COLUMNS), _number(row["value"]))
                for _, findings in pairs
                for finding in findings
                for row in rows_of(finding)
            ),
        )

    def close(self) -> None:
        pass


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


def _people(pairs: Sequence[Pair]) -> str:
    return "".join(f"{sentence_of(finding)}\n" for _, findings in pairs for finding in findings)


def _jsonl(pairs: Sequence[Pair]) -> str:
    rows = (row for _, findings in pairs for finding in findings for row in rows_of(finding))
    return "".join(
        json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False) + "\n"
        for row in rows
    )


def _csv(pairs: Sequence[Pair]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    for _, findings in pairs:
        for finding in findings:
            writer.writerows(rows_of(finding))
    return text.getvalue()


def _senml(pairs: Sequence[Pair]) -> str:
    """One SenML pack (RFC 8428, JSON) a line, of what is valid or attested; there is no room in it for the rest."""
    lines = []
    for _, findings in pairs:
        for finding in findings:
            believed = isinstance(finding, Judged) and finding.verdict in (Verdict.VALID, Verdict.ATTESTED)
            if isinstance(finding, Judged) and believed and finding.samples:
                lines.append(json.dumps(_pack(finding), ensure_ascii=False) + "\n")
    return "".join(lines)


def _pack(judged: Judged) -> list[dict[str, Any]]:
    records = []
    for sample in judged.samples:
        record: dict[str, Any] = {"n": sample.quantity}
        if sample.unit is not None:
            record["u"] = sample.unit
        if sample.time_ms is not None:
            record["t"] = sample.time_ms / 1000
        if isinstance(sample.value, Decimal) and abs(sample.value.adjusted()) < 300:
            record["v"] = float(sample.value)
        elif isinstance(sample.value, bool):
            record["vb"] = sample.value
        else:
            record["vd" if isinstance(sample.value, bytes) else "vs"] = written_value(sample.value)
        records.append(record)
    records[0] = {"bn": judged.base_name or f"{judged.device}_", **records[0]}
    return records


def _raw(pairs: Sequence[Pair]) -> str:
    return "".join(json.dumps(event) + "\n" for event, _ in pairs)


_HEADING: Final = ",".join(COLUMNS) + "\n"
_FORMATS: Final[dict[str, tuple[Write, str]]] = {
    "lines": (_people, ""),
    "jsonl": (_jsonl, ""),
    "csv": (_csv, _HEADING),
    "senml": (_senml, ""),
    "raw": (_raw, ""),
}
KINDS: Final = (*_FORMATS, "sqlite")
