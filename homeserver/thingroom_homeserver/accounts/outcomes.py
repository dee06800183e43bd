"""How the account services say no: a value with a reason, never an exception.

May import nothing. `http/errors.py` maps each reason to its HTTP status and errcode.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Refusal(Enum):
    """Why something was refused."""

    FORBIDDEN = auto()
    NOT_FOUND = auto()
    INVALID = auto()
    BAD_JSON = auto()
    TOO_LARGE = auto()
    USER_IN_USE = auto()
    INVALID_USERNAME = auto()
    EXCLUSIVE = auto()
    EXCLUSIVE_ALIAS = auto()
    WEAK_PASSWORD = auto()
    DEACTIVATED = auto()
    ALIAS_IN_USE = auto()
    KEY_TOO_LARGE = auto()
    PROFILE_TOO_LARGE = auto()
    LOCKED = auto()
    TOKEN_UNKNOWN = auto()
    TOKEN_EXPIRED = auto()
    ADDRESS_IN_USE = auto()
    ADDRESS_UNVERIFIED = auto()
    MEDIUM_UNSUPPORTED = auto()
    MAIL_FAILED = auto()
    MISSING = auto()
    INVALID_SIGNATURE = auto()
    NO_NEIGHBOUR = auto()


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was understood and refused; `text` is for the person who asked."""

    why: Refusal
    text: str
