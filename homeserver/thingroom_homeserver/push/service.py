"""The push part put together: recording, counting, pushers and their delivery, and the tidying of old rows.

May import the modules beside it. server.py makes one before the rooms (which it watches) and opens it after them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.mailer import Mailer
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.push.delivery import Delivery, Patience
from thingroom_homeserver.push.gateway import PushGateway
from thingroom_homeserver.push.letters import LetterPatience, Letters
from thingroom_homeserver.push.pushers import Pushers
from thingroom_homeserver.push.recording import Recorder
from thingroom_homeserver.push.unread import Unread
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.memberships import joined_local_users
from thingroom_homeserver.storage.notifications import next_room

logger = logging.getLogger(__name__)

TIDY_EVERY_SECONDS = 3600.0
KEEP_MS = 14 * 86_400_000
KEEP_ROWS = 10_000


class Push:
    """What the rest of the homeserver needs of the push part."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._delivery: Delivery | None = None
        self.unread = Unread()
        self.recorder = Recorder(self.unread, self._room_notified, self._user_changed)
        self.pushers = Pushers(database, clock, self._pusher_set)

    def read_up_to(self, transaction: Transaction, user_id: str, room_id: str, thread_id: str, position: int) -> None:
        """The user's receipt moved."""
        self.unread.read_up_to(transaction, user_id, room_id, thread_id, position)
        transaction.after_commit(lambda: self._user_changed(user_id))

    @asynccontextmanager
    async def running(
        self,
        rooms: Rooms,
        aliases_of: Callable[[str], list[str]],
        connector: aiohttp.TCPConnector,
        patience: Patience,
        mailer: Mailer | None = None,
        letter_patience: LetterPatience = LetterPatience(),  # noqa: B008 - frozen
    ) -> AsyncIterator[None]:
        """Deliver and tidy while the block runs. `connector` is a guarded one: users name the gateways."""
        letters = None
        if mailer is not None:
            letters = Letters(self._database, rooms, self.unread, self._clock, mailer, letter_patience)
        async with aiohttp.ClientSession(connector=connector) as http:
            delivery = Delivery(self._database, rooms, self.unread, PushGateway(http), aliases_of, patience, letters)
            self._delivery = delivery
            delivery.start()
            tidying = asyncio.create_task(self._keep_tidy(), name="tidy notifications")
            try:
                yield
            finally:
                self._delivery = None
                tidying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await tidying
                await delivery.close()

    async def tidy(self, keep_ms: int = KEEP_MS, keep_rows: int = KEEP_ROWS) -> None:
        """Turn rows older than that, or beyond so many of a room, into counts. One write a room."""
        older_than = self._clock.now_ms() - keep_ms
        room_id = self._next_room("")
        while room_id is not None:
            await self._database.write(partial(self._tidy_room, room_id, older_than, keep_rows))
            room_id = self._next_room(room_id)

    def _next_room(self, after: str) -> str | None:
        return self._database.read(lambda connection: next_room(connection, after))

    def _tidy_room(self, room_id: str, older_than_ms: int, keep_rows: int, transaction: Transaction) -> None:
        users = joined_local_users(transaction, room_id)
        self.unread.summarise(transaction, room_id, users, older_than_ms, keep_rows)

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY_SECONDS)
            try:
                await self.tidy()
            except Exception:
                logger.exception("notifications could not be tidied; it is tried again in an hour")

    def _room_notified(self, room_id: str, invited: str | None) -> None:
        if self._delivery is not None:
            self._delivery.room_notified(room_id, invited)

    def _user_changed(self, user_id: str) -> None:
        if self._delivery is not None:
            self._delivery.user_changed(user_id)

    def _pusher_set(self, pusher_id: int, user_id: str) -> None:
        if self._delivery is not None:
            self._delivery.pusher_set(pusher_id, user_id)
