"""Findings as lines for people. Pure; may import model, rows."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from thingroom_watch.model import Finding, Gap, KeyNews, Trust, Verdict
from thingroom_watch.rows import written_value

_TRUST: Final = {
    Trust.PINNED: "valid, by the key that you pinned",
    Trust.ROOM: "valid, consistent with the room's key",
    Trust.CHANGED: "valid, but by another key than at first: ask the owner",
    Trust.NONE: "valid",
}
_VERDICT: Final = {
    Verdict.ATTESTED: "not signed, attested by the gateway",
    Verdict.FORGED: "FORGED",
    Verdict.REVOKED: "by a REVOKED key",
    Verdict.REPLAYED: "replayed: was there before",
}


def sentence_of(finding: Finding) -> str:
    """One line, without anything that a terminal would take for an instruction."""
    if isinstance(finding, KeyNews):
        line = f"{'!!' if finding.alarm else '--'} {finding.sentence}"
    elif isinstance(finding, Gap):
        numbers = f"#{finding.first}" if finding.count == 1 else f"#{finding.first} to #{finding.last}"
        what = "skipped: the device never used them" if finding.kind == "skipped" else "missing"
        line = f".. {finding.name or finding.device} {numbers} {what}"
    else:
        good = finding.verdict in (Verdict.VALID, Verdict.ATTESTED)
        who = finding.name or finding.device or f"an event of {finding.sender}"
        values = ", ".join(
            f"{sample.quantity} {written_value(sample.value)}{f' {sample.unit}' if sample.unit else ''}"
            for sample in finding.samples
        )
        word = _TRUST[finding.trust] if finding.verdict is Verdict.VALID else _VERDICT[finding.verdict]
        reason = f" ({finding.reason})" if finding.reason else ""
        number = f"  #{finding.sequence}" if finding.sequence else ""
        line = f"{'ok' if good else '!!'} {_clock(finding.sent_ms)} {who}  {values}{number}  {word}{reason}"
    return "".join(letter if letter.isprintable() else "�" for letter in line)


def _clock(unix_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_ms / 1000).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"
