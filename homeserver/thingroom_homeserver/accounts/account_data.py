"""What clients keep about a user, for all rooms or one: account data, and the tags and read markers among them.

May import storage, the notifier and thingroom_common. It is the `AccountData` port of rooms/ports.py.
Source: client-server API, "Client Config".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage import account_data as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import next_position

NO_ROOM = ""
PUSH_RULES = "m.push_rules"
SERVER_MANAGED = frozenset({"m.fully_read", PUSH_RULES})

JsonObject = dict[str, Any]


class AccountData:
    """The table of account data."""

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier
        self._watchers: list[Callable[[Transaction, str, str], None]] = []

    def add_watcher(self, watcher: Callable[[Transaction, str, str], None]) -> None:
        """Call `watcher(transaction, user_id, kind)` within each write of global data."""
        self._watchers.append(watcher)

    def read(self, user_id: str, kind: str, room_id: str = NO_ROOM) -> JsonObject | None:
        """The content of that type; None if it was never set."""
        text = self._database.read(lambda connection: storage.read_data(connection, user_id, room_id, kind))
        return None if text is None else orjson.loads(text)

    async def set(self, user_id: str, kind: str, content: JsonObject, room_id: str = NO_ROOM) -> None:
        """Replace the content of that type."""
        await self.change(user_id, kind, lambda _: content, room_id)

    async def set_limited(self, user_id: str, kind: str, content: JsonObject, room_id: str, limit: int) -> bool:
        """The same, for a type that the user made up. False if it were one more than `limit` for the user."""

        def write(transaction: Transaction) -> bool:
            is_new = storage.read_data(transaction, user_id, room_id, kind) is None
            if is_new and storage.count_data(transaction, user_id) >= limit:
                return False
            self.set_within(transaction, user_id, kind, content, room_id)
            return True

        return await self._database.write(write)

    async def change(
        self, user_id: str, kind: str, change: Callable[[JsonObject], JsonObject | None], room_id: str = NO_ROOM
    ) -> None:
        """Replace the content ({} where there is none) by what `change` makes of it; None leaves it alone."""

        def write(transaction: Transaction) -> None:
            text = storage.read_data(transaction, user_id, room_id, kind)
            content = change({} if text is None else orjson.loads(text))
            if content is not None:
                self.set_within(transaction, user_id, kind, content, room_id)

        await self._database.write(write)

    def set_within(
        self, transaction: Transaction, user_id: str, kind: str, content: JsonObject, room_id: str = NO_ROOM
    ) -> None:
        """`set`, as a part of a larger write."""
        position = next_position(transaction)
        storage.set_data(transaction, user_id, room_id, kind, orjson.dumps(content).decode(), position)
        if room_id == NO_ROOM:
            for watcher in self._watchers:
                watcher(transaction, user_id, kind)
        transaction.after_commit(lambda: self._notifier.publish_user(user_id, position))

    def global_since(self, connection: Reader, user_id: str, since: int, upto: int) -> list[JsonObject]:
        """`{type, content}` of the user's global data set at since < position <= upto; since 0: all."""
        return [
            {"type": row["type"], "content": orjson.loads(row["content"])}
            for row in storage.data_since(connection, user_id, since, upto)
            if row["room_id"] == NO_ROOM
        ]

    def rooms_since(self, connection: Reader, user_id: str, since: int, upto: int) -> dict[str, list[JsonObject]]:
        """The same for data of single rooms, by room id."""
        found: dict[str, list[JsonObject]] = {}
        for row in storage.data_since(connection, user_id, since, upto):
            if row["room_id"] != NO_ROOM:
                event = {"type": row["type"], "content": orjson.loads(row["content"])}
                found.setdefault(row["room_id"], []).append(event)
        return found
