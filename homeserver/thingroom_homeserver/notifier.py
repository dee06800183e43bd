"""Who is waiting for what: wakes the long polls of the users that a committed change concerns.

Everything here is told from `Transaction.after_commit`, so a woken reader finds the change on disk. One event loop
owns it; nothing is locked. Imports the standard library only. Next: sync/long_poll.py.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable


class Notifier:
    """The last committed position, the rooms in order of their last change, and the users that wait.

    `joined_users` names the local users joined to a room. `position` is where the stream stood at the start: what
    changed before it is not in the order of rooms (see `rooms_changed_since`).
    """

    def __init__(self, joined_users: Callable[[str], Collection[str]], position: int) -> None:
        self._joined_users = joined_users
        self._position = position
        self._floor = position
        self._room_positions: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._listeners: list[Callable[[int], None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._closed = False

    @property
    def position(self) -> int:
        """The last committed position that was told here: the upper end of what a /sync shows."""
        return self._position

    @property
    def closed(self) -> bool:
        """True once the server stops: long polls answer at once."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many long polls wait now."""
        return sum(map(len, self._waiting.values()))

    def publish_room(self, room_id: str, position: int, user_ids: Iterable[str] = ()) -> None:
        """A change in a room (event, receipt) is committed: wake its joined users, and `user_ids` besides."""
        self._advance(position)
        self._room_positions[room_id] = position
        self._room_positions.move_to_end(room_id)
        self._wake_room(room_id)
        for user_id in user_ids:
            self._wake(user_id)
        for listener in self._listeners:
            listener(position)
        self._tell_watchers()

    def publish_user(self, user_id: str, position: int) -> None:
        """A change for one user (account data, invite, to-device) is committed."""
        self._advance(position)
        self._wake(user_id)
        self._tell_watchers()

    def publish_users(self, user_ids: Iterable[str], position: int) -> None:
        """The same for several users, who hear of it together."""
        self._advance(position)
        for user_id in user_ids:
            self._wake(user_id)
        self._tell_watchers()

    def publish_ephemeral(self, room_id: str) -> None:
        """Something that is not stored (typing) changed in a room."""
        self._wake_room(room_id)
        self._tell_watchers()

    def rooms_changed_since(self, position: int) -> list[str] | None:
        """Rooms with a change after `position`, last change first; None if that reaches before the start."""
        if position < self._floor:
            return None
        changed = []
        for room_id in reversed(self._room_positions):
            if self._room_positions[room_id] <= position:
                break
            changed.append(room_id)
        return changed

    def add_listener(self, listener: Callable[[int], None]) -> None:
        """Call `listener(position)` for each committed change in any room; it must be quick."""
        self._listeners.append(listener)

    def add_watcher(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` for each change of any kind, stored or not; it must be quick."""
        self._watchers.append(watcher)

    async def wait(self, user_id: str, seconds: float) -> bool:
        """Wait up to `seconds` for a change for the user. True if there was one.

        What changes between the caller's last read and this call is not missed as long as the caller did not
        await in between.
        """
        if self._closed or seconds <= 0:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, set()).add(future)
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return False
        finally:
            waiting = self._waiting.get(user_id)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[user_id]
        return not self._closed

    def close(self) -> None:
        """Release every long poll."""
        self._closed = True
        for user_id in list(self._waiting):
            self._wake(user_id)

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _advance(self, position: int) -> None:
        self._position = max(self._position, position)

    def _wake_room(self, room_id: str) -> None:
        joined = self._joined_users(room_id)
        if len(joined) < len(self._waiting):
            for user_id in joined:
                self._wake(user_id)
        else:
            for user_id in [user_id for user_id in self._waiting if user_id in joined]:
                self._wake(user_id)

    def _wake(self, user_id: str) -> None:
        for future in self._waiting.pop(user_id, ()):
            if not future.done():
                future.set_result(None)
