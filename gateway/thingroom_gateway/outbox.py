"""The Matrix outbox: rows that wait are sent, in order per place, until the homeserver has them or refuses for good.

A row is deleted only after a 200; the same row is always sent under the same transaction id, so a lost answer costs
nothing. Several places are served at once, a waiting place holds up no other. May import appservice, rooms, storage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from thingroom_common.database import Database, Transaction
from thingroom_gateway.appservice import Answer, AppserviceClient, Done, Later, Refused
from thingroom_gateway.devices import Registry
from thingroom_gateway.matrix_event import EDIT_TYPE, LEAVE_TYPE, MESSAGE_TYPE, REDACTION_TYPE, edit_content
from thingroom_gateway.rooms import Home, Ready, Rooms
from thingroom_gateway.storage import live, outbox
from thingroom_gateway.storage.outbox import OutboxRow

logger = logging.getLogger(__name__)

PLACES_AT_ONCE = 8
# Answers whose rows are still to be deleted, per place; a crash sends them again under the same transaction ids.
UNMARKED = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """A row arrived in a room."""

    row: OutboxRow
    room_id: str
    event_id: str


@dataclass(slots=True)
class _Patience:
    failures: int = 0
    until: float = 0.0


class Outbox:
    """Sends. `watchers` see every row that arrived; `kick` says that there are new rows.

    `marking` are called in the write that marks a row as arrived, for whoever needs to remember its event.
    """

    def __init__(
        self,
        database: Database,
        client: AppserviceClient,
        rooms: Rooms,
        registry: Registry,
        home: Home,
        now_ms: Callable[[], int],
        back_off: tuple[float, ...],
    ) -> None:
        self._database = database
        self._client = client
        self._rooms = rooms
        self._registry = registry
        self._home = home
        self._now_ms = now_ms
        self.back_off = back_off
        self._kicked = asyncio.Event()
        self._kicked.set()
        self._patience: dict[str, _Patience] = {}
        self._space = asyncio.Lock()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._finishing = False
        self.watchers: list[Callable[[Sent], None]] = []
        self.marking: list[Callable[[Transaction, Sent], None]] = []

    def kick(self) -> None:
        self._kicked.set()

    async def finish(self) -> None:
        """Begin nothing more; returns once what is on its way has arrived and is marked, or has failed."""
        self._finishing = True
        if self._serving:
            await asyncio.wait(self._serving.values())

    async def run(self) -> None:
        """Serve places until cancelled."""
        serving = self._serving
        try:
            while True:
                self._kicked.clear()
                pause = self._start(serving)
                await self._something(serving, pause)
        finally:
            for task in serving.values():
                task.cancel()
            await asyncio.gather(*serving.values(), return_exceptions=True)

    def _start(self, serving: dict[str, asyncio.Task[None]]) -> float | None:
        """Start what may start; returns the seconds until a place's patience ends, None if none waits."""
        now = monotonic()
        waiting = self._database.read(outbox.waiting_places)
        for place in set(self._patience).difference(waiting):
            del self._patience[place]
        pauses = []
        for place in sorted(waiting, key=lambda name: self._patience.get(name, _Patience()).until):
            if place in serving:
                continue
            until = self._patience.get(place, _Patience()).until
            if until > now:
                pauses.append(until - now)
            elif len(serving) < PLACES_AT_ONCE and not self._finishing:
                serving[place] = asyncio.create_task(self._serve(place), name=f"outbox of {place}")
        return min(pauses, default=None)

    async def _something(self, serving: dict[str, asyncio.Task[None]], pause: float | None) -> None:
        """Wait for a kick, an end of patience, or a place that is done; takes finished tasks out of `serving`."""
        kick = asyncio.create_task(self._kicked.wait())
        try:
            await asyncio.wait({kick, *serving.values()}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            kick.cancel()
        for place in [place for place, task in serving.items() if task.done()]:
            serving.pop(place).result()

    async def _serve(self, place: str) -> None:
        """Send the rows of `place` in order until there are none, or one must wait."""
        marks: list[asyncio.Task[None]] = []
        try:
            await self._send_in_order(place, marks)
        except sqlite3.Error as error:
            logger.error("the outbox cannot be read or marked: %s", error)
            self._wait(place, Later("storage"))
        finally:
            await asyncio.gather(*marks, return_exceptions=True)

    async def _send_in_order(self, place: str, marks: list[asyncio.Task[None]]) -> None:
        last = 0
        while not self._finishing:
            row = self._database.read(partial(outbox.head, place=place, after=last))
            if row is None:
                return
            if row.type == EDIT_TYPE:
                # What it is an edit of may have arrived a moment ago.
                while marks:
                    await marks.pop(0)
            end = await self._send(row)
            if isinstance(end, Later):
                self._wait(place, end)
                return
            if isinstance(end, Refused):
                await self._give_up(row, end)
            else:
                marks.append(asyncio.create_task(self._mark(end)))
                if len(marks) >= UNMARKED:
                    await marks.pop(0)
            self._patience.pop(place, None)
            last = row.id

    async def _give_up(self, row: OutboxRow, refused: Refused) -> None:
        why = str(refused)
        if row.type == EDIT_TYPE and row.device is not None:
            # The message is gone, or never was: the next one is a new one.
            logger.info("a live message of %s is not edited any more: %s", row.place, why)
            await self._database.write(partial(live.over, device=row.device))
            return
        if row.room_id is not None:
            # A room that the bot was put out of, a message that is gone: nobody will ask for this again.
            logger.warning("not said in %s: the homeserver says %s", row.room_id, why)
            await self._database.write(partial(outbox.drop, row=row))
            return
        logger.error("parked %s for %s: the homeserver says %s", row.type, row.place, why)
        await self._database.write(partial(outbox.park, row=row, why=why))

    async def _mark(self, sent: Sent) -> None:
        at = self._now_ms()

        def write(transaction: Transaction) -> None:
            outbox.sent(transaction, sent.row, sent.event_id, at)
            if sent.row.type == MESSAGE_TYPE and sent.row.device is not None:
                live.arrived(transaction, sent.row.txn_id, sent.event_id)
            for mark in self.marking:
                mark(transaction, sent)

        await self._database.write(write)
        for watcher in self.watchers:
            watcher(sent)

    def _wait(self, place: str, later: Later) -> None:
        patience = self._patience.setdefault(place, _Patience())
        pause = self.back_off[min(patience.failures, len(self.back_off) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
        pause = max(pause, later.seconds) if later.seconds is not None else pause
        if patience.failures == 0:
            logger.warning("%s waits: %s", place, later.why)
        patience.failures += 1
        patience.until = monotonic() + pause

    async def _send(self, row: OutboxRow) -> Sent | Later | Refused:
        if row.room_id is not None:
            return self._sent(row, row.room_id, await self._say(row, row.room_id, self._home.bot))
        device = None if row.device is None else self._registry.by_id(row.device)
        if row.type == LEAVE_TYPE:
            assert device is not None
            return self._sent(row, "", await self._rooms.leave(device, row.place))
        for attempt in (1, 2):
            async with self._space:
                ready = await self._rooms.ready_room(row.place)
            if not isinstance(ready, Ready):
                return _not_ready(ready)
            if device is not None and (row.sender == "ghost" or row.state_key is not None):
                joined = await self._rooms.ready_ghost(device, ready.room_id)
                if not isinstance(joined, Ready):
                    return joined
            user = self._home.bot if row.sender == "bot" or device is None else self._home.ghost(device)
            answer = await self._say(row, ready.room_id, user)
            # A ghost that was removed from the room is brought back once.
            if attempt == 1 and device is not None and isinstance(answer, Refused) and answer.errcode == "M_FORBIDDEN":
                await self._rooms.forget_ghost(device)
                continue
            return self._sent(row, ready.room_id, answer)
        raise AssertionError("unreachable")

    async def _say(self, row: OutboxRow, room_id: str, user: str) -> Answer:
        if row.state_key is not None:
            return await self._client.set_state(room_id, row.type, row.state_key, row.content)
        if row.type == REDACTION_TYPE:
            content = json.loads(row.content)
            return await self._client.redact(room_id, content["event_id"], row.txn_id, content["reason"])
        if row.type == EDIT_TYPE:
            request = json.loads(row.content)
            event_id = self._database.read(partial(live.event_of, opening=request["opening"]))
            if event_id is None:
                return Refused(404, "M_NOT_FOUND", "there is no such message of ours")
            edit = edit_content(event_id, request["body"])
            return await self._client.send(room_id, MESSAGE_TYPE, row.txn_id, edit, user, row.ts)
        return await self._client.send(room_id, row.type, row.txn_id, row.content, user, row.ts)

    @staticmethod
    def _sent(row: OutboxRow, room_id: str, answer: Answer) -> Sent | Later | Refused:
        if not isinstance(answer, Done):
            return answer
        event_id = answer.body.get("event_id")
        return Sent(row, room_id, event_id if isinstance(event_id, str) else "")


def _not_ready(end: Later | Refused) -> Later:
    """A room that cannot be made is the home's trouble, not this row's: the row waits."""
    return end if isinstance(end, Later) else Later(f"the room cannot be made ready: {end}")
