"""Matrix's standard error response, and the one place where refusals get their HTTP status and errcode.

Handlers raise MatrixError at the HTTP rim only; everything below answers with values.
May import the outcome types of accounts and rooms. `frame.py` turns a MatrixError into a response.
"""

from __future__ import annotations

from typing import Any

from thingroom_homeserver.accounts.outcomes import Refusal, Refused


class MatrixError(Exception):
    """An error response (client-server API, "Standard error response"). `extra` joins the JSON object."""

    def __init__(
        self, http_status: int, errcode: str, error: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(f"{http_status} {errcode}: {error}")
        self.status = http_status
        self.errcode = errcode
        self.error = error
        self.headers = headers or {}
        self.extra = extra

    def body(self) -> dict[str, Any]:
        return {"errcode": self.errcode, "error": self.error, **self.extra}


_STATUS_AND_ERRCODE: dict[Refusal, tuple[int, str]] = {
    Refusal.FORBIDDEN: (403, "M_FORBIDDEN"),
    Refusal.NOT_FOUND: (404, "M_NOT_FOUND"),
    Refusal.INVALID: (400, "M_INVALID_PARAM"),
    Refusal.BAD_JSON: (400, "M_BAD_JSON"),
    Refusal.TOO_LARGE: (400, "M_TOO_LARGE"),
    Refusal.USER_IN_USE: (400, "M_USER_IN_USE"),
    Refusal.INVALID_USERNAME: (400, "M_INVALID_USERNAME"),
    Refusal.EXCLUSIVE: (400, "M_EXCLUSIVE"),
    Refusal.EXCLUSIVE_ALIAS: (403, "M_EXCLUSIVE"),
    Refusal.WEAK_PASSWORD: (400, "M_WEAK_PASSWORD"),
    Refusal.DEACTIVATED: (403, "M_USER_DEACTIVATED"),
    Refusal.ALIAS_IN_USE: (409, "M_UNKNOWN"),
    Refusal.KEY_TOO_LARGE: (400, "M_KEY_TOO_LARGE"),
    Refusal.PROFILE_TOO_LARGE: (400, "M_PROFILE_TOO_LARGE"),
    Refusal.LOCKED: (401, "M_USER_LOCKED"),
    Refusal.TOKEN_UNKNOWN: (401, "M_UNKNOWN_TOKEN"),
    Refusal.TOKEN_EXPIRED: (401, "M_UNKNOWN_TOKEN"),
    Refusal.ADDRESS_IN_USE: (400, "M_THREEPID_IN_USE"),
    Refusal.ADDRESS_UNVERIFIED: (401, "M_THREEPID_AUTH_FAILED"),
    Refusal.MEDIUM_UNSUPPORTED: (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
    Refusal.MAIL_FAILED: (503, "M_UNKNOWN"),
    Refusal.MISSING: (400, "M_MISSING_PARAM"),
    Refusal.INVALID_SIGNATURE: (400, "M_INVALID_SIGNATURE"),
    Refusal.NO_NEIGHBOUR: (400, "M_UNKNOWN"),
}

_SOFT_LOGOUT = frozenset({Refusal.LOCKED, Refusal.TOKEN_EXPIRED})
"""The client keeps what it has, keys above all (client-server API, "Soft logout")."""


def error_for(refused: Refused) -> MatrixError:
    """The error response for a refusal of the account services."""
    status, errcode = _STATUS_AND_ERRCODE[refused.why]
    if refused.why in _SOFT_LOGOUT:
        return MatrixError(status, errcode, refused.text, soft_logout=True)
    return MatrixError(status, errcode, refused.text)


def unrecognized(status: int, allowed: str = "") -> MatrixError:
    """404 for an unknown endpoint, 405 for a known one with the wrong method."""
    headers = {"Allow": allowed} if allowed else None
    return MatrixError(status, "M_UNRECOGNIZED", "Unrecognized request", headers=headers)


def limit_exceeded(wait_seconds: float) -> MatrixError:
    """429 with the wait in both forms (client-server API, "Rate limiting")."""
    wait_ms = max(1, int(wait_seconds * 1000))
    return MatrixError(
        429,
        "M_LIMIT_EXCEEDED",
        "Too many requests",
        headers={"Retry-After": str(-(-wait_ms // 1000))},
        retry_after_ms=wait_ms,
    )
