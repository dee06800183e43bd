"""Numbers, stretches of time and times of day in what people say.

Pure; may import requests, vocabulary. language.py and conditions.py read with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from thingroom_gateway.bot.requests import Span
from thingroom_gateway.bot.vocabulary import Token

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MAX_SPAN_MS: Final = 20 * 366 * DAY
UNITS_OF_TIME: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 7 * DAY),
    **dict.fromkeys(("mo", "month", "months"), 30 * DAY),
    **dict.fromkeys(("y", "yr", "year", "years"), 365 * DAY),
}


def number_of(word: str) -> str | None:
    """A decimal as text, None if `word` is none or too long."""
    text = word.replace(",", ".")
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        return None
    return text


def take_span(tokens: Sequence[Token]) -> tuple[Span | None, list[Token]]:
    """The last stretch of time in `tokens` ("24h", "2 weeks", "yesterday", "week"), and the others."""
    for at in range(len(tokens) - 1, -1, -1):
        word = tokens[at].word
        if word == "today":
            return Span(0, "today"), [*tokens[:at], *tokens[at + 1 :]]
        if word == "yesterday":
            since = at > 0 and tokens[at - 1].word == "since"
            return Span(0, "since yesterday" if since else "yesterday"), [*tokens[:at], *tokens[at + 1 :]]
        unit = UNITS_OF_TIME.get(word)
        if unit is None:
            continue
        number = number_of(tokens[at - 1].word) if at else None
        if number is not None and not number.startswith("-"):
            ms = int(float(number) * unit)
            if 0 < ms <= MAX_SPAN_MS:
                return Span(ms), [*tokens[: at - 1], *tokens[at + 1 :]]
        if number is None and len(word) > 2:
            return Span(unit), [*tokens[:at], *tokens[at + 1 :]]
    return None, list(tokens)


def take_hysteresis(tokens: list[Token]) -> tuple[str, list[Token]]:
    for at, token in enumerate(tokens[:-1]):
        number = number_of(tokens[at + 1].word)
        if token.word in ("hysteresis", "hyst") and number is not None:
            return number.removeprefix("-"), tokens[:at] + tokens[at + 2 :]
    return "", tokens


def times_of_day(words: Sequence[str]) -> tuple[int, int] | None:
    """Two times of day as minutes since midnight, None if there are not exactly two."""
    found: list[int] = []
    for word in words:
        if word in ("am", "pm") and found:
            found[-1] = found[-1] % 720 + (720 if word == "pm" else 0)
            continue
        hour, _, minute = word.removeprefix("-").partition(":")
        if not (hour.isdecimal() and hour.isascii() and (not minute or (minute.isdecimal() and minute.isascii()))):
            return None
        if int(hour) > 24 or int(minute or 0) > 59:
            return None
        found.append((int(hour) * 60 + int(minute or 0)) % 1440)
    return (found[0], found[1]) if len(found) == 2 else None
