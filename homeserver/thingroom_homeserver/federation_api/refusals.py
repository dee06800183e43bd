"""Refusals of the rooms services as error responses to other servers.

May import rooms' outcomes and the HTTP errors.
"""

from __future__ import annotations

from typing import TypeVar

from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.outcomes import Refused, Why

T = TypeVar("T")

_STATUS_AND_ERRCODE: dict[Why, tuple[int, str]] = {
    Why.NOT_FOUND: (404, "M_NOT_FOUND"),
    Why.BAD_JSON: (400, "M_BAD_JSON"),
    Why.INVALID_PARAM: (400, "M_INVALID_PARAM"),
    Why.TOO_LARGE: (413, "M_TOO_LARGE"),
    Why.UNABLE_TO_AUTHORISE_JOIN: (400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    Why.UNABLE_TO_GRANT_JOIN: (400, "M_UNABLE_TO_GRANT_JOIN"),
    Why.INCOMPATIBLE_ROOM_VERSION: (400, "M_INCOMPATIBLE_ROOM_VERSION"),
    Why.INVITE_BLOCKED: (403, "M_INVITE_BLOCKED"),
    Why.UNREACHABLE: (502, "M_UNKNOWN"),
    Why.UNKNOWN: (400, "M_UNKNOWN"),
}
_OTHERS = (403, "M_FORBIDDEN")


def accepted(outcome: T | Refused) -> T:
    """The outcome, unless it is a refusal. Raises MatrixError."""
    if isinstance(outcome, Refused):
        status, errcode = _STATUS_AND_ERRCODE.get(outcome.why, _OTHERS)
        raise MatrixError(status, errcode, outcome.text, **(outcome.details or {}))
    return outcome
