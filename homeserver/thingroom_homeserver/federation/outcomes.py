"""What becomes of a request to another server when it brings no answer.

May import nothing. Made by client.py; everything in this package looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Why = Literal["unreachable", "timeout", "refused", "bad_answer", "backing_off"]


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer. `why`: nobody was reached; it took too long; the server said no (`status`, `errcode`); what it said
    cannot be read, or is too large; or it was not asked because it has been down (`retry_after_ms`).

    `text` is one sentence for a log or for the client who waits. `retry_after_ms` is set also where the peer says so.
    `error` is the error object of a server that said no, unchecked.
    """

    why: Why
    status: int | None = None
    errcode: str | None = None
    text: str = ""
    retry_after_ms: int | None = None
    error: Mapping[str, Any] | None = None
