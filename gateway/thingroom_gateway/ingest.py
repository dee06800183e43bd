"""The one door: frames in, outcomes out, and nothing is said before it is on disk.

Each frame goes through size, structure, device, signature, content, ledger, in this order. Frames gather while a commit
runs and share the next one. May import thingroom_wire, storage, devices, pairing, observation. links/ offer frames
here; batching.py takes what was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from time import monotonic
from typing import Any, Protocol

from thingroom_common.database import Database, Transaction
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.matrix_event import MAX_CONTENT, content_size
from thingroom_gateway.observation import Observation, Unusable, observe
from thingroom_gateway.outcomes import (
    MAX_FRAME,
    Accepted,
    Duplicate,
    Frame,
    Greeted,
    Link,
    Outcome,
    Refused,
    Rejected,
)
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.storage import received
from thingroom_gateway.storage.received import Envelope
from thingroom_gateway.storage.series import Recorder
from thingroom_wire.downlink import Answer, encode_answer
from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET, parse_envelope
from thingroom_wire.errors import WireError
from thingroom_wire.hello import is_pairing_hello, parse_hello
from thingroom_wire.senml import decode_pack

logger = logging.getLogger(__name__)

# A batch is examined for at most this long before the loop looks after other things.
SLICE_SECONDS = 0.010
SLICE_FRAMES = 256
# So many readings go through the steps together.
SWEEP_FRAMES = 64
# From so many on it pays to verify half of them on another core.
SPLIT_FRAMES = 8
# So many examined frames wait for the running commit at most.
READY_FRAMES = 1024
# After a failed commit: how long until the same frames are tried again.
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
HELLO_INTERVALS = 16


class CommandDoor(Protocol):
    """The queue of commands, as ingest sees it."""

    def greeting(self, device: Device, hello: Any) -> list[bytes]:
        """The commands that go into the answer to a hello."""
        ...

    def results(self, transaction: Transaction, device: Device, sequence: int, results: Sequence[Any]) -> None:
        """What a new envelope says came of commands; called in its write."""
        ...

    def refused(self, device: Device, sequence: int, results: Sequence[Any]) -> None:
        """The same of an envelope whose readings are refused; it is not stored."""
        ...


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope whose signature and content are good; the ledger has the last word."""

    device: Device
    envelope: Envelope
    observation: Observation
    boot: tuple[int, int] | None
    results: Sequence[tuple[int, str]] = ()


_BAD_SIGNATURE = Rejected("bad_signature")

Examined = Verified | Outcome
Settled = tuple[Frame, Outcome]
Batch = list[tuple[Frame, Link, Examined]]


Parsed = Rejected | tuple[Device, Any]


