"""The two tokens clients hold: `s<position>_<ephemeral>` of /sync and `t<position>` of pagination.

A /sync that could not hold all messages to the device says by a third number, `s<position>_<ephemeral>_<to_device>`,
how far it got with them.
A pagination token lies between events: backwards from it come positions up to it, forwards those above it. A sync token
may stand wherever a pagination token may. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SYNC = re.compile(r"s([0-9]{1,18})_([0-9]{1,18})(?:_([0-9]{1,18}))?", re.ASCII)
_PAGE = re.compile(r"t(-?[0-9]{1,18})", re.ASCII)
_POS = re.compile(r"p([0-9]{1,18})_[0-9]{1,18}_[0-9]{1,18}_[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Everything up to `position` in the stream, and up to `ephemeral` among what is not stored, was told.

    Of messages to the device only those up to `to_device`, where that is not None.
    """

    position: int
    ephemeral: int
    to_device: int | None = None

    @property
    def to_device_position(self) -> int:
        return self.position if self.to_device is None else self.to_device

    def __str__(self) -> str:
        text = f"s{self.position}_{self.ephemeral}"
        return text if self.to_device is None else f"{text}_{self.to_device}"


def parse_sync_token(text: str) -> SyncToken | None:
    match = _SYNC.fullmatch(text)
    if match is None:
        return None
    return SyncToken(int(match[1]), int(match[2]), None if match[3] is None else int(match[3]))


def page_token(position: int) -> str:
    return f"t{position}"


def parse_page_token(text: str) -> int | None:
    """The position of any kind of token, a sliding sync's `pos` (sliding/connections.py) among them."""
    match = _PAGE.fullmatch(text) or _SYNC.fullmatch(text) or _POS.fullmatch(text)
    return None if match is None else int(match[1])
