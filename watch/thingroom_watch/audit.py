"""What a room's whole history says about each device: counts, gaps, keys, clocks. May import model, verify, journal.

`Auditor` is a sink; cli.py gives it a room's history and prints `report_of`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from thingroom_watch.journal import Journal
from thingroom_watch.model import Finding, Gap, Judged, KeyNews, Verdict
from thingroom_watch.rows import written_time
from thingroom_watch.verify import Verifier


@dataclass
class _Told:
    verdicts: Counter[str] = field(default_factory=Counter)
    trusts: Counter[str] = field(default_factory=Counter)
    clocks: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    late: int = 0
    highest: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    keys: list[dict[str, str]] = field(default_factory=list)


class Auditor:
    """Counts what it is given. `unknown`: why envelopes of no known device were refused, and how often."""

    def __init__(self) -> None:
        self.devices: defaultdict[str, _Told] = defaultdict(_Told)
        self.unknown: Counter[str] = Counter()
        self.alarms: list[str] = []

    def write(self, journal: Journal, pairs: Sequence[tuple[dict[str, Any], Sequence[Finding]]]) -> None:
        for _, findings in pairs:
            for finding in findings:
                self._count(finding)

    def close(self) -> None:
        pass

    def _count(self, finding: Finding) -> None:
        if isinstance(finding, KeyNews):
            when = written_time(finding.sent_ms)
            news = {"time": when, "what": finding.kind, "fingerprint": finding.fingerprint}
            self.devices[finding.device].keys.append(news)
            if finding.alarm:
                self.alarms.append(f"{when} {finding.sentence}")
        elif isinstance(finding, Judged):
            if finding.verdict is Verdict.FORGED and not finding.name and finding.device not in self.devices:
                self.unknown[finding.reason] += 1
                return
            self._count_one(self.devices[finding.device], finding)
        else:
            assert isinstance(finding, Gap)

    def _count_one(self, told: _Told, judged: Judged) -> None:
        told.verdicts[str(judged.verdict)] += 1
        if judged.verdict not in (Verdict.VALID, Verdict.ATTESTED):
            return
        told.trusts[str(judged.trust)] += 1
        told.clocks[judged.clock] += 1
        told.samples += len(judged.samples)
        told.late += judged.sequence < told.highest
        told.highest = max(told.highest, judged.sequence)
        times = [sample.time_ms for sample in judged.samples if sample.time_ms is not None]
        if times:
            told.first_ms = min(times) if told.first_ms is None else min(told.first_ms, *times)
            told.last_ms = max(times) if told.last_ms is None else max(told.last_ms, *times)


def report_of(room_id: str, auditor: Auditor, verifier: Verifier) -> dict[str, Any]:
    """The report as JSON can say it. `forged` and `alarms` are of the whole room."""
    devices = []
    for device, known in sorted(verifier.devices.items(), key=lambda pair: pair[1].state.name):
        told = auditor.devices[device]
        judged = sum(told.verdicts.values())
        devices.append(
            {
                "device": device,
                "name": known.state.name,
                "status": known.state.status,
                "fingerprint": known.state.fingerprint or None,
                "first": None if told.first_ms is None else written_time(told.first_ms),
                "last": None if told.last_ms is None else written_time(told.last_ms),
                "numbers": [known.received.lowest, known.received.highest],
                "received": known.received.count,
                "samples": told.samples,
                "late": told.late,
                "missing": verifier.gaps(device),
                "skipped": list(known.skipped),
                "verdicts": dict(told.verdicts),
                "trust": dict(told.trusts),
                "clocks": dict(told.clocks),
                "verified_share": round(told.verdicts["valid"] / judged, 4) if judged else None,
                "keys": told.keys,
            }
        )
    forged = sum(auditor.unknown.values()) + sum(told.verdicts["forged"] for told in auditor.devices.values())
    unknown = dict(auditor.unknown)
    return {"room": room_id, "devices": devices, "forged": forged, "unknown": unknown, "alarms": auditor.alarms}


def in_words(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"Room {report['room']}", ""]
    for device in report["devices"]:
        lines.append(f"{device['name'] or device['device']}  ({device['device']}, {device['status']})")
        lines.append(f"  key        {device['fingerprint'] or 'none: its gateway attests what it says'}")
        if device["received"]:
            first, last = device["numbers"]
            lines.append(
                f"  readings   {device['received']} envelopes, #{first} to #{last}, {device['samples']} values"
            )
            lines.append(f"  from       {device['first'] or '?'} to {device['last'] or '?'}")
            lines.append(f"  verdicts   {_counts(device['verdicts'])}; {device['verified_share']:.1%} verified")
            lines.append(f"  trust      {_counts(device['trust'])}")
            lines.append(f"  clock      {_counts(device['clocks'])}")
            lines.append(f"  order      {device['late']} came late")
            lines.append(f"  missing    {_ranges(device['missing'])}")
            lines.append(f"  skipped    {_ranges(device['skipped'])}")
        else:
            lines.append("  readings   none")
        lines += [f"  history    {news['time']} {news['what']} {news['fingerprint'][:16]}" for news in device["keys"]]
        lines.append("")
    if report["unknown"]:
        lines.append(f"Refused without a device: {_counts(report['unknown'])}")
    lines += [f"ALARM {sentence}" for sentence in report["alarms"]]
    text = "\n".join(lines)
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _ranges(ranges: Sequence[Sequence[int]]) -> str:
    """The first twenty, and how many more."""
    shown = ", ".join(f"#{first}" if first == last else f"#{first} to #{last}" for first, last in ranges[:20])
    more = f" and {len(ranges) - 20} more" if len(ranges) > 20 else ""
    return f"{shown}{more}" if shown else "none"
