"""The queue of commands: one lane a device, one command at a time, until the device's signed result is stored.

A command is a row before anybody hears of it; it is signed when it is sent and sent again, under the same counter,
until its result arrives in an envelope or its time is over. Links send through `pushers` or ask `attach`; ingest gives
hellos and results. May import storage, devices, plain's values, bot.commander (what people's requests are made of).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from nacl.signing import SigningKey

from thingroom_common.database import Database, Transaction
from thingroom_gateway.bot.commander import Queued, Refused, RoomEvent
from thingroom_gateway.commands.command import (
    CONFIGURATION,
    Command,
    Heard,
    Outcome,
    Settings,
    Told,
    same_state,
    signed,
    stored_value,
)
from thingroom_gateway.commands.texts import sentence, values_of
from thingroom_gateway.config import CommandsConfig
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.observation import Observation
from thingroom_gateway.outcomes import Frame, Greeted
from thingroom_gateway.outcomes import Outcome as FrameOutcome
from thingroom_gateway.plain.command import CannotSend, Publish
from thingroom_gateway.profiles import Actuator
from thingroom_gateway.storage import commands, handover
from thingroom_wire.downlink import Answer, encode_answer

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
# How long after a command was sent it is sent again, while the device is there and says nothing about it.
RESEND_MS: Final = (5_000, 10_000, 20_000, 40_000, 60_000)
# Sent so often in vain, a command waits for the device's next word: the broker may be keeping all of them for it.
TRIES: Final = 5
# A device that sleeps is awake for so long after its word.
AWAKE_MS: Final = 10_000
# A result may be on its way when the time is over.
GRACE_MS: Final = 15_000
# How long a plain device may take to tell its new state.
PLAIN_MS: Final = 30_000
# Which transports let us speak first; on the others a command goes with the answer to the device's next word.
FIRST_TRANSPORT: Final = "mqtt"


class PlainDevices(Protocol):
    """Plain MQTT devices, as the queue sees them."""

    def command(self, device: Device, actuator: str, value: str) -> Publish | CannotSend: ...


Pusher = Callable[[bytes, bytes], bool]


@dataclass(slots=True)
class _Lane:
    """What waits for one device, oldest first, and what is known of how to reach it. Times in Unix ms."""

    waiting: deque[Command] = field(default_factory=deque)
    sent_at: int = 0
    tries: int = 0
    word_at: int = 0
    transport: str = FIRST_TRANSPORT
    heard: Heard | None = None


class CommandQueue:
    """Owns the commands that wait.

    `told` is called in the write that settles a command, so whoever answers a person does it in the same commit;
    `watchers` after it: the command, "done", "failed" or "expired", and a sentence that is empty when it is done.
    A command that had expired may still be told done or failed: the device's word, when it comes late.
    `pushers` send bytes to a device (its kid, the bytes) over a transport, and say whether they could.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        keys: GatewayKeys,
        counters: Counters,
        config: CommandsConfig,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._registry = registry
        # By the key id that a device has pinned; empty for our own.
        self._signers: dict[bytes, tuple[SigningKey, bytes]] = {b"": (SigningKey(keys.signing_seed), keys.kid)}
        self._counters = counters
        self.config = config
        self._now_ms = now_ms
        self._lanes: dict[int, _Lane] = {}
        self._waiters: dict[int, list[asyncio.Future[Told]]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self.told: list[Callable[[Transaction, Told], None]] = []
        self.watchers: list[Callable[[Command, Outcome, str], None]] = []
        self.pushers: dict[str, Pusher] = {}
        self.plain: PlainDevices | None = None
        self.publish: Callable[[Publish], bool] | None = None
        for one in database.read(commands.waiting):
            lane = self._lane(one.device)
            lane.waiting.append(one)
            # Whether it was sent before this start is not known.
            lane.tries = 1

    # --- asking ------------------------------------------------------------------------------------------------------

    async def request(
        self, device: Device, actuator: str, value: str, requested_by: str, room_event: RoomEvent | None
    ) -> Queued | Refused:
        """Queue a command; it is on disk when this returns. `actuator` by name or title, `value` as people write it.

        The same `room_event` again is the same command and queues nothing new. Raises sqlite3.Error.
        """
        name = device.row.name
        known = _find(device, actuator)
        if known is None:
            there = ", ".join(device.profile.actuators)
            return Refused(f"{name} has no {actuator}; it has: {there}." if there else f"{name} cannot be set.")
        accepted = known.accept(value)
        if accepted is None:
            return Refused(f"{known.title} of {name} takes {values_of(known)}.")
        wrong = self._cannot_take(device)
        if wrong:
            return Refused(wrong)
        publish = None
        if device.row.attested:
            made = self.plain.command(device, known.name, accepted) if self.plain else CannotSend("not_settable")
            if isinstance(made, CannotSend):
                return Refused(f"{name} has not told how to set its {known.title.lower()}.")
            publish = made
        value = stored_value(known, accepted)
        made_now, command = await self._queue(device, known.name, lambda *_: value, requested_by, room_event)
        if made_now and publish is not None:
            await self._publish(command, publish, known)
        return Queued(command.id)

    async def configure(self, device: Device, changes: Settings, requested_by: str) -> Queued | Refused:
        """Queue a new configuration: the newest one with `changes`. Raises sqlite3.Error."""
        if device.row.attested:
            return Refused(f"{device.row.name} has no Thingroom firmware and is configured by its own means.")
        unknown = {*(changes.thresholds or {}), *(changes.calibration or {})} - set(device.profile.quantities)
        if unknown:
            return Refused(f"{device.row.name} has no quantity {', '.join(sorted(unknown))}.")
        wrong = self._cannot_take(device)
        if wrong:
            return Refused(wrong)

        def merged(transaction: Transaction, now: int) -> str:
            version, before = commands.configuration(transaction, device.row.id)
            text = before.changed(changes).to_json(max(version + 1, now))
            commands.save_configuration(transaction, device.row.id, text)
            return text

        _, command = await self._queue(device, CONFIGURATION, merged, requested_by, None)
        return Queued(command.id)

    def _cannot_take(self, device: Device) -> str:
        if device.row.status != ACTIVE:
            return f"{device.row.name} is revoked."
        if len(self._lane(device.row.id).waiting) >= self.config.waiting:
            return f"{device.row.name} has {self.config.waiting} commands waiting; it has to take those first."
        return ""

    async def _queue(
        self,
        device: Device,
        actuator: str,
        value: Callable[[Transaction, int], str],
        requested_by: str,
        room_event: RoomEvent | None,
    ) -> tuple[bool, Command]:
        """Store a command, whose value `value` makes in the write; whether it is new, and the command."""
        row, now = device.row, self._now_ms()
        seconds = self.config.sleeping_expires_seconds if device.profile.sleeps else self.config.expires_seconds
        room, event = (room_event.room_id, room_event.event_id) if room_event else ("", "")
        expires = now + (PLAIN_MS if row.attested else seconds * 1000)
        draft = Command(0, row.id, 0, actuator, "", requested_by, room, event, now, expires)

        def write(transaction: Transaction) -> tuple[bool, Command]:
            before = commands.asked_by(transaction, draft)
            if before is not None:
                return False, replace(draft, id=before)
            counter = 0 if row.attested else commands.next_counter(transaction, row.id, now)
            stored = commands.insert(transaction, replace(draft, counter=counter, value=value(transaction, now)))
            transaction.after_commit(lambda: self._lane(row.id).waiting.append(stored))
            return True, stored

        made_now, command = await self._database.write(write)
        if made_now:
            self._counters.add("commands.requested")
            self._push(device)
        return made_now, command

    async def _publish(self, command: Command, publish: Publish, known: Actuator) -> None:
        """Send to a plain device; its state tells what came of it, if it tells a state."""
        self._lane(command.device).tries = 1
        if self.publish is None or not self.publish(publish):
            await self._settle([Told(command, "failed", "broker_away")])
        elif not known.feedback:
            await self._settle([Told(command, "done", "unconfirmed")])

    async def outcome(self, command: int, seconds: float) -> Told | None:
        """What came of a command, waiting for it at most `seconds`; None if it is still open then."""
        told = self._database.read(lambda connection: commands.outcome_of(connection, command))
        if told is not None:
            return told
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(command, [])
        waiters.append(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            waiters.remove(future)
            if not waiters:
                self._waiters.pop(command, None)

    def waiting(self, device: Device) -> list[Command]:
        """What waits for `device`, oldest first."""
        return list(self._lane(device.row.id).waiting)

    # --- sending -----------------------------------------------------------------------------------------------------

    def greeting(self, device: Device, hello: Any) -> list[bytes]:
        """`device` said `hello` (thingroom_wire.hello.Hello): the commands that go into the answer."""
        lane, now = self._lane(device.row.id), self._now_ms()
        lane.heard = Heard(hello.nonce, now)
        lane.word_at = now
        if hello.commanded is not None:
            self._learn_counter(device, hello.commanded)
        # A new nonce may be what the device has waited for: send at once, whatever was sent before.
        lane.sent_at = 0
        return self._attach(device, lane, now)

    def attach(self, device: Device) -> list[bytes]:
        """The commands that go into an answer to `device`, where answers are the only way."""
        return self._attach(device, self._lane(device.row.id), self._now_ms())

    def _attach(self, device: Device, lane: _Lane, now: int) -> list[bytes]:
        head = self._due(device, lane, now)
        if head is None:
            return []
        self._sent(lane, now)
        return [signed(head, device.row.kid, lane.heard, *self._signer(device))]

    def _signer(self, device: Device) -> tuple[SigningKey, bytes]:
        """The key that the device has pinned, and its id: ours, or that of the gateway that it was taken over from."""
        kid = device.row.signer
        if kid not in self._signers:
            seed = self._database.read(lambda connection: handover.signing_seed(connection, kid))
            assert seed is not None, f"no signing key {kid.hex()}"
            self._signers[kid] = (SigningKey(seed), kid)
        return self._signers[kid]

    def _due(self, device: Device, lane: _Lane, now: int) -> Command | None:
        """The oldest command if it is to be sent now."""
        if not lane.waiting or device.row.attested or device.row.status != ACTIVE:
            return None
        head = lane.waiting[0]
        if now >= head.expires_at:
            return None
        pause = RESEND_MS[min(lane.tries, len(RESEND_MS)) - 1] if lane.tries else 0
        return head if now - lane.sent_at >= pause or now < lane.sent_at else None

    def _sent(self, lane: _Lane, now: int) -> None:
        lane.sent_at = now
        lane.tries += 1
        self._counters.add("commands.sent")

    def _push(self, device: Device) -> None:
        """Send what is due to `device` over a transport on which we may speak first."""
        lane, now = self._lane(device.row.id), self._now_ms()
        if lane.transport == "mqtt" and device.presence.status == "offline":
            # It sleeps or is away: its hello or its next reading brings the command. Not the broker's queue.
            return
        if device.profile.sleeps and now - lane.word_at > AWAKE_MS:
            return
        if lane.tries >= TRIES and lane.word_at <= lane.sent_at:
            return
        pusher = self.pushers.get(lane.transport)
        head = self._due(device, lane, now)
        if head is None or pusher is None:
            return
        message = signed(head, device.row.kid, lane.heard, *self._signer(device))
        answer = Answer([], None, None, [], None, None, [message], None)
        if pusher(device.row.kid, encode_answer(device.row.downlink_key, device.row.kid, answer)):
            self._sent(lane, now)

    def push(self, device: Device, message: bytes) -> bool:
        """Send `message`, signed like a command, to `device` if it is there and we may speak first; whether it went."""
        lane = self._lane(device.row.id)
        pusher = self.pushers.get(lane.transport)
        if pusher is None or (lane.transport == "mqtt" and device.presence.status == "offline"):
            return False
        if device.profile.sleeps and self._now_ms() - lane.word_at > AWAKE_MS:
            return False
        answer = Answer([], None, None, [], None, None, [message], None)
        return pusher(device.row.kid, encode_answer(device.row.downlink_key, device.row.kid, answer))

    def settled(self, settled: Sequence[tuple[Frame, FrameOutcome]]) -> None:
        """Frames were dealt with: who sent one is awake, over that transport."""
        now = self._now_ms()
        for frame, outcome in settled:
            kid = getattr(outcome, "kid", None)
            device = self._registry.get(kid) if kid is not None else None
            if device is None:
                continue
            lane = self._lane(device.row.id)
            lane.transport = frame.transport
            lane.word_at = now
            if lane.waiting and type(outcome) is not Greeted:
                self._push(device)

    def _learn_counter(self, device: Device, commanded: int) -> None:
        """The device took `commanded`: more than we ever gave out if our clock and our memory were set back."""

        async def write() -> None:
            try:
                await self._database.write(
                    lambda transaction: commands.raise_counter(transaction, device.row.id, commanded)
                )
            except sqlite3.Error as error:
                logger.error("the counter of %s was not stored: %s", device.kid_hex, error)

        known = self._database.read(lambda connection: commands.counter(connection, device.row.id))
        if commanded > known:
            self._soon(write())

    # --- settling ----------------------------------------------------------------------------------------------------

    def results(self, transaction: Transaction, device: Device, sequence: int, results: Sequence[Any]) -> None:
        """The new envelope `sequence` of `device` carries `results`, (counter, outcome) each; called in its write."""
        now = self._now_ms()
        for counter, word in results:
            outcome: Outcome = "done" if word == "done" else "failed"
            reason = "" if outcome == "done" else word
            told = commands.report(transaction, device.row.id, counter, outcome, reason, sequence, now)
            if told is not None:
                self._tell(transaction, told)

    def refused(self, device: Device, sequence: int, results: Sequence[Any]) -> None:
        """As `results`, of an envelope that is not stored: a calibration may have put its readings out of range."""

        async def write() -> None:
            try:
                await self._database.write(lambda transaction: self.results(transaction, device, sequence, results))
            except sqlite3.Error as error:
                logger.error("what %s did was not stored: %s", device.kid_hex, error)

        self._soon(write())

    def observed(self, device: Device, observation: Observation) -> None:
        """A plain device told its state: perhaps what it was commanded to."""
        lane = self._lanes.get(device.row.id)
        if lane is None or not device.row.attested:
            return
        done: list[Told] = []
        for command in lane.waiting:
            known = device.profile.actuators.get(command.actuator)
            state = observation.latest.get(known.feedback) if known is not None else None
            if known is not None and state is not None and same_state(known, state, command.value):
                done.append(Told(command, "done"))
        if done:
            self._soon(self._settle(done))

    async def run(self) -> None:
        """Send again what is due, and give up what is too late; until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            late: list[Told] = []
            for device_id, lane in self._lanes.items():
                if lane.waiting:
                    device = self._registry.by_id(device_id)
                    late += self._late(device, lane)
                    self._push(device)
            if late:
                await self._settle(late)

    def _late(self, device: Device, lane: _Lane) -> list[Told]:
        now, late = self._now_ms(), []
        for place, command in enumerate(lane.waiting):
            tried = place == 0 and lane.tries > 0
            if device.row.status != ACTIVE:
                late.append(Told(command, "failed", "revoked"))
            elif device.row.attested:
                if now >= command.expires_at:
                    late.append(Told(command, "failed", "no_state"))
            elif now >= command.expires_at + (GRACE_MS if tried else 0):
                late.append(Told(command, "expired", "no_result" if tried else "not_sent"))
        return late

    async def _settle(self, tolds: Sequence[Told]) -> None:
        def write(transaction: Transaction) -> None:
            for told in tolds:
                if commands.is_waiting(transaction, told.command.id):
                    commands.settle(transaction, told, self._now_ms())
                    self._tell(transaction, told)

        try:
            await self._database.write(write)
        except sqlite3.Error as error:
            logger.error("what came of %d commands was not stored: %s", len(tolds), error)

    def _tell(self, transaction: Transaction, told: Told) -> None:
        for tell in self.told:
            tell(transaction, told)
        transaction.after_commit(lambda: self._announce(told))

    def _announce(self, told: Told) -> None:
        command = told.command
        lane = self._lane(command.device)
        if command in lane.waiting:
            if lane.waiting[0] == command:
                lane.tries = lane.sent_at = 0
            lane.waiting.remove(command)
        self._counters.add(f"commands.{told.outcome}")
        for waiter in self._waiters.get(command.id, ()):
            if not waiter.done():
                waiter.set_result(told)
        for watcher in self.watchers:
            watcher(command, told.outcome, sentence(told))
        self._push(self._registry.by_id(command.device))

    def _soon(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def _lane(self, device: int) -> _Lane:
        lane = self._lanes.get(device)
        if lane is None:
            lane = self._lanes[device] = _Lane()
        return lane


def _find(device: Device, name: str) -> Actuator | None:
    """An actuator by its name, or by its title as people write it."""
    known = device.profile.actuators
    word = name.strip().casefold()
    return known.get(word) or next((one for one in known.values() if one.title.casefold() == word), None)
