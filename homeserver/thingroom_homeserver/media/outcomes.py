"""What the content repository answers: values, never exceptions.

May import nothing of ours. client_api/media_answer.py maps each reason to its HTTP status and errcode.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Why(Enum):
    """Why something was refused."""

    NOT_FOUND = auto()
    FORBIDDEN = auto()
    TOO_LARGE = auto()
    OVERWRITE = auto()
    NOT_YET_UPLOADED = auto()
    TOO_MANY_PENDING = auto()
    CANNOT_THUMBNAIL = auto()
    BUSY = auto()
    UNREACHABLE = auto()
    INVALID = auto()


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was understood and refused; `text` is for the person who asked."""

    why: Why
    text: str


NOT_FOUND = Refused(Why.NOT_FOUND, "There is no such file")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A name that waits for its content until `expires_ms`."""

    media_id: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes are on this disk."""

    media_id: str
    size: int
    sha256: str
    content_type: str
    file_name: str | None
