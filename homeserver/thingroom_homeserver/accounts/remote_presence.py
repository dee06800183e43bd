"""The presence of users of other servers, as those servers tell it.

Kept in memory while somebody is there and written down with a stream position when the state changes, like that of
local users. What is not told again for half an hour is over. May import storage, the notifier and the clock.
Source: Server-Server API, "Presence". Next: presence.py, which asks here for whoever is not local.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage import presence as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.device_lists import share_a_room
from thingroom_homeserver.storage.memberships import joined_remote_users, rooms_of_user
from thingroom_homeserver.storage.positions import next_position

EXPIRES_MS = 30 * 60_000
MAX_REMEMBERED = 20_000
ROOMS_TOLD = 1000

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemotePresence:
    """What another server says of one of its users. active_ms: when the user last did something."""

    state: str
    status_msg: str | None
    active_ms: int
    currently_active: bool
    heard_ms: int = 0


class Occupancy(Protocol):
    def joined_users(self, room_id: str) -> AbstractSet[str]: ...


class RemotePresences:
    """The users of other servers who are there. Must be used on the event loop."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        occupancy: Occupancy,
        clock: Clock,
        is_local: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._occupancy = occupancy
        self._clock = clock
        self._there: OrderedDict[str, RemotePresence] = OrderedDict()
        for row in database.read(storage.users_there):
            if not is_local(row["user_id"]):
                self._there[row["user_id"]] = RemotePresence(
                    row["state"], row["status_msg"], row["last_active_ts"], False, clock.now_ms()
                )

    def users(self) -> list[str]:
        """Who is there."""
        return list(self._there)

    def among(self, connection: Reader, room_id: str) -> list[str]:
        """Who is there of those joined to the room."""
        return [user for user in joined_remote_users(connection, room_id) if user in self._there]

    def shares_room(self, connection: Reader, user_id: str, other: str) -> bool:
        """Whether the local `user_id` may see the presence of the remote `other`."""
        return share_a_room(connection, user_id, other)

    def content(self, connection: Reader, user_id: str) -> JsonObject:
        """The content of the user's m.presence event."""
        there = self._there.get(user_id)
        if there is None:
            row = storage.presence_of(connection, user_id)
            if row is None:
                return {"presence": "offline"}
            there = RemotePresence("offline", row["status_msg"], row["last_active_ts"], False)
        content: JsonObject = {
            "presence": there.state,
            "last_active_ago": max(0, self._clock.now_ms() - there.active_ms),
        }
        if there.state == "online":
            content["currently_active"] = there.currently_active
        if there.status_msg is not None:
            content["status_msg"] = there.status_msg
        return content

    async def receive(self, told: dict[str, RemotePresence]) -> None:
        """What a server says of its users who share a room with local ones. Only what changed is written and told."""
        changed = {}
        now_ms = self._clock.now_ms()
        for user_id, presence in told.items():
            before = self._there.get(user_id)
            self._remember(user_id, presence, now_ms)
            if before is None or (before.state, before.status_msg, before.currently_active) != (
                presence.state,
                presence.status_msg,
                presence.currently_active,
            ):
                changed[user_id] = presence
        await self._write(changed)

    async def sweep(self) -> None:
        """Those of whom nothing was heard for long are offline."""
        now_ms = self._clock.now_ms()
        over = {}
        for user_id, there in self._there.items():
            if now_ms - there.heard_ms <= EXPIRES_MS:
                break  # in the order in which they were heard of
            over[user_id] = RemotePresence("offline", there.status_msg, there.active_ms, False)
        for user_id in over:
            del self._there[user_id]
        await self._write(over)

    def _remember(self, user_id: str, presence: RemotePresence, now_ms: int) -> None:
        self._there.pop(user_id, None)
        if presence.state != "offline":
            self._there[user_id] = RemotePresence(
                presence.state, presence.status_msg, presence.active_ms, presence.currently_active, now_ms
            )
            if len(self._there) > MAX_REMEMBERED:
                self._there.popitem(last=False)

    async def _write(self, changed: dict[str, RemotePresence]) -> None:
        if not changed:
            return

        def write(transaction: Transaction) -> None:
            for user_id, presence in changed.items():
                position = next_position(transaction)
                storage.set_presence(
                    transaction, user_id, presence.state, presence.status_msg, presence.active_ms, position
                )
                neighbours = self._neighbours(transaction, user_id)
                transaction.after_commit(_telling(self._notifier, neighbours, position))

        await self._database.write(write)

    def _neighbours(self, connection: Reader, user_id: str) -> Collection[str]:
        found: set[str] = set()
        for member in rooms_of_user(connection, user_id, ("join",))[:ROOMS_TOLD]:
            found |= self._occupancy.joined_users(member.room_id)
        return found


def _telling(notifier: Notifier, user_ids: Iterable[str], position: int) -> Callable[[], None]:
    return lambda: notifier.publish_users(user_ids, position)
