"""The Range header: which bytes of a file a client wants.

Pure. Source: RFC 9110, section 14. One range is served; a request for several gets the whole file, as the RFC allows.
Next: client_api/media_answer.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A well-formed range without a byte of this file: 416."""


def wanted_range(header: str | None, size: int) -> Part | Unsatisfiable | None:
    """What `header` asks for of a file of `size` bytes. None: the whole file (no header, or one to be ignored)."""
    match = None if header is None else _ONE_RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        suffix = int(match[2])
        return Part(max(0, size - suffix), size - 1) if suffix and size else Unsatisfiable()
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return Part(first, min(last, size - 1)) if first < size else Unsatisfiable()
