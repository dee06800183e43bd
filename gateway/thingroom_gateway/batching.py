"""Stored envelopes become outbox rows: machine events in batches, and now and then a notice.

May import storage, devices, matrix_event, announce, outbox. Everything comes from the database, so a restart goes on
where it stopped. While a place's requests wait (homeserver away), envelopes gather and the events become fuller.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from thingroom_common.database import Database, Transaction
from thingroom_gateway.announce import NOTICE_AGE_MS, Announcer
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.ingest import Settled
from thingroom_gateway.matrix_event import (
    READINGS_TYPE,
    attested_content,
    content_size,
    readings_content,
)
from thingroom_gateway.outbox import Sent
from thingroom_gateway.outcomes import Accepted
from thingroom_gateway.storage import live, outbox, received
from thingroom_gateway.storage.received import StoredEnvelope

logger = logging.getLogger(__name__)

# With so many requests of a place waiting, no more are made for it.
ENOUGH_WAITING = 8
# So many events share a transaction at most: it runs on the loop.
ROUND_EVENTS = 8
# An event's content is at least so many times as long as the envelopes in it: in base64, and their readings as text.
GROWTH = 2
# How far a reading's time may lie ahead before its event gets the gateway's time instead.
AHEAD_MS = 5 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """When an event is closed: after so many seconds, envelopes, bytes of content."""

    seconds: float
    envelopes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Goal:
    """What a round wants of a device: all up to the arrival `newest` (None: up to now), or of that `whole` events."""

    device: int
    newest: int | None
    whole: bool


class Batching:
    """Makes outbox rows every `limits.seconds`, of a device that has an event's worth at once.

    `filled` is called when there are new rows. What a round costs depends on the devices that have something to say
    and not on those that there are.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        limits: Limits,
        announcer: Announcer,
        now_ms: Callable[[], int],
        filled: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self.limits = limits
        self._announcer = announcer
        self._now_ms = now_ms
        self._filled = filled
        self._hurry = asyncio.Event()
        # About how much of an event, in bytes, each device has had stored since its last one: a hint, by key id.
        self._gathered: Counter[bytes] = Counter()
        # Devices for the next round between two of the clock, and those that wait until their place has room for an
        # event; each with whether only whole events are wanted.
        self._wanted: dict[int, bool] = {}
        self._held: dict[str, dict[int, bool]] = {}

    def settled(self, settled: Sequence[Settled]) -> None:
        """A batch was stored: a device with an event's worth of new envelopes does not wait for the clock."""
        for frame, outcome in settled:
            if type(outcome) is Accepted:
                self._gather(outcome.kid, GROWTH * len(frame.payload))

    def one_stored(self, device: Device, _sequence: int) -> None:
        """The same for a reading that came by another door (plain MQTT)."""
        self._gather(device.row.kid, 0)

    def _gather(self, kid: bytes, size: int) -> None:
        limits = self.limits
        self._gathered[kid] += max(size, -(-limits.bytes // limits.envelopes))
        if self._gathered[kid] >= limits.bytes:
            device = self._registry.get(kid)
            if device is not None:
                self._wanted.setdefault(device.row.id, True)
                self._hurry.set()

    async def run(self) -> None:
        """Rounds until cancelled."""
        loop = asyncio.get_running_loop()
        ticked = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(ticked + self.limits.seconds):
                    await self._hurry.wait()
            self._hurry.clear()
            # However much hurry there is, the clock has its turn.
            now = loop.time()
            is_time = now >= ticked + self.limits.seconds
            if is_time:
                ticked = now
            try:
                await self.round(is_time)
                if is_time:
                    await self._catch_up()
            except sqlite3.Error as error:
                logger.error("readings stay where they are: %s", error)
                await asyncio.sleep(self.limits.seconds)

    def sent(self, sent: Sent) -> None:
        """A request arrived in its room: a place that was held back may have another."""
        held = self._held.pop(sent.row.place, None)
        if held:
            for device, whole in held.items():
                self._wanted[device] = whole and self._wanted.get(device, True)
            self._hurry.set()

    async def round(self, everything: bool = True) -> int:
        """Take what is there now, or only whole events and what was held back; returns the rows made.

        Raises sqlite3.Error.
        """
        wanted, self._wanted = self._wanted, {}
        if everything:
            self._held.clear()
            self._gathered.clear()
            waiting = self._database.read(received.untaken)
            goals = deque(_Goal(device, newest, whole=False) for device, newest in waiting.items())
        else:
            goals = deque(_Goal(device, None, whole) for device, whole in wanted.items())
        made = 0
        while planned := self._plan_events(goals):
            await self._database.write(partial(self._store_all, planned=planned))
            made += len(planned)
            self._filled()
        return made

    async def _catch_up(self) -> None:
        """Say what came too soon before."""
        numbers = self._database.read(live.devices_with_unsaid)

        def write(transaction: Transaction) -> None:
            for number in numbers:
                self._announcer.catch_up(transaction, self._registry.by_id(number))

        if numbers:
            await self._database.write(write)
            self._filled()

    def _plan_events(self, goals: deque[_Goal]) -> list[tuple[Device, list[StoredEnvelope]]]:
        """The next event of some devices, one each; a device that has none to make is taken out of `goals`."""
        planned: list[tuple[Device, list[StoredEnvelope]]] = []
        crowded: dict[str, bool] = {}
        for _ in range(len(goals)):
            goal = goals.popleft()
            device = self._registry.by_id(goal.device)
            place = device.row.place
            if place not in crowded:
                waiting = self._database.read(partial(outbox.waiting_count, place=place, at_most=ENOUGH_WAITING))
                crowded[place] = waiting >= ENOUGH_WAITING
            if crowded[place]:
                self._held.setdefault(place, {})[goal.device] = goal.whole
                continue
            if goal.newest is None:
                goal = replace(goal, newest=self._database.read(partial(received.stored, device=goal.device)))
            batch = self._plan(device, goal)
            if batch:
                planned.append((device, batch))
                goals.append(goal)
            if len(planned) == ROUND_EVENTS:
                break
        return planned

    def _plan(self, device: Device, goal: _Goal) -> list[StoredEnvelope]:
        """The envelopes of the device's next event; none if they should wait, or if all of the goal is taken."""
        kid = device.row.kid
        rows = self._database.read(partial(received.not_taken, device=goal.device, limit=self.limits.envelopes))
        batch = fill(rows, self.limits.bytes)
        if goal.whole and len(batch) == len(rows) < self.limits.envelopes:
            # The hint was too good. It is looked at again when there is half as much more.
            self._gathered[kid] = self.limits.bytes // 2
            return []
        if not batch or batch[0].arrival > (goal.newest or 0):
            return []
        self._gathered.pop(kid, None)
        return batch

    def _store_all(self, transaction: Transaction, planned: list[tuple[Device, list[StoredEnvelope]]]) -> None:
        for device, batch in planned:
            self._store(transaction, device, batch)

    def _store(self, transaction: Transaction, device: Device, batch: list[StoredEnvelope]) -> None:
        row, now = device.row, self._now_ms()
        kid = device.kid_hex
        sequences = [envelope.sequence for envelope in batch]
        newest = max(batch, key=lambda envelope: envelope.ts)
        content_of = attested_content if row.attested else readings_content
        outbox.add(
            transaction,
            outbox.NewRow(
                row.place,
                row.id,
                kid,
                READINGS_TYPE,
                content_of(kid, (e.envelope for e in batch), (e.readings for e in batch)),
                event_time(newest.ts, now),
                span=outbox.Span(batch[0].arrival, batch[-1].arrival, min(sequences), max(sequences)),
            ),
        )
        if now - newest.ts <= NOTICE_AGE_MS:
            latest = {reading["name"]: reading["value"] for reading in json.loads(f"[{newest.readings}]")}
            self._announcer.announce(transaction, device, latest, event_time(newest.ts, now))


def fill(rows: list[StoredEnvelope], max_bytes: int) -> list[StoredEnvelope]:
    """As many of `rows`, in order, as one event's content of `max_bytes` holds; at least one."""
    size = 0
    batch: list[StoredEnvelope] = []
    for row in rows:
        size += content_size(len(row.envelope), len(row.readings))
        if batch and size > max_bytes:
            break
        batch.append(row)
    return batch


def event_time(ts: int, now: int) -> int:
    """The event's origin_server_ts for a reading of `ts`, Unix ms: never far in the future."""
    return ts if ts <= now + AHEAD_MS else now
