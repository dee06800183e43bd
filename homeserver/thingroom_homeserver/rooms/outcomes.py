"""What the rooms services answer: values, never exceptions.

May import nothing of ours. `client_api/room_errors.py` maps each reason to its HTTP status and errcode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Why(Enum):
    """Why something was refused."""

    FORBIDDEN = auto()
    NOT_FOUND = auto()
    BAD_JSON = auto()
    INVALID_PARAM = auto()
    TOO_LARGE = auto()
    BAD_ALIAS = auto()
    ALIAS_IN_USE = auto()
    UNSUPPORTED_ROOM_VERSION = auto()
    INVALID_ROOM_STATE = auto()
    UNABLE_TO_AUTHORISE_JOIN = auto()
    UNABLE_TO_GRANT_JOIN = auto()
    INCOMPATIBLE_ROOM_VERSION = auto()
    INVITE_BLOCKED = auto()
    UNREACHABLE = auto()
    POLICY = auto()
    DUPLICATE_ANNOTATION = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was understood and refused; `text` is for the person who asked.

    details: further keys of the error response; `errcode` among them stands for the one that goes with `why`.
    """

    why: Why
    text: str
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The event is on disk, at this place in the stream."""

    event_id: str
    position: int


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: `session` names the device or application service, `timestamp` (ms) replaces the clock's time."""

    user_id: str
    session: str | None = None
    timestamp: int | None = None


class Abandoned(Exception):
    """Raised inside a write function to undo the events it wrote already; `undone` turns it back into its value."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused
