"""What waits on disk for its ancestors: how much of it there may be, and the tasks that have it completed.

There is a task for each room and server of which something waits. A server gets few of the slots, so does a room, and
so do all servers together that are not in the room: whoever floods, or is slow, is late and delays nobody else.
May import rooms, storage and this package. See docs/decisions/0024-events-that-wait.md. Next: missing.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import load_stored_pdu
from thingroom_homeserver.federation.missing import Completing
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.residence import is_resident
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.room_servers import is_server_in_room
from thingroom_homeserver.storage.rooms import room_version
from thingroom_homeserver.storage.staged_events import (
    StagedEvent,
    StagedLoad,
    due_events,
    postpone_event,
    staged_load,
    staged_loads,
    unstage_event,
)

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 120.0
ATTEMPTS_OF_SERVER = 3
"""How many rooms are completed at a time for one server's events."""
ATTEMPTS_OF_ROOM = 5
"""For how many servers' events one room is completed at a time."""
ATTEMPTS_OF_STRANGERS = 5
ATTEMPTS_IN_ALL = 60
EVENTS_OF_ATTEMPT = 50


@dataclass(frozen=True, slots=True)
class Patience:
    """How long events wait for their ancestors: after attempt n, first_seconds * factor**(n-1) until the next."""

    first_seconds: float = 20.0
    factor: float = 4.0
    attempts: int = 7

    def pause_ms(self, attempts: int) -> int | None:
        """The pause after so many attempts in vain; None: the event is given up."""
        return None if attempts >= self.attempts else int(self.first_seconds * 1000 * self.factor ** (attempts - 1))


@dataclass(frozen=True, slots=True)
class Space:
    """How many events, and bytes of them, may wait on disk."""

    events_of_server: int = 2000
    bytes_of_server: int = 32 * 1024 * 1024
    events_of_stranger: int = 50
    """For each room, from a server that is not known to be in it. Strangers get at most half of the whole space."""
    events_in_all: int = 50_000


@dataclass(slots=True)
class _OfServer:
    """What waits from one server, by room."""

    loads: dict[str, StagedLoad] = field(default_factory=dict)
    workers: dict[str, _Worker] = field(default_factory=dict)
    events: int = 0
    size: int = 0


