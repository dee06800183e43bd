"""Glob patterns: `*` is any run of characters, `?` is any one. Time grows with pattern times text, never faster.

Pure. Patterns come from users, so they are not turned into one regular expression, which could take for ever: the
parts between the stars are found one after the other, each at its first place. Case counts.
Source: appendices, "Glob-style matching"; Client-Server API, `event_match`. Used by push_rules.py and server_acl.py.
"""

from __future__ import annotations

import re
from functools import lru_cache

_STARTS = "(?<![A-Za-z0-9_])"
_ENDS = "(?![A-Za-z0-9_])"


@lru_cache(maxsize=1024)
def _part(part: str, before: str, after: str, literal: bool) -> re.Pattern[str]:
    """One part between stars, with what must hold before and after it."""
    middle = re.escape(part) if literal else "".join("." if char == "?" else re.escape(char) for char in part)
    return re.compile(f"{before}{middle}{after}", re.DOTALL)


def matches_whole(pattern: str, text: str) -> bool:
    """Whether all of `text` is an instance of `pattern`."""
    first, *rest = pattern.split("*")
    if not rest:
        return len(first) == len(text) and _part(first, "", r"\Z", False).match(text) is not None
    *middle, last = rest
    found = _part(first, "", "", False).match(text)
    if found is None:
        return False
    position = _after(middle, text, found.end())
    if position is None or len(text) - len(last) < position:
        return False
    return _part(last, "", r"\Z", False).match(text, len(text) - len(last)) is not None


def matches_words(pattern: str, text: str, *, literal: bool = False) -> bool:
    """Whether an instance of `pattern` stands in `text`, beginning and ending at word boundaries."""
    if literal or "*" not in pattern:
        return _part(pattern, _STARTS, _ENDS, literal).search(text) is not None
    first, *middle, last = pattern.split("*")
    # An empty end reaches to the end of the text, which is a boundary.
    found = _part(first, _STARTS, "", False).search(text)
    if found is None:
        return False
    position = _after(middle, text, found.end())
    return position is not None and (not last or _part(last, "", _ENDS, False).search(text, position) is not None)


def _after(parts: list[str], text: str, position: int) -> int | None:
    """Behind the first places of `parts`, one after the other; None if they are not there."""
    for part in parts:
        if part:
            found = _part(part, "", "", False).search(text, position)
            if found is None:
                return None
            position = found.end()
    return position
