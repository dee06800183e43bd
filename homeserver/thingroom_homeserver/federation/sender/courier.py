"""The queue to one server: one transaction at a time, in order, each on disk before it is sent again.

While a transaction is under way, what comes meanwhile gathers for the next one. A server that fails is tried again when
the book of destinations says so; nothing gathers in memory until then. Afterwards what it missed is read from the
tables: all of it if that is little, else of each room the newest, upon which the server fetches the rest itself.
May import rooms, storage and this package. Source: Server-Server API, "Transactions". Next: edus.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.federation.client import path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.sender.edus import Taken, take_device_lists, take_receipts, take_to_device
from thingroom_homeserver.federation.sender.kit import JsonObject, Kit
from thingroom_homeserver.federation.sender.missed import missed
from thingroom_homeserver.federation.sender.momentary import Momentary
from thingroom_homeserver.federation.sender.parcel import (
    MAX_EDUS,
    MAX_EVENTS,
    Parcel,
    decode_parcel,
    encode_parcel,
    new_transaction_id,
)
from thingroom_homeserver.federation.traffic import count
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import (
    Cursors,
    QueuedEvent,
    delete_to_device,
    load_destination,
    note_delivered,
    save_transaction,
)
from thingroom_homeserver.storage.device_list_outbox import settle

logger = logging.getLogger(__name__)

MAX_BYTES = 900_000
DEVICE_LISTS_AT_ONCE = 30
TO_DEVICE_AT_ONCE = 50
RECEIPT_EDUS_AT_ONCE = 5
IDLE_SECONDS = 5.0
REFUSALS_IN_MEMORY = 3
HALVING_SECONDS = 1.0
CRASHED_SECONDS = 60.0
UNFIT = frozenset({400, 413, 414, 422})
"""Statuses that say that a transaction will never be taken as it is."""
UNSENDABLE = Failed("refused", text="it is not JSON that can be signed")


class Courier:
    """What goes to one server. Must be used on the event loop."""

    def __init__(self, kit: Kit, server_name: str, *, routed: int, behind: bool) -> None:
        """`routed`: the position up to which events were given out. `behind`: some before that may be undelivered."""
        self.server_name = server_name
        self._kit = kit
        found = kit.database.read(lambda connection: load_destination(connection, server_name))
        cursors, pending = (Cursors(routed, routed, routed), None) if found is None else found
        self._cursors = cursors
        self._parcel = None if pending is None else decode_parcel(pending)
        self._events: deque[QueuedEvent] = deque()
        self._behind = behind or pending is not None
        self._routed = routed
        self._missed: deque[QueuedEvent] = deque()
        self._missed_step = 0
        self._missed_upto: int | None = None
        self._momentary = Momentary(kit, server_name, missed=behind)
        self._receipts = True
        self._max_events, self._max_edus = MAX_EVENTS, MAX_EDUS
        self._settled: Parcel | None = None
        self._saving: asyncio.Task[None] | None = None
        self._refusals = 0
        self._news = asyncio.Event()
        self._retry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do, and nothing in memory that would be lost with this object."""
        return self._task is None and not self._behind

    @property
    def waiting(self) -> int:
        """How many events wait in memory."""
        return len(self._events) + len(self._missed)

    def add_event(self, event: QueuedEvent) -> None:
        """The next event for this server."""
        self._routed = event.position
        if self._kit.book.is_failing(self.server_name):
            self._fall_behind()
        elif not self._behind:
            self._events.append(event)
            if len(self._events) > self._kit.max_waiting_events:
                self._fall_behind()
        self.wake()

    def add_edu(self, key: object, edu: JsonObject, seconds: float) -> None:
        """An EDU that is worth sending for so long; it takes the place of an earlier one with the same key."""
        if not self._kit.book.is_failing(self.server_name):
            self._momentary.add_edu(key, edu, seconds)
            self.wake()

    def add_presence(self, user_ids: Collection[str]) -> None:
        """The server is told of these users' presence before long."""
        if self._kit.book.is_failing(self.server_name):
            self._momentary.note_missed()
            return
        self._momentary.add_presence(user_ids)
        self.wake()

    def add_receipts(self) -> None:
        """There are new receipts in rooms of this server."""
        self._receipts = True
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self._news.set()
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(), name=f"transactions to {self.server_name}")
            self._task.add_done_callback(self._ended)

    def try_now(self) -> None:
        """The wait for the next try is shorter than it was."""
        self._retry.set()
        if self._task is not None:
            self._news.set()

    async def close(self) -> None:
        """Stop. What is pending stays on disk; what has arrived is noted."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        await self._settle()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("sending to %s broke off", self.server_name, exc_info=error)
            asyncio.get_running_loop().call_later(CRASHED_SECONDS, self.wake)
            self._start_over()
        elif self._news.is_set():
            self.wake()  # it came while the task was ending

    async def _run(self) -> None:
        while True:
            self._news.clear()
            parcel = self._parcel or await self._next_parcel()
            if parcel is not None:
                if await self._delivered(parcel):
                    self._cursors, self._parcel, self._settled = parcel.cursors, None, parcel
                await self._saved()
                continue
            await self._settle()
            try:
                await asyncio.wait_for(self._news.wait(), self._idle_seconds())
            except TimeoutError:
                if not self._momentary.presence_waits:
                    return

    def _idle_seconds(self) -> float:
        return self._momentary.seconds_to_presence() if self._momentary.presence_waits else IDLE_SECONDS

    async def _delivered(self, parcel: Parcel) -> bool:
        """Try once, when it is time to. False: the same parcel, or a smaller one, is to be tried next."""
        book = self._kit.book
        wait = book.wait_ms(self.server_name)
        if wait:
            self._drop_what_passes()
            await self._sit_out(wait / 1000)
            return False
        slots = self._kit.retrying if book.is_failing(self.server_name) else self._kit.sending
        async with slots:
            answer = await self._put(parcel)
        if not isinstance(answer, Failed):
            self._refusals = 0
            self._grow()
            count(self._kit.traffic.sent, len(parcel.event_ids), len(parcel.edus))
            return True
        if book.is_failing(self.server_name):
            return False
        return await self._refused(parcel, answer)

    def _grow(self) -> None:
        """The next transaction may be larger again."""
        self._max_events = min(MAX_EVENTS, max(1, self._max_events * 2))
        self._max_edus = min(MAX_EDUS, max(1, self._max_edus * 2))

    async def _put(self, parcel: Parcel) -> JsonObject | Failed:
        body = self._kit.database.read(partial(self._body, parcel))
        try:
            return await self._kit.client.request(
                self.server_name,
                "PUT",
                path("v1", "send", parcel.transaction_id),
                body=body,
                ignore_backoff=True,
            )
        except ValueError as error:  # what cannot be signed: nested too deeply, as a client may have sent it
            logger.debug("a transaction for %s cannot be sent: %s", self.server_name, error)
            return UNSENDABLE

    def _body(self, parcel: Parcel, connection: Reader) -> JsonObject:
        stored = self._kit.rooms.events.get_many(connection, parcel.event_ids)
        pdus = [_as_sent(stored[event_id].event.pdu) for event_id in parcel.event_ids if event_id in stored]
        body = {"origin": self._kit.own_name, "origin_server_ts": parcel.made_ms, "pdus": pdus}
        if parcel.edus:
            body["edus"] = list(parcel.edus)
        return body

    async def _refused(self, parcel: Parcel, answer: Failed) -> bool:
        """The server is there and said no, or it cannot be sent at all. True if the parcel is given up."""
        kit = self._kit
        if answer.status in UNFIT or answer is UNSENDABLE:
            if parcel.size > 1 or (parcel.event_ids and parcel.edus):
                # A smaller one from the same place: the culprit is found by halving, an EDU apart from an event.
                self._max_events = 0 if parcel.size == 1 else max(1, len(parcel.event_ids) // 2)
                self._max_edus = max(1, len(parcel.edus) // 2)
                self._parcel = None
                self._start_over()
                if answer is not UNSENDABLE:
                    await self._sit_out(min(kit.refused_initial_seconds, HALVING_SECONDS))
                return False
            logger.warning("%s never gets %s: %s", self.server_name, parcel.event_ids or "an EDU", answer.text)
            self._grow()
            if answer is UNSENDABLE:
                return True
        self._refusals += 1
        if self._refusals == 1:
            logger.warning("%s refuses a transaction: %s %s", self.server_name, answer.status, answer.text)
        elif self._refusals > REFUSALS_IN_MEMORY:
            self._drop_what_passes()
        seconds = kit.refused_initial_seconds * 2 ** min(self._refusals - 1, 20)
        if answer.retry_after_ms is not None:
            seconds = max(seconds, answer.retry_after_ms / 1000)
        await self._sit_out(min(seconds, kit.refused_max_seconds))
        return answer.status in UNFIT

    async def _sit_out(self, seconds: float) -> None:
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._retry.wait(), seconds)

    def _drop_what_passes(self) -> None:
        """The server is away: what can be read from the tables again leaves the memory; what cannot had its time."""
        self._start_over()
        self._momentary.drop()

    def _start_over(self) -> None:
        """Read from the tables again what comes after the last acknowledged event."""
        self._fall_behind()
        self._missed.clear()
        self._missed_step = 0

    def _fall_behind(self) -> None:
        self._events.clear()
        self._behind = True

    async def _settle(self) -> None:
        """Write down that the last parcel arrived, where no next one does it."""
        if self._settled is not None:
            settled, self._settled = self._settled, None
            await self._kit.database.write(partial(self._save, settled, None, self._cursors))

    def _save(self, settled: Parcel | None, parcel: Parcel | None, cursors: Cursors, transaction: Transaction) -> None:
        if settled is not None:
            delete_to_device(transaction, self.server_name, settled.to_device_upto)
            settle(
                transaction,
                self.server_name,
                [(told.user_id, told.device_id, told.stream_id) for told in settled.told],
            )
        pending = None if parcel is None else encode_parcel(parcel)
        save_transaction(transaction, self.server_name, cursors, pending)
        if settled is not None:
            note_delivered(transaction, self.server_name, self._kit.clock.now_ms())

    async def _next_parcel(self) -> Parcel | None:
        """The next transaction; None if there is nothing to send.

        What a server takes once however often it is told may go out while it is being written down (`_saved`). All
        else is on disk already.
        """
        if self._settled is not None and (self._settled.to_device_upto or self._settled.told):
            await self._settle()  # else the same would be read again
        await self._catch_up()
        parcel = self._kit.database.read(self._collect)
        if parcel is None:
            return None
        settled, self._settled = self._settled, None
        saving = self._kit.database.write(partial(self._save, settled, parcel, self._cursors))
        self._saving = asyncio.create_task(saving, name=f"note transaction to {self.server_name}")
        if parcel.edus:
            await self._saved()
        self._parcel = parcel
        return parcel

    async def _saved(self) -> None:
        """Wait until the parcel that is being tried is on disk."""
        if (saving := self._saving) is not None:
            try:
                await asyncio.shield(saving)
            finally:
                self._saving = None if saving.done() else saving

    async def _catch_up(self) -> None:
        """Read what was missed, until that is done."""
        while True:
            if self._missed:
                return
            if self._missed_upto is not None:
                self._cursors = replace(self._cursors, events=max(self._cursors.events, self._missed_step))
                if self._cursors.events < self._missed_upto:
                    found = await missed(self._kit, self.server_name, self._cursors.events, self._missed_upto)
                    self._missed.extend(found.events)
                    self._missed_step = found.upto
                    continue
                self._missed_upto = None
            if not self._behind:
                return
            self._behind = False
            self._events.clear()
            self._missed_upto = self._routed

    def _collect(self, connection: Reader) -> Parcel | None:
        kit, cursors = self._kit, self._cursors
        events, events_upto, size = self._take_events(connection)
        taken = Taken(bytes=size)
        room = self._max_edus
        take_device_lists(connection, self.server_name, taken, min(room, DEVICE_LISTS_AT_ONCE))
        room = self._max_edus - len(taken.edus)
        if room and taken.bytes < MAX_BYTES:
            take_to_device(connection, self.server_name, taken, min(room, TO_DEVICE_AT_ONCE), MAX_BYTES)
        receipts_upto = cursors.receipts
        room = self._max_edus - len(taken.edus)
        if room and self._receipts:
            limit = min(room, RECEIPT_EDUS_AT_ONCE)
            receipts_upto = take_receipts(kit, connection, self.server_name, cursors.receipts, taken, limit)
            if receipts_upto == cursors.receipts:
                self._receipts = False
        room = self._max_edus - len(taken.edus)
        presence_upto = cursors.presence
        if room:
            presence_upto = self._momentary.take_presence(connection, cursors.presence, taken)
            room = self._max_edus - len(taken.edus)
        self._momentary.take_edus(taken, room)
        self._cursors = Cursors(events_upto if not events else cursors.events, cursors.receipts, cursors.presence)
        if not events and not taken.edus:
            self._cursors = replace(self._cursors, receipts=receipts_upto, presence=presence_upto)
            if self._receipts or self._missed or self._events:
                self._news.set()
            return None
        return Parcel(
            transaction_id=new_transaction_id(),
            made_ms=kit.clock.now_ms(),
            event_ids=tuple(events),
            edus=tuple(taken.edus),
            events_upto=events_upto,
            receipts_upto=receipts_upto,
            presence_upto=presence_upto,
            to_device_upto=taken.to_device_upto,
            told=tuple(taken.told),
        )

    def _take_events(self, connection: Reader) -> tuple[list[str], int, int]:
        """The ids of the next events, the position up to which that is all there is for the server, and their bytes."""
        waiting = self._missed or self._events
        taken: list[str] = []
        upto, size = self._cursors.events, 0
        while waiting and len(taken) < self._max_events and size < MAX_BYTES:
            event = waiting.popleft()
            upto = max(upto, event.position)
            stored = self._kit.rooms.events.get(connection, event.event_id)
            if stored is not None and self._kit.may_take_part(connection, event.room_id, self.server_name):
                taken.append(event.event_id)
                size += len(encode_json(stored.event.pdu))
        return taken, upto, size


def _as_sent(pdu: JsonObject) -> JsonObject:
    """The event without what only this server says of it."""
    return {key: value for key, value in pdu.items() if key != "unsigned"}
