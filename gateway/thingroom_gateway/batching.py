"""Stored envelopes become outbox rows: machine events in batches, and now and then a notice.

May import storage, devices, matrix_event, announce. Everything comes from the database, so a restart goes on where it
stopped. While a place's requests wait (homeserver away), envelopes gather and the events become fuller.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from thingroom_gateway.outcomes import Accepted
from thingroom_gateway.storage import live, outbox, received
from thingroom_gateway.storage.received import StoredEnvelope

logger = logging.getLogger(__name__)

# With so many requests of a place waiting, no more are made for it.
ENOUGH_WAITING = 8
# So many events share a transaction at most: it runs on the loop.
ROUND_EVENTS = 8
# How far a reading's time may lie ahead before its event gets the gateway's time instead.
AHEAD_MS = 5 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """When an event is closed: after so many seconds, envelopes, bytes of content."""

    seconds: float
    envelopes: int
    bytes: int


class Batching:
    """Makes outbox rows every `limits.seconds`, sooner when much waits. `filled` is called when there are new rows."""

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
        self._since = 0
        self._held_back = False

    def settled(self, settled: Sequence[Settled]) -> None:
        """A batch was stored: with an event's worth of new envelopes the next round does not wait for the clock."""
        self._since += sum(type(outcome) is Accepted for _, outcome in settled)
        if self._since >= self.limits.envelopes:
            self._hurry.set()

    def one_stored(self, _device: Device, _sequence: int) -> None:
        """The same for a reading that came by another door (plain MQTT)."""
        self._since += 1
        if self._since >= self.limits.envelopes:
            self._hurry.set()

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await self._hurry.wait()
                only_full = True
            except TimeoutError:
                only_full = False
            self._hurry.clear()
            self._since = 0
            try:
                await self.round(only_full)
                await self._catch_up()
            except sqlite3.Error as error:
                logger.error("readings stay where they are: %s", error)
                await asyncio.sleep(self.limits.seconds)

    def sent(self, _sent: object) -> None:
        """A request arrived in its room: a place that was held back may have another."""
        if self._held_back:
            self._hurry.set()

    async def round(self, only_full: bool = False) -> int:
        """Take what is there now, whole events only if `only_full`; returns the rows made. Raises sqlite3.Error."""
        goals = self._database.read(received.untaken)
        self._held_back = False
        made = 0
        while planned := self._plan_events(goals, only_full):
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

    def _plan_events(self, goals: dict[int, int], only_full: bool) -> list[tuple[Device, list[StoredEnvelope]]]:
        """The next events of some devices; a device that has none to make is taken out of `goals`."""
        planned: list[tuple[Device, list[StoredEnvelope]]] = []
        for device_id, goal in list(goals.items()):
            device = self._registry.by_id(device_id)
            batch = self._plan(device, goal, only_full)
            if batch:
                planned.append((device, batch))
            else:
                del goals[device_id]
            if len(planned) == ROUND_EVENTS:
                break
        return planned

    def _plan(self, device: Device, goal: int, only_full: bool) -> list[StoredEnvelope]:
        """The envelopes of the device's next event; none if it should wait, or if arrival `goal` is taken already."""
        place, row_id = device.row.place, device.row.id
        if self._database.read(lambda c: outbox.waiting_count(c, place, ENOUGH_WAITING)) >= ENOUGH_WAITING:
            self._held_back = True
            return []
        rows = self._database.read(lambda c: received.not_taken(c, row_id, self.limits.envelopes))
        batch = fill(rows, self.limits.bytes)
        full = len(batch) < len(rows) or len(batch) >= self.limits.envelopes
        return batch if batch and batch[0].arrival <= goal and (full or not only_full) else []

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
