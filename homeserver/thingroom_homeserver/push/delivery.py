"""Delivering notifications to push gateways: in order, each at least once, from where a restart left off.

A pusher's place in the stream is on disk; its task runs only while there is something to send. A gateway that fails
is tried again ever more rarely, and a notification that it does not take for a day is passed over.
May import storage and rooms. Source: Push Gateway API, "Homeserver behaviour". Next: body.py, gateway.py; letters.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from thingroom_common.database import Database
from thingroom_homeserver.push.body import count_body, event_body, url_of
from thingroom_homeserver.push.gateway import Accepted, Failed, PushGateway
from thingroom_homeserver.push.letters import Letters, NotPosted, Posted, is_email
from thingroom_homeserver.push.listing import next_unread
from thingroom_homeserver.push.unread import Unread
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage import pushers as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.notifications import Notification, event_id_at
from thingroom_homeserver.storage.pushers import PusherRow

logger = logging.getLogger(__name__)

AT_ONCE = 20
SAVE_EVERY = 1000
START_AGAIN_AFTER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: the first and the longest wait before another try, when to pass over, when to tell a new count."""

    first: float = 1.0
    longest: float = 3600.0
    give_up: float = 86_400.0
    settle: float = 0.5


class Delivery:
    """All pushers. `start` it once the loop runs, `close` it at the end."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        unread: Unread,
        gateway: PushGateway,
        aliases_of: Callable[[str], list[str]],
        patience: Patience,
        letters: Letters | None = None,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._unread = unread
        self._gateway = gateway
        self._aliases_of = aliases_of
        self._patience = patience
        self._letters = letters
        self._pushers: dict[str, set[int]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._news: dict[int, asyncio.Event] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._closed = False

    def start(self) -> None:
        """Send what was not sent before the server stopped."""
        for pusher_id, user_id in self._database.read(storage.all_pushers):
            self.pusher_set(pusher_id, user_id)

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def pusher_set(self, pusher_id: int, user_id: str) -> None:
        """There is a pusher, new or changed."""
        self._pushers.setdefault(user_id, set()).add(pusher_id)
        self._wake(pusher_id)

    def room_notified(self, room_id: str, invited: str | None) -> None:
        """A committed event notified somebody in the room, or the one who is invited."""
        if not self._pushers:
            return
        for user_id in self._pushers.keys() & self._rooms.occupancy.joined_users(room_id):
            self.user_changed(user_id)
        if invited is not None:
            self.user_changed(invited)

    def user_changed(self, user_id: str) -> None:
        """The user may have another count, or something to be told."""
        for pusher_id in self._pushers.get(user_id, ()):
            self._wake(pusher_id)

    def _wake(self, pusher_id: int) -> None:
        if self._closed:
            return
        if pusher_id in self._tasks:
            self._news[pusher_id].set()
            return
        self._news[pusher_id] = asyncio.Event()
        self._tasks[pusher_id] = asyncio.create_task(self._keep_running(pusher_id), name="pusher")

    async def _keep_running(self, pusher_id: int) -> None:
        """Run until there is nothing to send. A failure of our own is logged, and after a pause it goes on."""
        try:
            while True:
                try:
                    await self._run(pusher_id)
                    return
                except Exception:
                    logger.exception("a pusher failed")
                    await asyncio.sleep(START_AGAIN_AFTER_SECONDS)
        finally:
            del self._tasks[pusher_id], self._news[pusher_id]

    async def _run(self, pusher_id: int) -> None:
        failing_for, wait = 0.0, self._patience.first
        while True:
            self._news[pusher_id].clear()
            pusher = self._database.read(lambda connection: storage.find_pusher(connection, pusher_id))
            if pusher is None:
                self._forget(pusher_id)
                return
            outcome: Accepted | Failed | Posted | None
            if is_email(pusher):
                outcome = await self._write_letter(pusher)
            else:
                outcome = await self._step(pusher, pass_over=failing_for >= self._patience.give_up)
            if isinstance(outcome, Failed):
                if failing_for == 0.0:
                    logger.warning("%s does not take a notification: %s", pusher.app_id, outcome.reason)
                await asyncio.sleep(wait)
                failing_for += wait
                wait = min(wait * 2, self._patience.longest)
                continue
            failing_for, wait = 0.0, self._patience.first
            if outcome is None and not self._news[pusher_id].is_set():
                return

    async def _write_letter(self, pusher: PusherRow) -> Posted | Failed | None:
        """The same for an email pusher; without a mail server it rests."""
        posted = None if self._letters is None else await self._letters.step(pusher)
        return Failed("the mail server did not take it") if isinstance(posted, NotPosted) else posted

    async def _step(self, pusher: PusherRow, *, pass_over: bool) -> Accepted | Failed | None:
        """Send the next thing there is to say, and remember that it was said. None: there is nothing."""
        upto = self._rooms.notifier.position
        notification = self._database.read(lambda connection: self._next(connection, pusher, upto))
        badge = self._badge(pusher.user_id, upto)
        if notification is None:
            if badge == pusher.badge:
                # What was passed over need not be saved at once: it will be passed over again.
                if upto - pusher.position >= SAVE_EVERY:
                    await self._save(pusher, upto, badge)
                return None
            # Many receipts come together, and a count is soon followed by the next.
            await asyncio.sleep(self._patience.settle)
            upto = self._rooms.notifier.position
            badge = self._badge(pusher.user_id, upto)
            if badge == pusher.badge:
                return Accepted(frozenset())
            body, position = count_body(pusher, badge), pusher.position
        else:
            found = self._database.read(lambda connection: self._body(connection, pusher, notification, badge))
            if found is None:
                await self._save(pusher, notification.position, pusher.badge)
                return Accepted(frozenset())
            body, position = found, notification.position
        if pass_over:
            await self._save(pusher, position, badge)
            return Accepted(frozenset())
        async with self._at_once:
            outcome = await self._gateway.notify(url_of(pusher), body)
        if isinstance(outcome, Accepted):
            if pusher.pushkey in outcome.rejected:
                logger.info("a push gateway rejected a pushkey of %s: its pusher is removed", pusher.app_id)
                await self._database.write(
                    lambda t: storage.delete_pusher(t, pusher.user_id, pusher.app_id, pusher.pushkey)
                )
            else:
                await self._save(pusher, position, badge)
        return outcome

    def _next(self, connection: Reader, pusher: PusherRow, upto: int) -> Notification | None:
        joined = self._rooms.occupancy.joined_rooms(pusher.user_id)
        return next_unread(connection, self._unread, pusher.user_id, joined, pusher.position, upto)

    def _badge(self, user_id: str, upto: int) -> int:
        joined = self._rooms.occupancy.joined_rooms(user_id)
        return self._database.read(lambda connection: self._unread.badge(connection, user_id, joined, upto))

    def _body(
        self, connection: Reader, pusher: PusherRow, notification: Notification, badge: int
    ) -> dict[str, object] | None:
        event_id = event_id_at(connection, notification.position)
        stored = None if event_id is None else self._rooms.events.get(connection, event_id)
        if stored is None:
            return None
        return event_body(self._rooms, connection, self._aliases_of, pusher, notification, stored, badge)

    async def _save(self, pusher: PusherRow, position: int, badge: int) -> None:
        await self._database.write(lambda transaction: storage.save_progress(transaction, pusher.id, position, badge))

    def _forget(self, pusher_id: int) -> None:
        for user_id, pushers in list(self._pushers.items()):
            if pusher_id in pushers:
                pushers.discard(pusher_id)
                if not pushers:
                    del self._pushers[user_id]
