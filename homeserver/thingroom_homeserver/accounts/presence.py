"""Who is there: states in memory while somebody is, each change of one written down with a stream position.

A user is online while a client syncs, unavailable when it says so or nothing was done for a while, offline when no
client has synced for a moment. Only changes of state are written and told; that somebody is still active is not.
May import storage, the notifier and the clock. Source: client-server API, "Presence".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.remote_presence import RemotePresences
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage import presence as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import next_position

STATES = frozenset({"online", "offline", "unavailable"})
ACTIVE_FOR_MS = 60_000
IDLE_AFTER_MS = 5 * 60_000
OFFLINE_AFTER_MS = 30_000
SWEEP_SECONDS = 5.0
MAX_TOLD = 1000
"""How many users one answer tells of at most: those that changed last."""

JsonObject = dict[str, Any]


class Occupancy(Protocol):
    def joined_rooms(self, user_id: str) -> AbstractSet[str]:
        """The rooms that a local user is in."""
        ...

    def joined_users(self, room_id: str) -> AbstractSet[str]:
        """The local users in a room."""
        ...


@dataclass(slots=True)
class _There:
    """A user who is not offline. syncing: requests under way. wishes: what each device asked for last."""

    state: str
    status_msg: str | None
    active_ms: int
    synced_ms: int
    told_active: bool = False
    syncing: int = 0
    wishes: dict[str, str] = field(default_factory=dict)


class Presence:
    """The presence of local users, and what is known of that of others. Must be used on the event loop."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        occupancy: Occupancy,
        clock: Clock,
        server_name: str,
        *,
        enabled: bool = True,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._occupancy = occupancy
        self._clock = clock
        self._server_name = server_name
        self._enabled = enabled
        self._listeners: list[Callable[[str], None]] = []
        self.remote = RemotePresences(database, notifier, occupancy, clock, self._is_local)
        self._there: dict[str, _There] = {}
        self._writes: set[asyncio.Task[None]] = set()
        if enabled:
            now_ms = clock.now_ms()
            # Whoever was there when the server stopped has the usual moment to come back.
            for row in database.read(storage.users_there):
                if self._is_local(row["user_id"]):
                    self._there[row["user_id"]] = _There(row["state"], row["status_msg"], row["last_active_ts"], now_ms)

    @property
    def enabled(self) -> bool:
        return self._enabled

    def add_listener(self, listener: Callable[[str], None]) -> None:
        """Call `listener(user)` when a change of a local user's presence is committed; it must be quick."""
        self._listeners.append(listener)

    def is_there(self, user_id: str) -> bool:
        """Whether the local user is online or idle."""
        there = self._there.get(user_id)
        return there is not None and there.state != "offline"

    async def set(self, user_id: str, state: str, status_msg: str | None) -> None:
        """What the user says: `state` is one of STATES. Saying online is activity."""
        if not self._enabled:
            return
        now_ms = self._clock.now_ms()
        there = self._there.get(user_id) or _There("offline", None, now_ms, now_ms)
        there.state, there.status_msg, there.synced_ms = state, status_msg, now_ms
        if state == "online":
            there.active_ms = now_ms
        await self._change(user_id, there)

    @contextlib.asynccontextmanager
    async def syncing(self, user_id: str, device_id: str | None, wish: str) -> AsyncIterator[None]:
        """Around a sync: `wish` is its set_presence. A device that was idle is active again with the
        first request that says online; it makes the user idle unless another device says online."""
        if not self._enabled or wish == "offline":
            yield
            return
        now_ms, device = self._clock.now_ms(), device_id or ""
        there = self._there.get(user_id)
        if there is None:
            there = self._there[user_id] = self._returning(user_id, now_ms)
        before = there.wishes.get(device)
        there.wishes[device] = wish
        if wish == "online":
            change = there.state == "offline" or before == "unavailable"
            there.active_ms = now_ms if change else there.active_ms
        else:
            change = there.state != wish and "online" not in there.wishes.values()
        if change:
            there.state = wish
        there.syncing += 1
        try:
            if change:
                await self._change(user_id, there)  # so that the sync tells it, instead of being woken by it
            yield
        finally:
            there.syncing -= 1
            there.synced_ms = self._clock.now_ms()

    def note_active(self, user_id: str) -> None:
        """The user did something: whoever was idle is online again."""
        there = self._there.get(user_id)
        if there is None:
            return
        there.active_ms = self._clock.now_ms()
        if there.state == "unavailable" or (there.state == "online" and not there.told_active):
            there.state = "online"
            self._change_later(user_id, there)

    def sweep(self) -> None:
        """Make those idle or offline whose time is over: O(users who are there)."""
        now_ms = self._clock.now_ms()
        for user_id, there in list(self._there.items()):
            idle_ms = now_ms - there.active_ms
            if not there.syncing and now_ms - there.synced_ms > OFFLINE_AFTER_MS:
                if there.state == "offline":
                    del self._there[user_id]
                    continue
                there.state = "offline"
            elif there.state == "online" and idle_ms > IDLE_AFTER_MS:
                there.state = "unavailable"
            elif not (there.state == "online" and there.told_active and idle_ms > ACTIVE_FOR_MS):
                continue
            self._change_later(user_id, there)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()
            await self.remote.sweep()

    async def settled(self) -> None:
        """Wait until every change so far is written and told."""
        while self._writes:
            await asyncio.wait(self._writes)

    def of(self, user_id: str) -> JsonObject:
        """The body of GET /presence/{userId}/status, and the content of an m.presence event."""
        return self._database.read(lambda connection: self._content(connection, user_id))

    def shares_room(self, user_id: str, other: str) -> bool:
        """Whether the local user `user_id` may see the presence of `other`."""
        if not self._is_local(other):
            return self._database.read(lambda connection: self.remote.shares_room(connection, user_id, other))
        mine, others = self._occupancy.joined_rooms(user_id), self._occupancy.joined_rooms(other)
        small, large = sorted((mine, others), key=len)
        return user_id == other or any(room_id in large for room_id in small)

    def since(
        self, connection: Reader, user_id: str, since: int | None, upto: int, new_rooms: Collection[str]
    ) -> list[JsonObject]:
        """m.presence events of users who share a room: changed at since < position <= upto; None: who is there now.

        Besides those who are in `new_rooms`, which the user has just joined.
        """
        if not self._enabled:
            return []
        if since is None:
            users = [*self._there, *self.remote.users()]
        else:
            users = storage.changed_users(connection, since, upto)
            for room_id in new_rooms:
                users += [user for user in self._occupancy.joined_users(room_id) if user in self._there]
                users += self.remote.among(connection, room_id)
        seen = [user for user in dict.fromkeys(users) if self.shares_room(user_id, user)]
        return [
            {"type": "m.presence", "sender": user, "content": self._content(connection, user)}
            for user in seen[:MAX_TOLD]
        ]

    def _is_local(self, user_id: str) -> bool:
        return user_id.partition(":")[2] == self._server_name

    def _returning(self, user_id: str, now_ms: int) -> _There:
        row = self._database.read(lambda connection: storage.presence_of(connection, user_id))
        if row is None:
            return _There("offline", None, now_ms, now_ms)
        return _There("offline", row["status_msg"], row["last_active_ts"], now_ms)

    def _content(self, connection: Reader, user_id: str) -> JsonObject:
        if not self._is_local(user_id):
            return self.remote.content(connection, user_id) if self._enabled else {"presence": "offline"}
        there = self._there.get(user_id)
        if there is not None:
            state, status_msg, active_ms = there.state, there.status_msg, there.active_ms
        else:
            row = storage.presence_of(connection, user_id) if self._enabled else None
            if row is None:
                return {"presence": "offline"}
            state, status_msg, active_ms = "offline", row["status_msg"], row["last_active_ts"]
        ago = max(0, self._clock.now_ms() - active_ms)
        content: JsonObject = {"presence": state, "last_active_ago": ago}
        if state == "online":
            content["currently_active"] = ago < ACTIVE_FOR_MS
        if status_msg is not None:
            content["status_msg"] = status_msg
        return content

    def _change_later(self, user_id: str, there: _There) -> None:
        task = asyncio.create_task(self._change(user_id, there), name="presence")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _change(self, user_id: str, there: _There) -> None:
        """Write the state down and tell who shares a room."""
        there.told_active = there.state == "online" and self._clock.now_ms() - there.active_ms < ACTIVE_FOR_MS
        if there.state != "offline" or there.syncing:
            self._there[user_id] = there
        else:
            self._there.pop(user_id, None)
        state, status_msg, active_ms = there.state, there.status_msg, there.active_ms

        def write(transaction: Transaction) -> None:
            position = next_position(transaction)
            storage.set_presence(transaction, user_id, state, status_msg, active_ms, position)
            transaction.after_commit(lambda: self._tell(user_id, position))

        await self._database.write(write)

    def _tell(self, user_id: str, position: int) -> None:
        self._notifier.publish_user(user_id, position)
        for room_id in self._occupancy.joined_rooms(user_id):
            self._notifier.publish_ephemeral(room_id)
        for listener in self._listeners:
            listener(user_id)
