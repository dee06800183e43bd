"""The two tokens clients hold: `s<position>_<ephemeral>` of /sync and `t<position>` of pagination.

A pagination token lies between events: backwards from it come positions up to it, forwards those above it. A sync token
may stand wherever a pagination token may. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SYNC = re.compile(r"s([0-9]{1,18})_([0-9]{1,18})", re.ASCII)
_PAGE = re.compile(r"t(-?[0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Everything up to `position` in the stream, and up to `ephemeral` among what is not stored, was told."""

    position: int
    ephemeral: int

    def __str__(self) -> str:
        return f"s{self.position}_{self.ephemeral}"


def parse_sync_token(text: str) -> SyncToken | None:
    match = _SYNC.fullmatch(text)
    return None if match is None else SyncToken(int(match[1]), int(match[2]))


def page_token(position: int) -> str:
    return f"t{position}"


def parse_page_token(text: str) -> int | None:
    """The position of either kind of token."""
    match = _PAGE.fullmatch(text) or _SYNC.fullmatch(text)
    return None if match is None else int(match[1])
