"""The rooms that this server is about to be in: a join runs, and the other servers send their news already.

Imports the standard library only. memberships.py says what is entered; inbox.py waits for it with what comes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Arriving:
    """Which rooms are being entered. One join or knock runs in a room at a time."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def entering(self, room_id: str) -> AsyncIterator[None]:
        """The block is the only one for this room; others wait at its beginning."""
        lock = self._locks.setdefault(room_id, asyncio.Lock())
        self._users[room_id] = self._users.get(room_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[room_id] -= 1
            if not self._users[room_id]:
                del self._users[room_id], self._locks[room_id]

    async def settled(self, room_id: str, seconds: float) -> None:
        """Wait until nobody enters the room, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (lock := self._locks.get(room_id)) is not None:
                    async with lock:
                        pass
                    await asyncio.sleep(0)