def _verify(known: Sequence[Parsed]) -> list[Parsed]:
    """`known` with those whose signature is bad rejected."""
    return [
        one if isinstance(one, Rejected) or one[0].verifies(one[1].signed_bytes, one[1].signature) else _BAD_SIGNATURE
        for one in known
    ]


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
    ) -> None:
        self._database = database
        self._registry = registry
        self._pairing = pairing
        self._counters = counters
        self._series = series
        self._now_ms = now_ms
        self._shards = frozenset(int(digit, 16) for digit in shards)
        self._queue: deque[tuple[Frame, Link]] = deque()
        self._queue_frames = queue_frames
        self._queue_bytes = queue_bytes
        self._waiting_bytes = 0
        self._refused_links: set[Link] = set()
        self._wake = asyncio.Event()
        self._other_core = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._boots: dict[int, tuple[int, int]] = {}
        self.stalled = False
        self.watchers: list[Callable[[Sequence[Settled]], None]] = []
        self.observed: list[Callable[[Device, Observation], None]] = []
        self.commands: CommandDoor | None = None

    def offer(self, frame: Frame, link: Link) -> bool:
        """Queue a frame; False if there is no room: keep it, and `link.resume` is called when there is."""
        size = len(frame.payload)
        if len(self._queue) >= self._queue_frames or (self._queue and self._waiting_bytes + size > self._queue_bytes):
            self._refused_links.add(link)
            return False
        self._queue.append((frame, link))
        self._waiting_bytes += size
        self._wake.set()
        return True

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
            self._other_core.shutdown()

    async def _examine_slice(self) -> Batch:
        batch: Batch = []
        examined: Sequence[Examined]
        deadline = monotonic() + SLICE_SECONDS
        now = self._now_ms()
        while self._queue and len(batch) < SLICE_FRAMES:
            taken = self._take_alike()
            frames = [frame for frame, _ in taken]
            if frames[0].kind == "up":
                examined = self._examine_envelopes(frames, now)
            else:
                examined = [await self._examine_hello(frame, now) for frame in frames]
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

    # --- one frame ---------------------------------------------------------------------------------------------------

    def _examine_envelopes(self, frames: Sequence[Frame], now: int) -> list[Examined]:
        """Each step for all frames before the next step: what it needs stays in the processor's caches."""
        known = [self._parse(frame.payload) for frame in frames]
        # 4. Its signature. libsodium runs without the interpreter's lock, so a second core takes half of them.
        if len(known) < SPLIT_FRAMES:
            signed = _verify(known)
        else:
            half = len(known) // 2
            first = self._other_core.submit(_verify, known[:half])
            second = _verify(known[half:])
            signed = first.result() + second
        return [
            one if isinstance(one, Rejected) else self._read_content(frame, one[0], one[1], now)
            for frame, one in zip(frames, signed, strict=True)
        ]

    def _parse(self, data: bytes) -> Parsed:
        """The sender and the thingroom_wire.envelope.Envelope, its signature unchecked."""
        # 1. Size.
        if len(data) > MAX_FRAME:
            return Rejected("too_large")
        # 2. Structure.
        try:
            parsed = parse_envelope(data)
        except WireError as error:
            return Rejected(error.reason)
        # 3. A device that we know, that may speak, and that is ours.
        kid = parsed.header.key_id
        device = self._registry.get(kid)
        if device is None or device.row.attested:
            return Rejected("unknown_device")
        if device.row.status != ACTIVE:
            return Rejected("revoked_device")
        if kid[0] >> 4 not in self._shards:
            return Rejected("other_shard")
        return device, parsed

    def _read_content(self, frame: Frame, device: Device, parsed: Any, now: int) -> Examined:
        examined = self._judge_content(frame, device, parsed, now)
        if parsed.results and self.commands is not None and type(examined) is Refused:
            # The readings are of no use; what the device says of its commands is signed all the same.
            self.commands.refused(device, examined.sequence, parsed.results)
        return examined

    def _judge_content(self, frame: Frame, device: Device, parsed: Any, now: int) -> Examined:
        # 5. Content that its profile understands.
        header = parsed.header
        kid, sequence = header.key_id, header.sequence
        try:
            pack = decode_pack(parsed.payload)
        except WireError as error:
            return Refused(kid, sequence, error.reason)
        base, clock, boot = self._base_time(device, header.clock, pack.base_time_ms, now)
        observed = observe(device.profile, pack.records, base, clock, sequence)
        if isinstance(observed, Unusable):
            return Refused(kid, sequence, observed.reason)
        data = frame.payload
        if content_size(len(data), len(observed.readings)) > MAX_CONTENT:
            return Refused(kid, sequence, "too_large_for_an_event")
        predecessor = header.predecessor[0] if header.predecessor else None
        envelope = Envelope(sequence, predecessor, now, frame.transport, observed.ts, data, observed.readings)
        return Verified(device, envelope, observed, boot, parsed.results)

    def _base_time(
        self, device: Device, clock: tuple[int, int, int], stated: int | None, now: int
    ) -> tuple[int, int, tuple[int, int] | None]:
        """What the records' times are relative to (Unix ms), the clock's state, and what was learnt of the boot.

        Without a clock: the boot's start where an envelope of that boot told it, else the time of arrival.
        """
        state, boot, uptime = clock
        known = self._boots.get(device.row.id)
        if state == UNSET or stated is None:
            if known is None or known[0] != boot:
                started = self._database.read(lambda connection: received.boot_started(connection, device.row.id, boot))
                known = None if started is None else (boot, started)
            return (now, UNSET, None) if known is None else (known[1] + uptime, DRIFTING, None)
        if state == SYNCHRONISED and (known is None or known[0] != boot):
            return stated, state, (boot, stated - uptime)
        return stated, state, None

    async def _examine_hello(self, frame: Frame, now: int) -> Outcome:
        data = frame.payload
        if len(data) > MAX_FRAME:
            return Rejected("too_large")
        if is_pairing_hello(data):
            try:
                return await self._pairing.greet(data)
            except sqlite3.Error as error:
                logger.error("a pairing was not stored: %s", error)
                return Rejected("not_stored")
        try:
            signed = parse_hello(data)
        except WireError as error:
            return Rejected(error.reason)
        hello = signed.hello
        device = self._registry.get(hello.key_id)
        if device is None or device.row.attested:
            return Rejected("unknown_device")
        if device.row.status != ACTIVE:
            return Rejected("revoked_device")
        if not device.verifies(signed.signed_bytes, signed.signature):
            return Rejected("bad_signature")
        presence = device.presence
        presence.firmware, presence.waiting, presence.boot, presence.heard_at = (
            hello.firmware,
            hello.waiting,
            hello.boot,
            now,
        )
        commands = self.commands.greeting(device, hello) if self.commands else []
        newest = self._database.read(lambda connection: received.intervals(connection, device.row.id, HELLO_INTERVALS))
        answer = Answer([(i.first, i.last) for i in newest], self._now_ms(), hello.nonce, [], None, None, commands)
        return Greeted(hello.key_id, encode_answer(device.row.downlink_key, hello.key_id, answer))

    # --- one batch ---------------------------------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        verified = [examined for _, _, examined in batch if type(examined) is Verified]
        new = await self._store(verified) if verified else {}
        settled: list[Settled] = []
        fresh: list[tuple[Device, Observation]] = []
        by_link: dict[Link, list[Settled]] = {}
        for frame, link, examined in batch:
            outcome = _final(examined, new) if type(examined) is Verified else examined
            assert not isinstance(outcome, Verified)
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

    async def _store(self, verified: Sequence[Verified]) -> dict[bytes, set[int]]:
        """Commit; tries again for as long as the disk refuses: nothing is acknowledged or forgotten meanwhile."""
        by_device = {
            device: [item.envelope for item in items]
            for device, items in groupby(
                sorted(verified, key=lambda item: item.device.row.id), key=lambda item: item.device.row
            )
        }
        boots = {item.device.row.id: item.boot for item in verified if item.boot is not None}

        def write(transaction: Transaction) -> dict[bytes, set[int]]:
            new = {row.kid: received.store(transaction, row.id, items) for row, items in by_device.items()}
            self._series.add_many(transaction, _samples(verified, new))
            for item in verified:
                if item.results and self.commands and item.envelope.sequence in new[item.device.row.kid]:
                    self.commands.results(transaction, item.device, item.envelope.sequence, item.results)
            for device, (boot, started) in boots.items():
                received.learn_boot(transaction, device, boot, started)
            return new

        attempt = 0
        while True:
            try:
                new = await self._database.write(write)
            except sqlite3.Error as error:
                self.stalled = True
                self._counters.add("storage.failed")
                pause = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                logger.error("%d envelopes cannot be stored (%s); trying again in %s s", len(verified), error, pause)
                attempt += 1
                await asyncio.sleep(pause)
                continue
            self.stalled = False
            self._boots.update(boots)
            return new

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
        else:
            assert type(outcome) is Greeted
            self._counters.add(f"{transport}.{'paired' if outcome.paired else 'greeted'}")


def _samples(verified: Sequence[Verified], new: dict[bytes, set[int]]) -> Iterator[tuple[int, Sequence[SeriesReading]]]:
    """By device row id what the series get: of each new sequence its first copy."""
    taken: set[tuple[int, int]] = set()
    for item in verified:
        row, sequence = item.device.row, item.envelope.sequence
        if sequence in new[row.kid] and (row.id, sequence) not in taken:
            taken.add((row.id, sequence))
            yield row.id, item.observation.samples


def _final(verified: Verified, new: dict[bytes, set[int]]) -> Accepted | Duplicate:
    """The first copy of a new sequence in a batch is accepted, every further one is a duplicate."""
    kid, sequence = verified.device.row.kid, verified.envelope.sequence
    if sequence in new[kid]:
        new[kid].discard(sequence)
        return Accepted(kid, sequence)
    return Duplicate(kid, sequence)
