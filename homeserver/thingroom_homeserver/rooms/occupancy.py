"""Which local users are in which rooms, in memory: what a wake-up and an incremental /sync ask all the time.

Changed only after a commit, so it never runs ahead of what readers find on disk. Imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

_NOBODY: frozenset[str] = frozenset()


class Occupancy:
    """Joined local users by room and joined rooms by local user."""

    def __init__(self, joined: Iterable[tuple[str, str]]) -> None:
        """`joined`: (room id, user id) of every local user who is joined."""
        self._users: dict[str, set[str]] = {}
        self._rooms: dict[str, set[str]] = {}
        for room_id, user_id in joined:
            self.set(room_id, user_id, joined=True)

    def joined_users(self, room_id: str) -> Set[str]:
        return self._users.get(room_id, _NOBODY)

    def joined_rooms(self, user_id: str) -> Set[str]:
        return self._rooms.get(user_id, _NOBODY)

    def is_joined(self, room_id: str, user_id: str) -> bool:
        return user_id in self._users.get(room_id, _NOBODY)

    def set(self, room_id: str, user_id: str, *, joined: bool) -> None:
        """The user's committed membership changed to or from `join`."""
        if joined:
            self._users.setdefault(room_id, set()).add(user_id)
            self._rooms.setdefault(user_id, set()).add(room_id)
            return
        for table, key, value in ((self._users, room_id, user_id), (self._rooms, user_id, room_id)):
            values = table.get(key)
            if values is not None:
                values.discard(value)
                if not values:
                    del table[key]
