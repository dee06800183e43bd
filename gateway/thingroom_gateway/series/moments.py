"""Times and spans as people write them: "yesterday 18:00", "3 days ago", "24h", "2026-11-20T18:00Z".

Pure; imports the standard library only. The command line and the bot use it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

MAX_TEXT: Final = 60
_SECOND: Final = 1000
_UNITS: Final = {
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
    "mo": 30 * 86_400 * _SECOND,
    "y": 365 * 86_400 * _SECOND,
}
_WORDS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
    **dict.fromkeys(("mo", "month", "months"), "mo"),
    **dict.fromkeys(("y", "yr", "year", "years"), "y"),
}
_PART: Final = re.compile(r"(\d{1,6}(?:[.,]\d{1,3})?|half an?\b|an?\b)\s*([a-z]+)\s*", re.A)
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK: Final = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?\s*(am|pm)?|(\d{1,2})\s*(am|pm)", re.A)
_DATE: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.A)
_LAST_MS: Final = 253_402_300_799_000


def parse_span(text: str) -> int | None:
    """Milliseconds of "90 min", "24h", "1h30m", "2 weeks", "a day", "week"; a month is 30 days, a year 365.

    None for what is no span, is nothing, or is more than a hundred years.
    """
    rest = text.strip().lower()
    if len(rest) > MAX_TEXT:
        return None
    if rest in _WORDS and len(rest) > 2:
        rest = f"1 {rest}"
    total = 0.0
    while rest:
        found = _PART.match(rest)
        if found is None or found[2] not in _WORDS:
            return None
        number = {"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5}.get(found[1])
        total += (float(found[1].replace(",", ".")) if number is None else number) * _UNITS[_WORDS[found[2]]]
        rest = rest[found.end() :].removeprefix("and ").lstrip()
    return round(total) if 0 < total <= 100 * _UNITS["y"] else None


def parse_moment(text: str, now_ms: int, zone: tzinfo) -> int | None:
    """Unix ms of a time that a person wrote, read in `zone`; None if it is none.

    "now", "today", "yesterday", "monday" (the last one), "18:00" (the last one), "6 pm", "yesterday 18:00",
    "3 days ago", "-3h", "2026-11-20", "2026-11-20 18:00:30", and with an offset: "2026-11-20T18:00Z".
    """
    words = " ".join(text.split()).lower()
    if not words or len(words) > MAX_TEXT:
        return None
    if words == "now":
        return now_ms
    ago = words.removeprefix("-") if words.startswith("-") else words.removesuffix(" ago")
    if ago != words:
        span = parse_span(ago)
        return None if span is None or span > now_ms else now_ms - span
    try:
        exact = _exact(words)
        return _local(words, now_ms, zone) if exact is None else exact
    except (ValueError, OverflowError):
        return None


def _exact(words: str) -> int | None:
    """A time with an offset to UTC."""
    if not re.search(r"(z|[+-]\d{2}:?\d{2})$", words) or not _DATE.match(words):
        return None
    found = datetime.fromisoformat(words.upper().replace(" ", "T", 1))
    return None if found.tzinfo is None else _milliseconds(found)


def _local(words: str, now_ms: int, zone: tzinfo) -> int | None:
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone)
    day, rest = _day(words, now.date())
    rest = rest.removeprefix("at ").removeprefix("t").strip()
    if not rest:
        return None if day is None else _milliseconds(datetime.combine(day, time(), zone))
    clock = _clock(rest)
    if clock is None:
        return None
    if day is not None:
        return _milliseconds(datetime.combine(day, clock, zone))
    found = _milliseconds(datetime.combine(now.date(), clock, zone))
    if found is None or found <= now_ms:
        return found
    return _milliseconds(datetime.combine(now.date() - timedelta(days=1), clock, zone))


def _day(words: str, today: date) -> tuple[date | None, str]:
    """The day that the words begin with, and what follows it."""
    found = _DATE.match(words)
    if found is not None:
        return date(int(found[1]), int(found[2]), int(found[3])), words[found.end() :].strip()
    first, _, rest = words.partition(" ")
    if first == "last" and rest:
        first, _, rest = rest.partition(" ")
    if first in ("today", "yesterday"):
        return today - timedelta(days=first == "yesterday"), rest
    for number, name in enumerate(_DAYS):
        if first in (name, name[:3]):
            return today - timedelta(days=(today.weekday() - number) % 7), rest
    if first == "midnight":
        return today, rest
    return None, words


def _clock(words: str) -> time | None:
    found = _CLOCK.fullmatch(words)
    if found is None:
        return None
    hour = int(found[1] or found[5])
    half = found[4] or found[6]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    return time(hour, int(found[2] or 0), int(found[3] or 0))


def _milliseconds(moment: datetime) -> int | None:
    found = round(moment.timestamp() * 1000)
    return found if 0 <= found <= _LAST_MS else None
