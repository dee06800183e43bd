"""Whether users are there: what they said last, in memory.

May import the clock. Presence is answered when asked for; it is not sent out by /sync.
Source: client-server API, "Presence".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thingroom_homeserver.clock import Clock

STATES = frozenset({"online", "offline", "unavailable"})
MAX_REMEMBERED = 50_000
ACTIVE_FOR_MS = 60_000


@dataclass(frozen=True, slots=True)
class _Said:
    state: str
    status_msg: str | None
    at_ms: int


class Presence:
    """The last word of each user."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[str, _Said] = {}

    def set(self, user_id: str, state: str, status_msg: str | None) -> None:
        """`state` is one of STATES."""
        self._said.pop(user_id, None)
        if len(self._said) >= MAX_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[user_id] = _Said(state, status_msg, self._clock.now_ms())

    def of(self, user_id: str) -> dict[str, Any]:
        """The body of GET /presence/{userId}/status."""
        said = self._said.get(user_id)
        if said is None:
            return {"presence": "offline"}
        ago = max(0, self._clock.now_ms() - said.at_ms)
        answer: dict[str, Any] = {"presence": said.state, "last_active_ago": ago}
        if said.state == "online":
            answer["currently_active"] = ago < ACTIVE_FOR_MS
        if said.status_msg is not None:
            answer["status_msg"] = said.status_msg
        return answer
