"""What a frame is, before the ledger has its word: size, structure, device, signature, content, clock, quota.

The steps stand in this order in `Examiner`. May import thingroom_wire, storage, devices, pairing, observation, stamps,
quotas. ingest.py hands frames in and commits what comes out.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from thingroom_common.database import Database, Transaction
from thingroom_gateway.devices import ACTIVE, HANDED_OVER, Device, Registry
from thingroom_gateway.ledger import Held
from thingroom_gateway.matrix_event import MAX_CONTENT, content_size
from thingroom_gateway.observation import Observation, Unusable, observe
from thingroom_gateway.outcomes import MAX_FRAME, Deferred, Frame, Greeted, Outcome, Refused, Rejected
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.quotas import Quotas
from thingroom_gateway.stamps import Boot, Stamp, latest_start, stamp
from thingroom_gateway.storage import received, stamps
from thingroom_gateway.storage.received import Envelope
from thingroom_wire.downlink import Answer, encode_answer
from thingroom_wire.envelope import SYNCHRONISED, UNSET, parse_envelope
from thingroom_wire.errors import WireError
from thingroom_wire.hello import is_pairing_hello, parse_hello
from thingroom_wire.limits import MAX_HELD
from thingroom_wire.manifest import Block, ask_key_id, encode_block, parse_ask
from thingroom_wire.senml import decode_pack

logger = logging.getLogger(__name__)

# From so many on it pays to verify half of them on another core.
SPLIT_FRAMES = 8
HELLO_INTERVALS = 16
# A start of a boot that is known to be so little earlier is not worth a write, in ms.
WORTH_MS = 1_000


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


class UpdateDoor(Protocol):
    """The updates, as ingest sees them."""

    def greeting(self, device: Device, hello: Any) -> list[bytes]:
        """The manifest that goes among the commands in the answer to a hello."""
        ...

    def block(self, device: Device, ask: Any) -> Any:
        """The Block that a device asks for (thingroom_wire.manifest)."""
        ...


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope whose signature and content are good; the ledger has the last word.

    `learnt` is what it tells of its boot that was not known.
    """

    device: Device
    envelope: Envelope
    observation: Observation
    stamp: Stamp
    boot: int
    uptime: int
    learnt: Boot | None = None
    results: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A hello that tells what its outbox holds, or of its boot: worth a write, but its answer does not wait for one."""

    greeted: Greeted
    device: Device
    boot: int
    uptime: int
    held: Held | None
    learnt: Boot | None


_BAD_SIGNATURE = Rejected("bad_signature")

Examined = Verified | Said | Outcome
Parsed = Rejected | tuple[Device, Any]


def _verify(known: Sequence[Parsed]) -> list[Parsed]:
    """`known` with those whose signature is bad rejected."""
    return [
        one if isinstance(one, Rejected) or one[0].verifies(one[1].signed_bytes, one[1].signature) else _BAD_SIGNATURE
        for one in known
    ]


class Examiner:
    """Judges frames. Remembers what is known of each device's present boot."""

    def __init__(self, database: Database, registry: Registry, pairing: Pairing, shards: str, quotas: Quotas) -> None:
        self._database = database
        self._registry = registry
        self._pairing = pairing
        self._shards = frozenset(int(digit, 16) for digit in shards)
        self._quotas = quotas
        self._other_core = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self._boots: dict[int, Boot] = {}
        self.commands: CommandDoor | None = None
        self.updates: UpdateDoor | None = None

    def close(self) -> None:
        self._other_core.shutdown()

    # --- envelopes ---------------------------------------------------------------------------------------------------

    def envelopes(self, frames: Sequence[Frame], now: int) -> list[Examined]:
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
        device = self._speaker(parsed.header.key_id)
        return device if isinstance(device, Rejected) else (device, parsed)

    def _speaker(self, kid: bytes) -> Device | Rejected:
        device = self._registry.get(kid)
        if device is None or device.row.attested:
            return Rejected("unknown_device")
        if device.row.status != ACTIVE:
            return Rejected("other_gateway" if device.row.status == HANDED_OVER else "revoked_device")
        if kid[0] >> 4 not in self._shards:
            return Rejected("other_shard")
        return device

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
        state, number, uptime = header.clock
        known = self._boot(device, number)
        when = stamp(state, pack.base_time_ms, uptime, now, known)
        observed = observe(device.profile, pack.records, when.base, when.clock, sequence)
        if isinstance(observed, Unusable):
            return Refused(kid, sequence, observed.reason)
        data = frame.payload
        if content_size(len(data), len(observed.readings)) > MAX_CONTENT:
            return Refused(kid, sequence, "too_large_for_an_event")
        # 6. Within what this device may send.
        pause = self._quotas.take(device.row.id, len(observed.samples), len(data))
        if pause:
            return Deferred(kid, sequence, pause)
        predecessor = header.predecessor[0] if header.predecessor else None
        envelope = Envelope(sequence, predecessor, now, frame.transport, observed.ts, data, observed.readings)
        learnt = _learnt(known, when, uptime, now)
        return Verified(device, envelope, observed, when, number, uptime, learnt, parsed.results)

    def was_copy(self, verified: Verified) -> None:
        """The ledger had it already: it counts for nothing."""
        self._quotas.give_back(
            verified.device.row.id, len(verified.observation.samples), len(verified.envelope.envelope)
        )

    # --- boots -------------------------------------------------------------------------------------------------------

    def _boot(self, device: Device, number: int) -> Boot:
        known = self._boots.get(device.row.id)
        if known is None or known.number != number:
            known = self._database.read(lambda connection: stamps.boot(connection, device.row.id, number))
        return known

    def keep(self, device: int, boot: Boot) -> None:
        """What was learnt of a boot is on disk."""
        known = self._boots.get(device)
        if known is None or known.number <= boot.number:
            self._boots[device] = boot

    # --- hellos ------------------------------------------------------------------------------------------------------

    async def hello(self, frame: Frame, now: int) -> Examined:
        """The answer to a hello, or to a pairing hello, which is stored when this returns."""
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
        device = self._speaker(hello.key_id)
        if isinstance(device, Rejected):
            return device
        if not device.verifies(signed.signed_bytes, signed.signature):
            return _BAD_SIGNATURE
        presence = device.presence
        presence.firmware, presence.waiting, presence.boot, presence.heard_at = (
            hello.firmware,
            hello.waiting,
            hello.boot,
            now,
        )
        commands = self.commands.greeting(device, hello) if self.commands else []
        if self.updates is not None:
            commands += self.updates.greeting(device, hello)
        newest = self._database.read(lambda connection: received.intervals(connection, device.row.id, HELLO_INTERVALS))
        acknowledged = [(i.first, i.last) for i in newest]
        answer = Answer(acknowledged, now, hello.nonce, [], None, None, commands, None)
        greeted = Greeted(hello.key_id, encode_answer(device.row.downlink_key, hello.key_id, answer))
        known = self._boot(device, hello.boot)
        learnt = None
        if known.started is None:
            # A word of its uptime: the boot cannot have begun later. What waits from before its clock was set, follows.
            learnt = _bounded(known, hello.uptime, now)
        if hello.held is None and learnt is None:
            return greeted
        return Said(greeted, device, hello.boot, hello.uptime, _held(hello.held, now), learnt)

    # --- blocks of updates -------------------------------------------------------------------------------------------

    def ask(self, frame: Frame) -> Examined:
        """The block that a device asks for; nothing is stored."""
        try:
            device = self._speaker(ask_key_id(frame.payload))
            if isinstance(device, Rejected):
                return device
            ask = parse_ask(frame.payload, device.row.downlink_key)
        except WireError as error:
            return Rejected("bad_signature" if error.reason == "bad_tag" else error.reason)
        kid = device.row.kid
        block = self.updates.block(device, ask) if self.updates else Block(ask.counter, ask.offset, None)
        return Greeted(kid, encode_block(device.row.downlink_key, kid, block))


def _learnt(known: Boot, when: Stamp, uptime: int, now: int) -> Boot | None:
    """What an envelope tells of its boot that was not known."""
    if known.started is not None:
        return None
    if when.clock == SYNCHRONISED:
        return Boot(known.number, when.base - uptime, known.latest, known.after)
    return _bounded(known, uptime, now) if when.clock == UNSET else None


def _bounded(known: Boot, uptime: int, now: int) -> Boot | None:
    latest = latest_start(uptime, now, known)
    if known.latest is not None and known.latest - latest < WORTH_MS:
        return None
    return Boot(known.number, None, latest, known.after)


def _held(held: Any, now: int) -> Held | None:
    """What a hello says of the outbox. With as many ranges as it may name it says nothing of what is behind them."""
    if held is None:
        return None
    newest, waiting = held
    return Held(now, waiting[-1][1] if len(waiting) == MAX_HELD else newest, tuple(waiting))
