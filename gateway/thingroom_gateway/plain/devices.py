"""Plain MQTT devices: who was seen, who is adopted, and how their words are stored.

Owns the book and the queue of readings. Everything an adopted device says goes, in one write, into the ledger, the
envelopes and the series, with a sequence number of the gateway's, marked as attested. May import the pure modules
beside it, storage, enrolment. links/plain_mqtt.py hands messages in; control.py asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import msgspec

from thingroom_common.database import Database, Transaction
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.enrolment import Enrolled, Enrolment, NotEnrolled
from thingroom_gateway.observation import Observation
from thingroom_gateway.plain.book import Book, Seen
from thingroom_gateway.plain.command import CannotSend, Publish, command
from thingroom_gateway.plain.dialects import Listening, understand
from thingroom_gateway.plain.mapping import Mapped, best_profile, map_readings, observed
from thingroom_gateway.plain.original import original
from thingroom_gateway.plain.said import Availability, Described, Discovered, Gone, Readings
from thingroom_gateway.plain.words import Unreadable
from thingroom_gateway.profiles import Profile
from thingroom_gateway.storage import plain, received
from thingroom_gateway.storage.devices import DeviceRow
from thingroom_gateway.storage.series import Recorder

logger = logging.getLogger(__name__)

QUEUE: Final = 2048
BATCH: Final = 256
# What one device may say: so many messages a second in the long run, so many at once.
RATE: Final = 10.0
BURST: Final = 200.0
RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
# A device's own time is believed if it is at most so far behind or ahead of ours, in ms.
BEHIND_MS: Final = 7 * 86_400_000
AHEAD_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Message:
    """As MQTT brought it. `retained`: the broker had kept it; `repeated`: it may have come before (DUP).

    `late`: it may have waited at the broker, so that the time of arrival says little. `packet`: its packet identifier,
    the same when it is delivered again; 0 for QoS 0.
    """

    topic: str
    payload: bytes
    retained: bool = False
    repeated: bool = False
    late: bool = False
    packet: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Readings of an adopted device on their way to disk; `done` is called after the commit."""

    device: Device
    message: Message
    mapped: Mapped
    ts: int
    clock_sure: bool
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Adopted:
    device: Device


@dataclass(frozen=True, slots=True)
class NotAdopted:
    """`reason` is a snake_case word: those of NotEnrolled, not_seen, no_profile, adopted."""

    reason: str


