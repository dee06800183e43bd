"""What every courier works with, in one frozen value, and the questions about rooms that all of them ask.

May import rooms, storage and core. Made in sender.py.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from thingroom_common.database import Database
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.server_acl import server_allowed
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.sender.book import DestinationBook
from thingroom_homeserver.federation.traffic import Traffic
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.room_servers import is_server_in_room

JsonObject = dict[str, Any]

SENDING_AT_ONCE = 128
RETRYING_AT_ONCE = 16
CATCHING_UP_AT_ONCE = 2
MAX_REMEMBERED = 20_000


class Client(Protocol):
    """The client of this package, as far as the sender uses it."""

    async def request(
        self,
        destination: str,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        ignore_backoff: bool = False,
    ) -> JsonObject | Failed: ...


class PresenceSource(Protocol):
    def of(self, user_id: str) -> JsonObject:
        """The content of the user's m.presence event."""
        ...

    def is_there(self, user_id: str) -> bool:
        """Whether the local user is online or idle."""
        ...


@dataclass(frozen=True)
class Kit:
    """The collaborators of a courier, and its limits.

    gets_all_upto: a server that missed no more events than these gets them all. max_waiting_events: how many wait in
    memory for a server that answers; beyond that they are read from the tables later.
    sending, retrying, catching_up: how many couriers may do that at once. Servers that fail have slots of their own, so
    that they take none from those that answer.
    """

    rooms: Rooms
    database: Database
    clock: Clock
    client: Client
    book: DestinationBook
    presence: PresenceSource
    presence_interval_seconds: float = 5.0
    refused_initial_seconds: float = 1.0
    refused_max_seconds: float = 3600.0
    gets_all_upto: int = 500
    max_waiting_events: int = 500
    traffic: Traffic = field(default_factory=Traffic)
    sending: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SENDING_AT_ONCE))
    retrying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RETRYING_AT_ONCE))
    catching_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CATCHING_UP_AT_ONCE))
    _allowed: OrderedDict[tuple[str, str], bool] = field(default_factory=OrderedDict)

    @property
    def own_name(self) -> str:
        return self.rooms.server_name

    def may_take_part(self, connection: Reader, room_id: str, server_name: str) -> bool:
        """Whether the room's m.room.server_acl, as it is now, allows the server."""
        event_id = current_entry(connection, room_id, "m.room.server_acl", "")
        if event_id is None:
            return True
        key = (event_id, server_name)
        allowed = self._allowed.get(key)
        if allowed is None:
            stored = self.rooms.events.get(connection, event_id)
            allowed = server_allowed(None if stored is None else stored.event.content, server_name)
            self._allowed[key] = allowed
            if len(self._allowed) > MAX_REMEMBERED:
                self._allowed.popitem(last=False)
        return allowed

    def hears_of_room(self, connection: Reader, room_id: str, server_name: str) -> bool:
        """Whether the server is told what users do in the room now."""
        return is_server_in_room(connection, room_id, server_name) and self.may_take_part(
            connection, room_id, server_name
        )

    def is_local(self, user_id: str) -> bool:
        return self.rooms.is_local(user_id)


Wake = Callable[[Iterable[str]], None]
