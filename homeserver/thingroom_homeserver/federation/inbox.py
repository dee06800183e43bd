"""The inbox: what other servers send is checked, taken in or kept until it can be, and answered for.

May import rooms, storage, core and this package. Source: Server-Server API, "Transactions", "PDUs". Called by
federation_api/send.py and by whoever gets single events another way. Next: intake.py, waiting.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Protocol

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event, parse_untrusted_pdu
from thingroom_homeserver.federation.arriving import Arriving
from thingroom_homeserver.federation.intake import Arrival, Dropped, in_graph_order, take_in
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.verify_event import Bad, verify_events
from thingroom_homeserver.federation.waiting import Waiting
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.out_of_band import withdraw_out_of_band
from thingroom_homeserver.rooms.receipt_outcomes import Duplicate, Received, Rejected, UnknownRoom
from thingroom_homeserver.rooms.residence import is_resident, server_may_take_part
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.out_of_band import version_out_of_band
from thingroom_homeserver.storage.received_transactions import answer_of_transaction, note_received_transaction
from thingroom_homeserver.storage.rooms import room_version

logger = logging.getLogger(__name__)

PduResult = dict[str, str]
"""{} for an event that is taken in or waits on disk; {"error": why} for one that was dropped or rejected."""

MAX_TRANSACTIONS_WAITING = 5
MAX_SECONDS_FOR_ARRIVAL = 30.0
"""News of a room that is being joined waits so long for the join, with whatever else its server sends."""
KEYS_SECONDS = 3.0
"""How long a transaction waits for servers to tell the keys that its events are signed with."""
KNOWN_KEYS_SECONDS = 0.2
POLICY_SECONDS = 10.0
"""How long it waits for the policy server of a room. What that did not say by then, it does not recommend."""
MAX_LATE = 100
"""How many events of all servers may be waited for whose keys take longer."""
ABSENT = "This server is not in the room"


class Edus(Protocol):
    async def handle(self, origin: str, edu: object) -> None:
        """Deal with one ephemeral message. Never raises for what the peer sent."""
        ...


class TooBusy(Exception):
    """So many transactions of the server wait already that this one was not looked at."""


class Inbox:
    """Everything that arrives with `/send`, and single events that other requests bring."""

    def __init__(self, rooms: Rooms, keys: ServerKeys, waiting: Waiting, edus: Edus, arriving: Arriving) -> None:
        self._rooms = rooms
        self._arriving = arriving
        self._keys = keys
        self._waiting = waiting
        self._edus = edus
        self._answering: dict[str, dict[str, asyncio.Task[bytes]]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._noted_soon: dict[tuple[str, str], bytes] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Complete what waits, as long as the block runs."""
        async with self._waiting.running():
            try:
                yield
            finally:
                tasks = [*self._late, *(task for tasks in self._answering.values() for task in tasks.values())]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, *self._noting, return_exceptions=True)

    async def transaction(
        self, origin: str, transaction_id: str, pdus: Sequence[JsonObject], edus: Sequence[object]
    ) -> bytes:
        """Take a transaction in; the JSON answer to it. When it returns, what the answer does not refuse is on disk.

        A server's transactions are dealt with one after the other; one that comes twice is answered as the first time.
        Raises TooBusy.
        """
        answering = self._answering.setdefault(origin, {})
        task = answering.get(transaction_id)
        if task is None:
            if len(answering) >= MAX_TRANSACTIONS_WAITING:
                raise TooBusy
            answer = self._answer(origin, transaction_id, pdus, edus)
            task = answering[transaction_id] = asyncio.create_task(answer, name=f"transaction of {origin}")
            task.add_done_callback(lambda _: self._answered(origin, transaction_id))
        return await asyncio.shield(task)

    def _answered(self, origin: str, transaction_id: str) -> None:
        answering = self._answering[origin]
        del answering[transaction_id]
        if not answering:
            del self._answering[origin]
            self._turns.pop(origin, None)

    async def _answer(
        self, origin: str, transaction_id: str, pdus: Sequence[JsonObject], edus: Sequence[object]
    ) -> bytes:
        async with self._turns.setdefault(origin, asyncio.Lock()):
            earlier = self._noted_soon.get((origin, transaction_id)) or self._rooms.database.read(
                lambda connection: answer_of_transaction(connection, origin, transaction_id)
            )
            if earlier is not None:
                return earlier
            by_room: dict[str, list[JsonObject]] = {}
            for pdu in pdus:
                room_id = pdu.get("room_id")
                if isinstance(room_id, str):
                    by_room.setdefault(room_id, []).append(pdu)
            results: dict[str, PduResult] = {}
            for found in await asyncio.gather(*(self.receive(origin, *each) for each in by_room.items())):
                results |= found
            for edu in edus:
                await self._edus.handle(origin, edu)
            answer = orjson.dumps({"pdus": results})
            self._note(origin, transaction_id, answer)
            return answer

    def _note(self, origin: str, transaction_id: str, answer: bytes) -> None:
        """Keep the answer with the next commit. If that is never made, a repetition finds all its events known."""

        async def write() -> None:
            try:
                await self._rooms.database.write(
                    lambda transaction: note_received_transaction(transaction, origin, transaction_id, answer)
                )
            finally:
                del self._noted_soon[origin, transaction_id]

        self._noted_soon[origin, transaction_id] = answer
        task = asyncio.create_task(write(), name="note transaction")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def receive(self, origin: str, room_id: str, pdus: Sequence[JsonObject]) -> dict[str, PduResult]:
        """Check PDUs of one room and take them in. When this returns, what is not refused is on disk.

        By event id; what is too malformed to have one, or of a room that is not known, is left out.
        """
        version, fault = self._rooms.database.read(lambda connection: self._standing(connection, room_id, origin))
        if version is None or fault == ABSENT:
            await self._arriving.settled(room_id, MAX_SECONDS_FOR_ARRIVAL)
            version, fault = self._rooms.database.read(lambda connection: self._standing(connection, room_id, origin))
        if version is None:
            return {}
        if fault is not None:
            return await self._refused(pdus, version, fault)
        return await self._receive_checked(origin, room_id, await self._checked(origin, room_id, pdus, version))

    async def _refused(self, pdus: Sequence[JsonObject], version: str, fault: str) -> dict[str, PduResult]:
        """Nothing of the room is taken, so nothing is checked either, but what may tell how an invite ended."""
        results: dict[str, PduResult] = {}
        for pdu in pdus:
            event = parse_untrusted_pdu({name: value for name, value in pdu.items() if name != "unsigned"}, version)
            if isinstance(event, Event):
                ended = fault == ABSENT and self._may_end_invite(event) and await self._ends_invite(pdu, version)
                results[event.event_id] = {} if ended else {"error": fault}
        return results

    async def _receive_checked(self, origin: str, room_id: str, checked: Sequence[Event | Bad]) -> dict[str, PduResult]:
        results: dict[str, PduResult] = {}
        events: list[Event] = []
        for each in checked:
            if isinstance(each, Event):
                events.append(each)
            elif each.event_id is not None:
                results[each.event_id] = {"error": each.reason}
        if events:
            outcomes = await self.take(origin, room_id, events)
            results |= {event_id: _result(outcome) for event_id, outcome in outcomes.items()}
        return results

    def _standing(self, connection: Reader, room_id: str, origin: str) -> tuple[str | None, str | None]:
        """The room's version, None if it is not known; and why nothing of the room is taken from this server."""
        version = room_version(connection, room_id) or version_out_of_band(connection, room_id)
        if version is None:
            return None, None
        if not is_resident(connection, room_id):
            return version, ABSENT
        if not server_may_take_part(self._rooms, connection, room_id, origin):
            return version, "The room's access list denies your server"
        return version, None

    async def _checked(self, origin: str, room_id: str, pdus: Sequence[JsonObject], version: str) -> list[Event | Bad]:
        """Steps 1 to 3. Events whose servers are slow to tell their keys are left behind, and received when they have.

        Until then they are nowhere but in memory, so they count as refused.
        """
        all_at_once = asyncio.create_task(verify_events(self._keys, pdus, version))
        try:
            return await asyncio.wait_for(all_at_once, KEYS_SECONDS)
        except TimeoutError:
            pass
        one_by_one = [asyncio.create_task(verify_events(self._keys, [pdu], version)) for pdu in pdus]
        await asyncio.wait(one_by_one, timeout=KNOWN_KEYS_SECONDS)
        checked: list[Event | Bad] = []
        for task in one_by_one:
            if task.done():
                checked += task.result()
            elif len(self._late) < MAX_LATE:
                late = asyncio.create_task(self._receive_late(origin, room_id, task), name="receive a late event")
                self._late.add(late)
                late.add_done_callback(self._late.discard)
            else:
                task.cancel()
        return checked

    async def _receive_late(self, origin: str, room_id: str, task: asyncio.Task[list[Event | Bad]]) -> None:
        checked = await task
        _, fault = self._rooms.database.read(lambda connection: self._standing(connection, room_id, origin))
        if fault is None:
            await self._receive_checked(origin, room_id, checked)

    def _may_end_invite(self, event: Event) -> bool:
        ends = event.type == "m.room.member" and event.content.get("membership") in ("leave", "ban")
        return ends and event.state_key is not None and self._rooms.is_local(event.state_key)

    async def _ends_invite(self, pdu: JsonObject, version: str) -> bool:
        """Of a room that this server is not in, only one thing is news: how a local user's invite or knock ended.

        Nobody here can authorise that. But it must name the very invite or knock, which only those in the room know.
        """
        (event,) = await verify_events(self._keys, [pdu], version)
        if isinstance(event, Bad):
            return False
        return await self._rooms.database.write(partial(withdraw_out_of_band, self._rooms, event=event))

    async def take(self, origin: str, room_id: str, events: Sequence[Event]) -> dict[str, Received | Dropped | None]:
        """Take in events of one room that have passed the checks 1 to 3. None: a fault of this server's.

        Many in one write; if that fails, one by one, so that the event which this server cannot deal with fails alone.
        """

        def write(transaction: Transaction, some: Sequence[Event]) -> dict[str, Received | Dropped]:
            space_left = self._waiting.space_left(transaction, room_id, origin)
            return take_in(self._rooms, transaction, Arrival(origin, self._rooms.clock.now_ms(), space_left), some)

        outcomes: dict[str, Received | Dropped | None] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLICY_SECONDS):
                await self._rooms.policies.prepare(self._rooms, events)
        left = in_graph_order(events)
        try:
            while left:
                outcomes |= await self._rooms.database.write(partial(write, some=left))
                left = [event for event in left if event.event_id not in outcomes]
        except Exception:
            logger.exception("receiving %d events of %s failed", len(left), room_id)
            for event in left:
                outcomes[event.event_id] = None
                with contextlib.suppress(Exception):
                    outcomes |= await self._rooms.database.write(partial(write, some=[event]))
        self._waiting.look_again(room_id, origin)
        return outcomes


def _result(outcome: Received | Dropped | None) -> PduResult:
    match outcome:
        case None:
            return {"error": "This server failed to deal with the event"}
        case Rejected(reason) | Duplicate(StoredEvent(rejected=str(reason))):
            return {"error": reason}
        case Dropped():
            return {"error": "Too many events of your server wait for their ancestors"}
        case UnknownRoom():
            return {"error": ABSENT}
        case _:
            return {}