class PlainDevices:
    """`observed` sees every stored reading, `stored` the device of each, `heard` every change of presence."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        profiles: Mapping[str, Profile],
        enrolment: Enrolment,
        counters: Counters,
        series: Recorder,
        listening: Sequence[Listening],
        now_ms: Callable[[], int],
        shards: str,
    ) -> None:
        self._database = database
        self._shards = shards
        self._registry = registry
        self._profiles = profiles
        self._enrolment = enrolment
        self._counters = counters
        self._series = series
        self._listening = listening
        self._now_ms = now_ms
        self._book = Book(listening)
        self._adopted: dict[str, int] = {}
        self._bases: dict[int, str] = {}
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._allowance: dict[int, tuple[float, float]] = {}
        self._changed_bindings: set[str] = set()
        self.room: list[Callable[[], None]] = []
        self.observed: list[Callable[[Device, Observation], None]] = []
        self.stored: list[Callable[[Device, int], None]] = []
        for row in database.read(plain.load_plain):
            self._bind(row.base, row.device)
            self._book.restore(msgspec.json.decode(row.binding, type=Described))

    def _bind(self, base: str, device: int) -> None:
        self._adopted[base] = device
        self._bases[device] = base
        self._book.kept.add(base)

    def topics(self) -> set[str]:
        """What to subscribe to beside the dialects' own topics."""
        return self._book.topics()

    @property
    def topics_version(self) -> int:
        """Grows whenever `topics` may have more than before."""
        return self._book.version

    # --- hearing -------------------------------------------------------------------------------------------------

    def full(self) -> bool:
        """No room: keep messages back until a callback of `room` says that there is."""
        return len(self._queue) >= QUEUE

    def hear(self, message: Message, done: Callable[[], None]) -> None:
        """Take a message in. `done` is called once it needs no further care: at once, or after the commit."""
        try:
            dialect, said = understand(self._listening, message.topic, message.payload, self._book.known)
        except Unreadable as error:
            self._counters.add(f"plain.rejected.{error}")
            done()
            return
        waiting: list[_Waiting] = []
        now = self._now_ms()
        for one in said:
            if isinstance(one, Readings):
                self._book.hear(dialect, one, now)
                readings = self._readings(message, one, now, done)
                if readings is not None:
                    waiting.append(readings)
            elif isinstance(one, Availability):
                self._available(one, now)
            elif isinstance(one, Described):
                if self._book.remember(one):
                    self._changed_bindings.add(one.base)
            elif isinstance(one, Discovered):
                self._changed_bindings |= self._book.discover(one, now)
            else:
                assert isinstance(one, Gone)
                self._book.withdraw(one)
        if not dialect:
            self._counters.add("plain.not_understood")
        self._changed_bindings &= self._adopted.keys()
        if waiting:
            self._queue += waiting
            self._wake.set()
        else:
            done()
            if self._changed_bindings:
                self._wake.set()

    def _available(self, one: Availability, now: int) -> None:
        bases = [one.base]
        if one.whole:
            bases = [base for base in self._book.seen if base.startswith(f"{one.base}/")]
            bases += [base for base in self._adopted if base.startswith(f"{one.base}/") and base not in bases]
        for base in bases:
            self._book.available(base, one.online, now)
            device = self._device(base)
            if device is not None:
                device.presence.status = "online" if one.online else "offline"
                self._counters.add("plain.status")

    def _device(self, base: str) -> Device | None:
        row_id = self._adopted.get(base)
        return None if row_id is None else self._registry.by_id(row_id)

    def _readings(self, message: Message, said: Readings, now: int, done: Callable[[], None]) -> _Waiting | None:
        device = self._device(said.base)
        if device is None:
            self._counters.add("plain.not_adopted")
            return None
        if device.row.status != ACTIVE:
            self._counters.add("plain.rejected.revoked_device")
            return None
        if not self._may_speak(device.row.id):
            self._counters.add("plain.refused.too_often")
            return None
        mapped = map_readings(device.profile, said)
        for reason in mapped.refused.values():
            self._counters.add(f"plain.refused.{reason}")
        if not mapped.values:
            if not mapped.refused:
                self._counters.add("plain.not_in_profile")
            return None
        device.presence.heard_at = now
        if not message.retained:
            device.presence.status = "online"
        own = said.ts is not None and now - BEHIND_MS <= said.ts <= now + AHEAD_MS
        ts = said.ts if own and said.ts is not None else now
        return _Waiting(device, message, mapped, ts, own or not (message.retained or message.late), done)

    def _may_speak(self, device: int) -> bool:
        """A bucket of BURST messages that fills at RATE a second."""
        now = monotonic()
        left, at = self._allowance.get(device, (BURST, now))
        left = min(BURST, left + (now - at) * RATE)
        self._allowance[device] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    # --- storing -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Store what waits, many messages a commit, until cancelled. While the disk refuses, nothing is forgotten."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue or self._changed_bindings:
                batch = [self._queue[index] for index in range(min(BATCH, len(self._queue)))]
                await self._store(batch)
                for _ in batch:
                    self._queue.popleft().done()
                for there_is_room in self.room if batch else ():
                    there_is_room()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        bindings, self._changed_bindings = self._changed_bindings, set()

        def write(transaction: Transaction) -> list[tuple[Device, int, Observation]]:
            for base in bindings:
                described = self._book.described(base)
                if described is not None:
                    plain.save_binding(transaction, self._adopted[base], msgspec.json.encode(described))
            new = [one for item in batch if (one := self._store_one(transaction, item)) is not None]
            self._series.add_many(transaction, [(device.row.id, seen.samples) for device, _, seen in new])
            return new

        attempt = 0
        while True:
            try:
                new = await self._database.write(write)
                break
            except sqlite3.Error as error:
                self._counters.add("storage.failed")
                pause = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                logger.error("%d plain messages cannot be stored (%s); trying again in %s s", len(batch), error, pause)
                attempt += 1
                await asyncio.sleep(pause)
        for device, sequence, observation in new:
            self._counters.add("plain.accepted")
            for see in self.observed:
                see(device, observation)
            for tell in self.stored:
                tell(device, sequence)

    def _store_one(self, transaction: Transaction, item: _Waiting) -> tuple[Device, int, Observation] | None:
        message, row = item.message, item.device.row
        digest = hashlib.sha256(message.payload).digest()[:16]
        told = hashlib.sha256(message.topic.encode() + b"\0" + digest + row.kid).digest()[:16]
        again = message.retained and plain.heard_already(transaction, row.id, message.topic, digest)
        if again or (message.repeated and plain.stored_already(transaction, message.packet, told)):
            self._counters.add("plain.duplicate")
            return None
        if message.packet:
            plain.save_packet(transaction, message.packet, told)
        now = self._now_ms()
        plain.save_heard(transaction, row.id, message.topic, digest, now)
        sequence = plain.next_sequence(transaction, row.id)
        observation = observed(item.device.profile, item.mapped, item.ts, sequence, item.clock_sure)
        heard = original(message.topic, message.payload.decode("utf-8"))
        before = sequence - 1 if sequence > 1 else None
        envelope = received.Envelope(sequence, before, now, "plain", item.ts, heard, observation.readings)
        received.store(transaction, row.id, [envelope])
        return item.device, sequence, observation

    # --- adopting ------------------------------------------------------------------------------------------------

    def list_seen(self) -> list[dict[str, Any]]:
        """Everybody who was heard, last heard first, for people: what they are, what they tell, who is adopted."""
        return [self._describe(seen) for seen in reversed(self._book.seen.values())]

    def _describe(self, seen: Seen) -> dict[str, Any]:
        described = self._book.described(seen.base)
        device = self._device(seen.base)
        return {
            "topic": seen.base,
            "dialect": seen.dialect,
            "title": described.title if described else "",
            "model": described.model if described else "",
            "values": {name: f"{metric.value} {metric.unit}".strip() for name, metric in sorted(seen.metrics.items())},
            "settable": [handle.name for handle in described.handles] if described else [],
            "last_at": seen.last_at,
            "online": seen.online,
            "profile": best_profile(self._profiles, seen.metrics.values()) or "",
            "adopted_as": device.row.name if device is not None and device.row.status == ACTIVE else "",
        }

    async def adopt(self, base: str, name: str, place: str, profile: str = "") -> Adopted | NotAdopted:
        """Take a device in by the owner's word. Without `profile` the one that suits best. Raises sqlite3.Error."""
        seen = self._book.seen.get(base)
        known = self._device(base)
        if known is not None and known.row.status == ACTIVE:
            return NotAdopted("adopted")
        if seen is None:
            return NotAdopted("not_seen")
        chosen = profile or best_profile(self._profiles, seen.metrics.values())
        if chosen is None:
            return NotAdopted("no_profile")
        described = self._book.described(base) or Described(base=base, dialect=seen.dialect)
        binding = msgspec.json.encode(described)

        def also(transaction: Transaction, row: DeviceRow) -> None:
            if base in self._adopted:
                plain.save_binding(transaction, row.id, binding)
            else:
                plain.insert_plain(transaction, plain.PlainRow(row.id, base, seen.dialect, binding))

        result = await self._enrolment.adopt(kid_of(base, self._shards), name, place, chosen, also)
        if isinstance(result, NotEnrolled):
            return NotAdopted(result.reason)
        assert isinstance(result, Enrolled)
        self._bind(base, result.device.row.id)
        return Adopted(result.device)

    # --- commands ------------------------------------------------------------------------------------------------

    def command(self, device: Device, actuator: str, value: str) -> Publish | CannotSend:
        """What to publish so that `device` sets `actuator` to `value`."""
        base = self._bases.get(device.row.id)
        known = device.profile.actuators.get(actuator)
        if base is None or known is None:
            return CannotSend("not_settable")
        described = self._book.described(base)
        return command(base, described.handles if described else (), known, value)


def kid_of(base: str, shards: str) -> bytes:
    """A plain device's id, in the place of a key id: 8 bytes of SHA-256 over what no key can be.

    Its first digit is one of `shards`: others are not the gateway's to speak for at the homeserver.
    """
    kid = hashlib.sha256(b"thingroom plain device\0" + base.encode()).digest()[:8]
    digit = kid[0] >> 4
    own = digit if f"{digit:x}" in shards else int(shards[digit % len(shards)], 16)
    return bytes((own << 4 | kid[0] & 15,)) + kid[1:]
