"""The one door: frames in, outcomes out, and nothing is said before it is on disk.

Each frame is examined (examination.py) and then meets the ledger. Frames gather while a commit runs and share the next
one. May import examination, storage, devices, missing. links/ offer frames here; batching.py takes what was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from time import monotonic

from thingroom_common.database import Database, Transaction
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.examination import CommandDoor, Examined, Examiner, Said, Verified
from thingroom_gateway.missing import GapTotals
from thingroom_gateway.observation import Observation
from thingroom_gateway.outcomes import Accepted, Deferred, Duplicate, Frame, Greeted, Link, Outcome, Refused, Rejected
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.quotas import Quotas
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.storage import missing, received, stamps
from thingroom_gateway.storage.series import Recorder
from thingroom_gateway.storage.stamps import StampRow
from thingroom_wire.envelope import UNSET

logger = logging.getLogger(__name__)

# A batch is examined for at most this long before the loop looks after other things.
SLICE_SECONDS = 0.010
SLICE_FRAMES = 256
# So many readings go through the steps together.
SWEEP_FRAMES = 64
# So many examined frames wait for the running commit at most.
READY_FRAMES = 1024
SAY_AGAIN_SECONDS = 60.0
# After a failed commit: how long until the same frames are tried again.
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)


Settled = tuple[Frame, Outcome]
Batch = list[tuple[Frame, Link, Examined]]


class Ingest:
    """Owns the queue of frames and the order of commits.

    After a commit `watchers` see its whole batch, and `observed` each new reading's device and content, in order.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        pairing: Pairing,
        counters: Counters,
        series: Recorder,
        now_ms: Callable[[], int],
        shards: str,
        queue_frames: int,
        queue_bytes: int,
        quotas: Quotas,
    ) -> None:
        self._database = database
        self._registry = registry
        self.examiner = Examiner(database, registry, pairing, shards, quotas)
        self._counters = counters
        self._series = series
        self._now_ms = now_ms
        self._queue: deque[tuple[Frame, Link]] = deque()
        self._queue_frames = queue_frames
        self._queue_bytes = queue_bytes
        self._waiting_bytes = 0
        self._refused_links: set[Link] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._finishing = False
        self.missing = GapTotals(database)
        # Why nothing can be stored, in a sentence; empty while all is well.
        self.trouble = ""
        self._say_again_at = 0.0
        self.watchers: list[Callable[[Sequence[Settled]], None]] = []
        self.observed: list[Callable[[Device, Observation], None]] = []

    def offer(self, frame: Frame, link: Link) -> bool:
        """Queue a frame; False if there is no room: keep it, and `link.resume` is called when there is."""
        size = len(frame.payload)
        if len(self._queue) >= self._queue_frames or (self._queue and self._waiting_bytes + size > self._queue_bytes):
            self._refused_links.add(link)
            return False
        if self._finishing:
            return False
        self._queue.append((frame, link))
        self._waiting_bytes += size
        self._idle.clear()
        self._wake.set()
        return True

    async def finish(self) -> bool:
        """Take no more; returns once all that was taken is on disk and settled, and whether there was anything."""
        self._finishing = True
        busy = not self._idle.is_set()
        await self._idle.wait()
        return busy

    @property
    def commands(self) -> CommandDoor | None:
        """The queue of commands, where there is one."""
        return self.examiner.commands

    @commands.setter
    def commands(self, queue: CommandDoor) -> None:
        self.examiner.commands = queue

    def limit(self, queue_frames: int, queue_bytes: int) -> None:
        """From now on so many frames, and bytes of them, may wait."""
        self._queue_frames, self._queue_bytes = queue_frames, queue_bytes

    @property
    def frames_waiting(self) -> int:
        """How many frames wait to be examined."""
        return len(self._queue)

    async def run(self) -> None:
        """Examine and commit until cancelled. One commit runs at a time; what is examined meanwhile shares the next."""
        committing: asyncio.Task[None] | None = None
        ready: Batch = []
        try:
            while True:
                if self._queue and len(ready) < READY_FRAMES:
                    ready += await self._examine_slice()
                else:
                    self._wake.clear()
                    await self._wake.wait()
                if committing is not None and committing.done():
                    committing.result()
                    committing = None
                    if not self._queue and not ready:
                        self._idle.set()
                if committing is None and ready:
                    committing = asyncio.create_task(self._commit(ready))
                    committing.add_done_callback(lambda _: self._wake.set())
                    ready = []
                # Let the links read and the commit go on.
                await asyncio.sleep(0)
        finally:
            if committing is not None:
                committing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await committing
            self.examiner.close()

    async def _examine_slice(self) -> Batch:
        batch: Batch = []
        examined: Sequence[Examined]
        deadline = monotonic() + SLICE_SECONDS
        now = self._now_ms()
        while self._queue and len(batch) < SLICE_FRAMES:
            taken = self._take_alike()
            frames = [frame for frame, _ in taken]
            if frames[0].kind == "up":
                examined = self.examiner.envelopes(frames, now)
            elif frames[0].kind == "ask":
                examined = [self.examiner.ask(frame) for frame in frames]
            else:
                examined = [await self.examiner.hello(frame, now) for frame in frames]
            batch += [(frame, link, one) for (frame, link), one in zip(taken, examined, strict=True)]
            if monotonic() > deadline:
                break
        if self._refused_links and len(self._queue) <= self._queue_frames // 2:
            links, self._refused_links = self._refused_links, set()
            for link in links:
                link.resume()
        return batch

    def _take_alike(self) -> list[tuple[Frame, Link]]:
        """The next frames of one kind in the queue, in order: readings together, a hello by itself."""
        queue = self._queue
        taken = [queue.popleft()]
        kind = taken[0][0].kind
        if kind == "up":
            while queue and len(taken) < SWEEP_FRAMES and queue[0][0].kind == kind:
                taken.append(queue.popleft())
        self._waiting_bytes -= sum(len(frame.payload) for frame, _ in taken)
        return taken

    # --- one batch ---------------------------------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        verified = [examined for _, _, examined in batch if type(examined) is Verified]
        said = [examined for _, _, examined in batch if type(examined) is Said]
        refused = [examined for _, _, examined in batch if type(examined) is Refused]
        new = await self._store(verified) if verified else {}
        if said or refused:
            await self._note(said, refused)
        settled: list[Settled] = []
        fresh: list[tuple[Device, Observation]] = []
        by_link: dict[Link, list[Settled]] = {}
        for frame, link, examined in batch:
            outcome = self._outcome(examined, new)
            if self.observed and type(outcome) is Accepted:
                assert isinstance(examined, Verified)
                fresh.append((examined.device, examined.observation))
            self._count(frame, outcome)
            pair = (frame, outcome)
            settled.append(pair)
            by_link.setdefault(link, []).append(pair)
        for link, pairs in by_link.items():
            link.settled(pairs)
        for watcher in self.watchers:
            watcher(settled)
        for device, observation in fresh:
            for see in self.observed:
                see(device, observation)

    def _outcome(self, examined: Examined, new: dict[bytes, set[int]]) -> Outcome:
        if type(examined) is Verified:
            outcome = _final(examined, new)
            if type(outcome) is Duplicate:
                self.examiner.was_copy(examined)
            return outcome
        if type(examined) is Said:
            return examined.greeted
        if type(examined) is Deferred:
            presence = self._registry.by_kid(examined.kid).presence
            presence.deferred += 1
            presence.deferred_at = self._now_ms()
        return examined  # type: ignore[return-value]

    async def _store(self, verified: Sequence[Verified]) -> dict[bytes, set[int]]:
        """Commit; tries again for as long as the disk refuses: nothing is acknowledged or forgotten meanwhile."""
        by_device = {
            device: [item.envelope for item in items]
            for device, items in groupby(
                sorted(verified, key=lambda item: item.device.row.id), key=lambda item: item.device.row
            )
        }
        # Of what several tell of one boot the last counts: they were examined in order.
        learnt = {(item.device.row.id, item.boot): item.learnt for item in verified if item.learnt is not None}

        def write(transaction: Transaction) -> dict[bytes, set[int]]:
            # A device may have been revoked or handed over since it was examined.
            new = {
                row.kid: received.store(transaction, row.id, items)
                for row, items in by_device.items()
                if self._registry.by_id(row.id).row.status == ACTIVE
            }
            kept = [item for item in verified if item.device.row.kid in new]
            self._series.add_many(transaction, _samples(kept, new))
            stamps.add(transaction, _bounds(kept, new))
            for item in kept:
                if item.results and self.commands and item.envelope.sequence in new[item.device.row.kid]:
                    self.commands.results(transaction, item.device, item.envelope.sequence, item.results)
            for (device, _), boot in learnt.items():
                stamps.learn(transaction, device, boot)
            return new

        attempt = 0
        while True:
            try:
                new = await self._database.write(write)
            except sqlite3.Error as error:
                self._counters.add("storage.failed")
                self._stall(error, len(verified))
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
                attempt += 1
                continue
            self._unstall()
            for (device, _), boot in learnt.items():
                self.examiner.keep(device, boot)
            self.missing.changed(row.id for row in by_device)
            return new

    @property
    def stalled(self) -> bool:
        """Whether nothing can be stored at present."""
        return bool(self.trouble)

    def _stall(self, error: sqlite3.Error, waiting: int) -> None:
        """Say it in a sentence, and to the log once, and then once a minute."""
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        why = "the disk is full" if is_full else f"the database cannot be written ({error})"
        self.trouble = (
            f"Nothing can be stored: {why}. Devices and the broker keep what comes, and it goes on by itself"
            f" {'when there is room again' if is_full else 'when that is over'}."
        )
        now = monotonic()
        if now >= self._say_again_at:
            self._say_again_at = now + SAY_AGAIN_SECONDS
            logger.error("%s Messages that wait here: %d", self.trouble, waiting + len(self._queue))

    def _unstall(self) -> None:
        if self.trouble:
            self.trouble = ""
            self._say_again_at = 0.0
            logger.warning("readings can be stored again")

    async def _note(self, said: Sequence[Said], refused: Sequence[Refused]) -> None:
        """Keep what tells lost from late. It is not worth waiting for a disk: devices say it again."""

        def write(transaction: Transaction) -> None:
            for one in said:
                device = one.device.row.id
                if one.held is not None:
                    missing.hold(transaction, device, one.boot, one.uptime, one.held)
                if one.learnt is not None:
                    stamps.learn(transaction, device, one.learnt)
            for refusal in refused:
                missing.refuse(transaction, self._registry.by_kid(refusal.kid).row.id, refusal.sequence, refusal.reason)

        try:
            await self._database.write(write)
        except sqlite3.Error as error:
            self._counters.add("storage.failed")
            logger.error("what devices say of their outboxes cannot be stored (%s)", error)
            return
        for one in said:
            if one.learnt is not None:
                self.examiner.keep(one.device.row.id, one.learnt)
        self.missing.changed(one.device.row.id for one in said)
        self.missing.changed(self._registry.by_kid(refusal.kid).row.id for refusal in refused)

    def _count(self, frame: Frame, outcome: Outcome) -> None:
        transport = frame.transport
        if type(outcome) is Accepted:
            self._counters.add(f"{transport}.accepted")
        elif type(outcome) is Duplicate:
            self._counters.add(f"{transport}.duplicate")
        elif type(outcome) is Refused:
            self._counters.add(f"{transport}.refused.{outcome.reason}")
        elif type(outcome) is Rejected:
            self._counters.add(f"{transport}.rejected.{outcome.reason}")
        elif type(outcome) is Deferred:
            self._counters.add(f"{transport}.deferred.over_quota")
        else:
            assert type(outcome) is Greeted
            what = "block" if frame.kind == "ask" else "paired" if outcome.paired else "greeted"
            self._counters.add(f"{transport}.{what}")