class Waiting:
    """The events that wait, and their tasks. `look_again` after every write that may have staged some."""

    def __init__(
        self, rooms: Rooms, completing: Completing, patience: Patience | None = None, space: Space | None = None
    ) -> None:
        self._rooms = rooms
        self._completing = completing
        self._patience = patience or Patience()
        self._space = space or Space()
        self._servers: dict[str, _OfServer] = {}
        self._of_server = _Slots(ATTEMPTS_OF_SERVER)
        self._of_room = _Slots(ATTEMPTS_OF_ROOM)
        self._of_strangers = asyncio.Semaphore(ATTEMPTS_OF_STRANGERS)
        self._in_all = asyncio.Semaphore(ATTEMPTS_IN_ALL)
        self._events = 0
        self._closed = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Go on with what waited when the server stopped; stop when the block ends."""
        for load in self._rooms.database.read(staged_loads):
            self._note(load.room_id, load.origin, load)
        try:
            yield
        finally:
            self._closed = True
            tasks = [worker.task for server in self._servers.values() for worker in server.workers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def events(self) -> int:
        """How many events wait."""
        return self._events

    def space_left(self, connection: Reader, room_id: str, origin: str) -> int:
        """How many more events that the server sends may wait in this room."""
        server = self._servers.get(origin) or _OfServer()
        if server.size >= self._space.bytes_of_server:
            return 0
        left = min(self._space.events_of_server - server.events, self._space.events_in_all - self._events)
        if not is_server_in_room(connection, room_id, origin):
            load = server.loads.get(room_id)
            of_room = self._space.events_of_stranger - (0 if load is None else load.events)
            left = min(left, of_room, self._space.events_in_all // 2 - self._events)
        return left

    def look_again(self, room_id: str, origin: str) -> None:
        """See what waits in the room from the server, and have it completed.

        And what waits there from others: what the write took in may be what they wait for.
        """
        for server in {origin, *(name for name, each in self._servers.items() if room_id in each.loads)}:
            load = self._rooms.database.read(partial(staged_load, room_id=room_id, origin=server))
            self._note(room_id, server, load)

    def _note(self, room_id: str, origin: str, load: StagedLoad | None) -> None:
        if load is None and origin not in self._servers:
            return
        server = self._servers.setdefault(origin, _OfServer())
        before = server.loads.pop(room_id, None)
        events = (0 if load is None else load.events) - (0 if before is None else before.events)
        server.events += events
        self._events += events
        server.size += (0 if load is None else load.size) - (0 if before is None else before.size)
        worker = server.workers.get(room_id)
        if load is not None:
            server.loads[room_id] = load
            if worker is None and not self._closed:
                server.workers[room_id] = worker = _Worker()
                worker.task = asyncio.create_task(
                    self._work(server, worker, room_id, origin), name=f"complete events of {room_id} from {origin}"
                )
        if worker is not None:
            worker.wake.set()
        elif not server.loads and not server.workers:
            del self._servers[origin]

    async def _work(self, server: _OfServer, worker: _Worker, room_id: str, origin: str) -> None:
        """Complete what waits in one room from one server, until nothing does."""
        try:
            while (load := server.loads.get(room_id)) is not None:
                worker.wake.clear()
                pause = (load.next_try_ms - self._rooms.clock.now_ms()) / 1000
                if pause > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(worker.wake.wait(), pause)
                    continue
                async with self._slot(room_id, origin):
                    await self._attempt(room_id, origin)
                self.look_again(room_id, origin)
        finally:
            del server.workers[room_id]
            if not server.loads and not server.workers:
                self._servers.pop(origin, None)

    @contextlib.asynccontextmanager
    async def _slot(self, room_id: str, origin: str) -> AsyncIterator[None]:
        if self._rooms.database.read(lambda connection: is_server_in_room(connection, room_id, origin)):
            async with self._of_server.one(origin), self._of_room.one(room_id), self._in_all:
                yield
        else:
            async with self._of_server.one(origin), self._of_strangers:
                yield

    async def _attempt(self, room_id: str, origin: str) -> None:
        """One attempt at the oldest events that are due."""
        now_ms = self._rooms.clock.now_ms()
        due = self._rooms.database.read(lambda c: due_events(c, room_id, origin, now_ms, EVENTS_OF_ATTEMPT))
        version = self._rooms.database.read(lambda connection: room_version(connection, room_id))
        done: set[str] = set()
        if version is None or not self._rooms.database.read(lambda connection: is_resident(connection, room_id)):
            await self._rooms.database.write(lambda transaction: _drop(transaction, due))
            return
        if due:
            events = [load_stored_pdu(staged.json, staged.event_id, version) for staged in due]
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    done = await self._completing.complete(room_id, version, origin, events)
            except TimeoutError:
                logger.info("the ancestors of events of %s were not all there in time", room_id)
            except Exception:
                logger.exception("completing events of %s failed", room_id)
        left = [staged for staged in due if staged.event_id not in done]
        await self._rooms.database.write(lambda transaction: self._postpone(transaction, left))

    def _postpone(self, transaction: Transaction, left: Sequence[StagedEvent]) -> None:
        now_ms = self._rooms.clock.now_ms()
        for staged in left:
            pause_ms = self._patience.pause_ms(staged.attempts + 1)
            if pause_ms is None:
                logger.info("gave up %s of %s: its ancestors are not to be had", staged.event_id, staged.room_id)
                unstage_event(transaction, staged.event_id)
            else:
                postpone_event(transaction, staged.event_id, now_ms + pause_ms)


def _drop(transaction: Transaction, staged: Sequence[StagedEvent]) -> None:
    """This server is in the room no longer: what happens there is no business of its."""
    for each in staged:
        unstage_event(transaction, each.event_id)


@dataclass(slots=True)
class _Group:
    """The slots of one key, and how many hold or want one."""

    slots: asyncio.Semaphore
    users: int = 0


class _Slots:
    """So many at a time for each key; a key that nobody uses takes no room."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._groups: dict[str, _Group] = {}

    @contextlib.asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block runs."""
        group = self._groups.setdefault(key, _Group(asyncio.Semaphore(self._width)))
        group.users += 1
        try:
            async with group.slots:
                yield
        finally:
            group.users -= 1
            if not group.users:
                del self._groups[key]


class _Worker:
    """The task that completes what waits in one room from one server."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.wake = asyncio.Event()
