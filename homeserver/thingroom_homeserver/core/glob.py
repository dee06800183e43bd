"""Glob-style matching: `*` stands for any characters, `?` for exactly one.

Imports nothing. Source: Matrix appendices, "Glob-style matching". In time of pattern times text at worst: patterns come
from strangers, and a regular expression made of one may take forever.
"""

from __future__ import annotations


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole `text` is matched. Case counts."""
    at, position = 0, 0
    star, resume = -1, 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:  # let the last star take one character more
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return pattern[at:].strip("*") == ""