def _samples(verified: Sequence[Verified], new: dict[bytes, set[int]]) -> Iterator[tuple[int, Sequence[SeriesReading]]]:
    """By device row id what the series get: of each new sequence its first copy."""
    taken: set[tuple[int, int]] = set()
    for item in verified:
        row, sequence = item.device.row, item.envelope.sequence
        if sequence in new[row.kid] and (row.id, sequence) not in taken:
            taken.add((row.id, sequence))
            yield row.id, item.observation.samples


def _bounds(verified: Sequence[Verified], new: dict[bytes, set[int]]) -> Iterator[StampRow]:
    """Between which times new envelopes lie whose clock was not right."""
    for item in verified:
        row, when, sequence = item.device.row, item.stamp, item.envelope.sequence
        if when.latest is not None and sequence in new[row.kid]:
            uncounted = when.clock == UNSET
            yield StampRow(row.id, sequence, item.boot, item.uptime, uncounted, when.base, when.earliest, when.latest)


def _final(verified: Verified, new: dict[bytes, set[int]]) -> Accepted | Duplicate | Rejected:
    """The first copy of a new sequence in a batch is accepted, every further one is a duplicate."""
    kid, sequence = verified.device.row.kid, verified.envelope.sequence
    if kid not in new:
        return Rejected("revoked_device")
    if sequence in new[kid]:
        new[kid].discard(sequence)
        return Accepted(kid, sequence)
    return Duplicate(kid, sequence)
