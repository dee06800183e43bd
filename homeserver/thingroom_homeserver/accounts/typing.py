"""Who is typing where. Kept in memory only, with an end to every entry.

May import the notifier and the clock. It is the `Typing` port of rooms/ports.py.
Source: client-server API, "Typing Notifications".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.notifier import Notifier

MAX_TIMEOUT_MS = 120_000
DEFAULT_TIMEOUT_MS = 30_000


class Typing:
    """The users typing in each room. Must be used on the event loop."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier = notifier
        self._position = clock.now_ms()
        self._typing: dict[str, dict[str, asyncio.TimerHandle]] = {}
        self._changed: dict[str, int] = {}  # room id -> position of the last change, oldest first
        self._listeners: list[Callable[[str, str, bool], None]] = []

    def add_listener(self, listener: Callable[[str, str, bool], None]) -> None:
        """Call `listener(room, user, whether they type)` each time that is said or ends; it must be quick."""
        self._listeners.append(listener)

    @property
    def position(self) -> int:
        """Grows with each change; starts at the wall clock in ms, so it never goes back over restarts."""
        return self._position

    def changed_since(self, position: int) -> dict[str, list[str]]:
        """Who is typing, in the rooms where that changed after `position`; 0: all rooms where someone types."""
        if position == 0:
            return {room_id: sorted(users) for room_id, users in self._typing.items()}
        found: dict[str, list[str]] = {}
        for room_id in reversed(self._changed):
            if self._changed[room_id] <= position:
                break
            found[room_id] = sorted(self._typing.get(room_id, ()))
        return found

    def start(self, room_id: str, user_id: str, timeout_ms: int) -> None:
        """The user types for `timeout_ms` (cut to MAX_TIMEOUT_MS) from now."""
        users = self._typing.setdefault(room_id, {})
        timer = users.pop(user_id, None)
        if timer is not None:
            timer.cancel()
        seconds = min(timeout_ms, MAX_TIMEOUT_MS) / 1000
        users[user_id] = asyncio.get_running_loop().call_later(seconds, self.stop, room_id, user_id)
        if timer is None:
            self._note_change(room_id)
        for listener in self._listeners:
            listener(room_id, user_id, True)

    def stop(self, room_id: str, user_id: str) -> None:
        """The user types no more."""
        users = self._typing.get(room_id, {})
        timer = users.pop(user_id, None)
        if timer is None:
            return
        timer.cancel()
        if not users:
            del self._typing[room_id]
        self._note_change(room_id)
        for listener in self._listeners:
            listener(room_id, user_id, False)

    def close(self) -> None:
        """Cancel every timer."""
        for users in self._typing.values():
            for timer in users.values():
                timer.cancel()
        self._typing.clear()

    def _note_change(self, room_id: str) -> None:
        self._position += 1
        self._changed.pop(room_id, None)
        self._changed[room_id] = self._position
        self._notifier.publish_ephemeral(room_id)
