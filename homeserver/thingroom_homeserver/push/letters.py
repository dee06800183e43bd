"""What email pushers send: one mail for what was missed, once it has been unread for a while, and not too often.

A mail says where and from whom, not what: it travels and lies about in the clear. May import rooms, storage and the
mailer. Source: client-server API, POST /pushers/set, kind "email". Called by delivery.py in the place of a gateway.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import orjson

from thingroom_common.database import Database
from thingroom_homeserver.accounts.mailer import Mailer
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.push.listing import next_unread
from thingroom_homeserver.push.unread import Unread
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import MEMBER, current_entry
from thingroom_homeserver.storage.notifications import Notification, event_id_at
from thingroom_homeserver.storage.pushers import PusherRow, save_progress

EMAIL = "email"
APP_ID = "m.email"
MAX_LISTED = 50
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class LetterPatience:
    """In seconds: how long something is unread before there is a mail of it, and the least time between two mails."""

    unread_for: float = 600.0
    between: float = 3600.0


@dataclass(frozen=True, slots=True)
class Posted:
    """The mail was handed over, or there is nothing to tell after all: on to the next."""


@dataclass(frozen=True, slots=True)
class NotPosted:
    """The mail server did not take it: worth another try."""


def is_email(pusher: PusherRow) -> bool:
    return bool(orjson.loads(pusher.fields)["kind"] == EMAIL)


class Letters:
    """Writes to the users who have an email pusher."""

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        unread: Unread,
        clock: Clock,
        mailer: Mailer,
        patience: LetterPatience,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._unread = unread
        self._clock = clock
        self._mailer = mailer
        self._patience = patience
        self._last: dict[int, float] = {}

    async def step(self, pusher: PusherRow) -> Posted | NotPosted | None:
        """Wait until something has been unread long enough and write of it. None: there is nothing unread."""
        first = self._database.read(lambda connection: self._next(connection, pusher, pusher.position))
        if first is None:
            return None
        now_ms = self._clock.now_ms()
        unread_for = (now_ms - first.ts) / 1000
        since_last = self._clock.monotonic() - self._last.get(pusher.id, -self._patience.between)
        wait = max(self._patience.unread_for - unread_for, self._patience.between - since_last)
        if wait > 0:
            await asyncio.sleep(wait)
            return Posted()  # it may have been read meanwhile: look again
        missed = self._database.read(lambda connection: self._missed(connection, pusher))
        subject, text = self._database.read(lambda connection: self._letter(connection, missed))
        if not await self._mailer.send(pusher.pushkey, subject, text):
            return NotPosted()
        self._last[pusher.id] = self._clock.monotonic()
        position = missed[-1].position
        await self._database.write(lambda t: save_progress(t, pusher.id, position, pusher.badge))
        return Posted()

    def _next(self, connection: Reader, pusher: PusherRow, above: int) -> Notification | None:
        joined = self._rooms.occupancy.joined_rooms(pusher.user_id)
        return next_unread(connection, self._unread, pusher.user_id, joined, above, self._rooms.notifier.position)

    def _missed(self, connection: Reader, pusher: PusherRow) -> list[Notification]:
        """What is unread, oldest first, at most MAX_LISTED."""
        missed: list[Notification] = []
        found = self._next(connection, pusher, pusher.position)
        while found is not None and len(missed) < MAX_LISTED:
            missed.append(found)
            found = self._next(connection, pusher, found.position)
        return missed

    def _letter(self, connection: Reader, missed: list[Notification]) -> tuple[str, str]:
        """Subject and text."""
        by_room: dict[str, Counter[str]] = {}
        for notification in missed:
            event_id = event_id_at(connection, notification.position)
            stored = None if event_id is None else self._rooms.events.get(connection, event_id)
            if stored is not None:
                sender = self._name_of(connection, notification.room_id, MEMBER, stored.event.sender, "displayname")
                by_room.setdefault(notification.room_id, Counter())[sender or stored.event.sender] += 1
        lines = []
        for room_id, senders in by_room.items():
            name = self._name_of(connection, room_id, "m.room.name", "", "name") or "a room without a name"
            people = ", ".join(f"{sender} ({count})" for sender, count in senders.most_common(5))
            lines.append(f"* {name}: {people}")
        more = " or more" if len(missed) == MAX_LISTED else ""
        subject = f"{len(missed)}{more} unread on {self._rooms.server_name}"
        text = (
            "Hello,\n\nthere are messages for you that you have not read:\n\n"
            + "\n".join(lines)
            + "\n\nYou get this mail because your Matrix account has email notifications; your client's settings can"
            "\nswitch them off.\n"
        )
        return subject, text

    def _name_of(self, connection: Reader, room_id: str, event_type: str, state_key: str, field: str) -> str | None:
        """A name out of the room's state, on one line."""
        event_id = current_entry(connection, room_id, event_type, state_key)
        stored = None if event_id is None else self._rooms.events.get(connection, event_id)
        value = None if stored is None else stored.event.content.get(field)
        if not isinstance(value, str):
            return None
        return "".join(letter for letter in value if letter.isprintable())[:MAX_NAME] or None
