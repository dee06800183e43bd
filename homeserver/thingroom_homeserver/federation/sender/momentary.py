"""What a server is told of the moment: EDUs that are worth sending for seconds only, and the presence of users.

Kept in memory while the server answers. Presence is in its table too, and what the server missed of it is read there
when it is back. Used by courier.py. May import storage and this package. Source: Server-Server API, "Presence".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_homeserver.federation.sender.edus import Taken
from thingroom_homeserver.federation.sender.kit import JsonObject, Kit
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import presence_after
from thingroom_homeserver.storage.room_servers import server_shares_with

MAX_EDUS = 200
MAX_PRESENCE = 500
PRESENCE_A_LOOK = 200


@dataclass(frozen=True, slots=True)
class _Passing:
    """An EDU, and until when (seconds of the clock) it is worth sending."""

    edu: JsonObject
    until: float


class Momentary:
    """What waits for one server. `missed`: some changes of presence may not have been told."""

    def __init__(self, kit: Kit, server_name: str, *, missed: bool) -> None:
        self._kit = kit
        self._server_name = server_name
        self._edus: dict[object, _Passing] = {}
        self._presence: dict[str, None] = {}
        self._missed = missed
        self._next_presence = 0.0

    @property
    def presence_waits(self) -> bool:
        """Whether there is presence to tell, be it later."""
        return bool(self._presence)

    def seconds_to_presence(self) -> float:
        """How long it is until presence may be told again."""
        return max(0.01, self._next_presence - self._kit.clock.monotonic())

    def add_edu(self, key: object, edu: JsonObject, seconds: float) -> None:
        """An EDU that is worth sending for so long; it takes the place of an earlier one with the same key."""
        self._edus.pop(key, None)
        self._edus[key] = _Passing(edu, self._kit.clock.monotonic() + seconds)
        if len(self._edus) > MAX_EDUS:
            del self._edus[next(iter(self._edus))]

    def add_presence(self, user_ids: Iterable[str]) -> None:
        self._presence |= dict.fromkeys(user_ids)
        while len(self._presence) > MAX_PRESENCE:
            del self._presence[next(iter(self._presence))]

    def note_missed(self) -> None:
        """The server is away: presence is read from its table later."""
        self._missed = True

    def drop(self) -> None:
        """The server is away, and by the time it is back this is no news."""
        self._edus.clear()
        self._presence.clear()
        self._missed = True

    def take_edus(self, taken: Taken, limit: int) -> None:
        now = self._kit.clock.monotonic()
        for key in list(self._edus)[:limit]:
            passing = self._edus.pop(key)
            if now < passing.until:
                taken.edus.append(passing.edu)

    def take_presence(self, connection: Reader, after: int, taken: Taken) -> int:
        """One EDU with what is new, not too often; the position up to which presence was told."""
        kit, upto = self._kit, after
        if self._missed:
            rows = presence_after(connection, upto, PRESENCE_A_LOOK)
            for position, user_id in rows:
                if kit.is_local(user_id) and server_shares_with(connection, user_id, self._server_name):
                    self._presence[user_id] = None
                upto = position
            self._missed = len(rows) == PRESENCE_A_LOOK
        now = kit.clock.monotonic()
        if self._presence and now < self._next_presence:
            return upto
        if not self._missed:
            upto = max(upto, kit.rooms.notifier.position)
        if self._presence:
            push = [{"user_id": user, "last_active_ago": 0, **kit.presence.of(user)} for user in self._presence]
            taken.edus.append({"edu_type": "m.presence", "content": {"push": push}})
            self._presence.clear()
            self._next_presence = now + kit.presence_interval_seconds
        return upto
