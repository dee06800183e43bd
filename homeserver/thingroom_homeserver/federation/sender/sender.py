"""Sending to other servers: walks along the stream of events that go out, and hands each to the couriers it is for.

One courier a server, made when there is something for it and forgotten when it is idle. May import rooms, storage,
encryption's and accounts' ports as they are handed in, and this package. Source: Server-Server API, "Transactions",
"EDUs". Next: courier.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from functools import partial

from thingroom_homeserver.core.identifiers import is_valid_server_name
from thingroom_homeserver.federation.sender.courier import Courier
from thingroom_homeserver.federation.sender.edus import READ
from thingroom_homeserver.federation.sender.kit import JsonObject, Kit
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import (
    QueuedEvent,
    destinations_with_work,
    drop_old_to_device,
    events_after,
    receipts_after,
)
from thingroom_homeserver.storage.positions import current_position
from thingroom_homeserver.storage.room_servers import servers_at, servers_entered, servers_in_room, servers_sharing_with

EVENTS_A_TURN = 50
RECEIPTS_A_TURN = 200
ENTRIES_A_TURN = 50
MAX_COURIERS = 5000
"""Idle couriers beyond that number are forgotten."""
PASSING_SECONDS = 20.0
KEEP_TO_DEVICE_MS = 30 * 24 * 3600 * 1000
"""How long a message to a device waits for a server that does not come back."""
TIDY_SECONDS = 6 * 3600.0


class Sender:
    """The outgoing half of federation."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._couriers: dict[str, Courier] = {}
        self._news = asyncio.Event()
        self._events_upto = self._receipts_upto = self._entries_upto = kit.database.read(current_position)
        self._looked_back = False
        self._present: set[str] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send, as long as the block runs."""
        self._kit.rooms.notifier.add_listener(self._on_news)
        tasks = [
            asyncio.create_task(self._route(), name="route events to servers"),
            asyncio.create_task(self._look_back(), name="resume sending to servers"),
            asyncio.create_task(self._tidy(), name="give up old messages to devices"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(courier.close() for courier in list(self._couriers.values())))
            await self._kit.book.saved()

    @property
    def waiting(self) -> int:
        """How many events wait in memory, counted once for each server."""
        return sum(courier.waiting for courier in self._couriers.values())

    def monotonic(self) -> float:
        """Seconds of the clock that the sender goes by."""
        return self._kit.clock.monotonic()

    def wake(self, destination: str) -> None:
        """Something was queued for the server in the tables."""
        courier = self._courier(destination)
        if courier is not None:
            courier.wake()

    def wake_all(self, destinations: Iterable[str]) -> None:
        for destination in destinations:
            self.wake(destination)

    def send_edu(
        self, destinations: Iterable[str], edu: JsonObject, key: object = None, *, seconds: float = PASSING_SECONDS
    ) -> None:
        """An EDU that is kept in memory only, for so long; `key`: it replaces an earlier one with the same key."""
        for destination in destinations:
            courier = self._courier(destination)
            if courier is not None:
                courier.add_edu(object() if key is None else key, edu, seconds)

    def send_to_room(self, room_id: str, edu: JsonObject, key: object = None) -> None:
        """The same to all servers in the room that its server ACL allows."""

        def read(connection: Reader) -> list[str]:
            servers = servers_in_room(connection, room_id)
            return [server for server in servers if self._kit.may_take_part(connection, room_id, server)]

        self.send_edu(self._kit.database.read(read), edu, key)

    def presence_changed(self, user_id: str) -> None:
        """Tell the servers that share a room with the local user, before long."""
        self._present.add(user_id)
        self._news.set()

    def heard_from(self, server_name: str) -> None:
        """The server made a request, so it is up."""
        if self._kit.book.heard_from(server_name) and (courier := self._couriers.get(server_name)) is not None:
            courier.try_now()

    def try_again(self, server_name: str) -> None:
        """Somebody says that the server is up again: forget that it failed, and send what waits."""
        self._kit.book.succeeded(server_name)
        courier = self._courier(server_name)
        if courier is not None:
            courier.try_now()
            courier.wake()

    def _on_news(self, _: int) -> None:
        self._news.set()

    async def _route(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            for step in (self._route_events, self._route_receipts, self._route_entries):
                more = self._kit.database.read(step)
                while more:
                    await asyncio.sleep(0)
                    more = self._kit.database.read(step)
            if self._present:
                await self._route_presence()

    def _route_events(self, connection: Reader) -> bool:
        """Hand out the next events. True if there may be more."""
        events = events_after(connection, self._events_upto, EVENTS_A_TURN)
        for event in events:
            self._events_upto = event.position
            for server in self._servers_for(connection, event):
                courier = self._courier(server)
                if courier is not None:
                    courier.add_event(event)
        return len(events) == EVENTS_A_TURN

    def _servers_for(self, connection: Reader, event: QueuedEvent) -> list[str]:
        origin = event.sender.partition(":")[2]
        return [
            server
            for server in servers_at(connection, event.room_id, event.position)
            if server != origin and self._kit.may_take_part(connection, event.room_id, server)
        ]

    def _route_receipts(self, connection: Reader) -> bool:
        """Wake the couriers of servers that new receipts are for. True if there may be more."""
        rows = receipts_after(connection, self._receipts_upto, RECEIPTS_A_TURN)
        rooms = {row["room_id"] for row in rows if row["type"] == READ and self._kit.is_local(row["user_id"])}
        for room_id in rooms:
            for server in servers_in_room(connection, room_id):
                courier = self._courier(server)
                if courier is not None:
                    courier.add_receipts()
        if rows:
            self._receipts_upto = rows[-1]["position"]
        return len(rows) == RECEIPTS_A_TURN

    def _route_entries(self, connection: Reader) -> bool:
        """Tell servers that came into rooms who is there. True if there may be more."""
        entries = servers_entered(connection, self._entries_upto, ENTRIES_A_TURN)
        for position, server, room_id in entries:
            self._entries_upto = position
            users = self._kit.rooms.occupancy.joined_users(room_id)
            self._tell_presence(
                [server], [user for user in users if self._kit.presence.of(user)["presence"] != "offline"]
            )
        return len(entries) == ENTRIES_A_TURN

    async def _route_presence(self) -> None:
        """Users may be in many rooms with many servers, and presence is in no hurry: that is looked up in a thread."""
        users, self._present = self._present, set()
        database = self._kit.database
        by_user = await database.read_in_thread(lambda c: {user: servers_sharing_with(c, user) for user in users})
        for user_id, servers in by_user.items():
            self._tell_presence(servers, [user_id])

    def _tell_presence(self, servers: Iterable[str], user_ids: Collection[str]) -> None:
        for server in servers if user_ids else ():
            courier = self._courier(server)
            if courier is not None:
                courier.add_presence(user_ids)

    async def _look_back(self) -> None:
        """Take up what was not delivered when the server stopped."""
        upto = self._events_upto
        names = await self._kit.database.read_in_thread(partial(destinations_with_work, upto=upto))
        for name in names:
            self.wake(name)
        self._looked_back = True

    async def _tidy(self) -> None:
        while True:
            before_ms = self._kit.clock.now_ms() - KEEP_TO_DEVICE_MS
            await self._kit.database.write(partial(drop_old_to_device, before_ms=before_ms))
            await asyncio.sleep(TIDY_SECONDS)

    def _courier(self, server_name: str) -> Courier | None:
        """The server's courier; None for this server itself and for names that no server can have."""
        courier = self._couriers.get(server_name)
        if courier is None:
            if server_name == self._kit.own_name or not is_valid_server_name(server_name):
                return None
            if len(self._couriers) >= MAX_COURIERS:
                self._couriers = {name: one for name, one in self._couriers.items() if not one.is_idle}
            # Until it is known what was left over, each may have something left over.
            courier = Courier(self._kit, server_name, routed=self._events_upto, behind=not self._looked_back)
            self._couriers[server_name] = courier
        return courier
