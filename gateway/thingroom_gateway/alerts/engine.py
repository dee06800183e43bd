"""Runs the rules over what is stored, and over time; puts what they say into the outbox, or holds it back.

Readings come from the database, after a place per device that is saved together with the states and with whatever was
said: a crash repeats what was not said and nothing that was. May import storage, devices, rules, telling, presence.
app.py runs it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import Final

import msgspec

from thingroom_common.database import Database, Transaction
from thingroom_gateway.alerts.defaults import presets
from thingroom_gateway.alerts.presence import Presences
from thingroom_gateway.alerts.rules import Heard, Raised, Rule, Sample, State, Tick, step
from thingroom_gateway.alerts.telling import Happening, Teller, state_of
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage.alerts import RuleRow

logger = logging.getLogger(__name__)

ROUND_SECONDS: Final = 0.25
TICK_SECONDS: Final = 5.0
SAVE_SECONDS: Final = 15.0
# So many envelopes of a device are looked at before others have their turn.
AT_ONCE: Final = 200
# So many devices of a place that fall silent together are told in one sentence.
TOGETHER: Final = 3
SNOOZE_BUTTON: Final = "⏰"


class _StoredReading(msgspec.Struct, frozen=True):
    name: str
    ts: int
    value: str
    clock: str = ""


_readings = msgspec.json.Decoder(list[_StoredReading])


@dataclass(slots=True)
class Watched:
    """A device with its rules that are on, ready to use."""

    rules: dict[int, tuple[RuleRow, Rule]] = field(default_factory=dict)
    examined: int = 0
    heard: int = 0


class Alerts:
    """Owns the states of all rules. `seen` says that a device has new readings; `reload` that its rules changed."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        owner: str,
        timezone: tzinfo,
        now_ms: Callable[[], int],
        filled: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._teller = Teller(database, owner, timezone)
        self._now_ms = now_ms
        self._filled = filled
        self._watched: dict[int, Watched] = {}
        self._states: dict[int, State] = {}
        self._unsaved: dict[int, State] = {}
        self._moved: set[int] = set()
        self._dirty: set[int] = set()
        self._new: set[int] = set()
        self._wake = asyncio.Event()
        self._started = now_ms()
        self._presences = Presences(database, self._started)
        # Told after the commit: the rule's kind, and "raised", "ended" or "missed".
        self.watchers: list[Callable[[str, str], None]] = []

    async def open(self) -> None:
        """Load everything, and give new devices their presets. Raises sqlite3.Error."""
        await self._database.write(self._add_presets)
        read = self._database.read
        self._states = read(store.all_states)
        progress, heard = read(store.progress), read(store.last_heard)
        for device in self._registry:
            number = device.row.id
            self._watched[number] = Watched(examined=progress.get(number, 0), heard=heard.get(number, 0))
        for row in read(store.all_rules):
            self._take(row)
        self._dirty.update(self._watched)

    def seen(self, device: Device, _observation: object = None) -> None:
        """New readings of `device` are stored."""
        self._dirty.add(device.row.id)
        self._wake.set()

    def enrolled(self, device: Device) -> None:
        """`device` is new or has changed: it gets its presets before its readings are looked at."""
        self._new.add(device.row.id)
        self._wake.set()

    async def _welcome(self) -> None:
        while self._new:
            number = min(self._new)
            device = self._registry.by_id(number)
            await self._database.write(partial(self._add_presets_of, device=device))
            self._new.discard(number)
            self.reload(number)
            self._dirty.add(number)

    def reload(self, number: int) -> None:
        """The rules of the device `number` changed in the database."""
        watched = self._watched.setdefault(number, Watched())
        watched.rules.clear()
        for row in self._database.read(partial(store.rules_of, device=number)):
            self._take(row)

    def forget(self, rule: int) -> None:
        """A rule was removed, or begins anew: what it remembered counts no more."""
        self._states.pop(rule, None)
        self._unsaved.pop(rule, None)

    def state(self, rule: int) -> State:
        """What a rule remembers now."""
        return self._states.get(rule, State())

    def presence(self, number: int) -> str:
        """ "online", "asleep" or "silent", as it was told last; empty of a device that was never heard."""
        return self._presences.of(number)

    def heard(self, number: int) -> int:
        """When (Unix ms) a device was last heard, 0 if never."""
        watched = self._watched.get(number)
        return max(watched.heard if watched else 0, self._registry.by_id(number).presence.heard_at)

    async def run(self) -> None:
        """Look at readings soon after they are stored, and at the clock, until cancelled."""
        next_tick = next_save = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    await self._welcome()
                    await self._round()
                    if loop.time() >= next_tick:
                        next_tick = loop.time() + TICK_SECONDS
                        await self.tick(self._now_ms())
                    if loop.time() >= next_save:
                        next_save = loop.time() + SAVE_SECONDS
                        await self.save()
                except sqlite3.Error as error:
                    logger.error("alerts wait for the database: %s", error)
                    await asyncio.sleep(TICK_SECONDS)
                if not self._dirty and not self._new:
                    self._wake.clear()
                    try:
                        async with asyncio.timeout(max(0.0, next_tick - loop.time())):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
                await asyncio.sleep(ROUND_SECONDS)
        finally:
            try:
                await asyncio.shield(self.save())
            except sqlite3.Error as error:
                logger.error("what alerts remember is not saved, and will be worked out again: %s", error)

    async def save(self) -> None:
        """Save what changed without anything being said. Raises sqlite3.Error."""
        if not self._unsaved and not self._moved:
            return
        states, moved = list(self._unsaved.items()), self._moved
        progress = [(number, self._watched[number].examined) for number in moved]
        self._unsaved, self._moved = {}, set()

        def write(transaction: Transaction) -> None:
            store.save_states(transaction, states)
            store.save_progress(transaction, progress)

        try:
            await self._database.write(write)
        except sqlite3.Error:
            self._unsaved = {**dict(states), **self._unsaved}
            self._moved |= moved
            raise

    # --- readings ----------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        while self._dirty:
            number = self._dirty.pop()
            try:
                more = await self._examine(number)
            except sqlite3.Error:
                self._dirty.add(number)
                raise
            if more:
                self._dirty.add(number)
            await asyncio.sleep(0)

    async def _examine(self, number: int) -> bool:
        """Take the next readings of a device through its rules; returns whether there may be more."""
        watched, device = self._watched.setdefault(number, Watched()), self._registry.by_id(number)
        after = watched.examined
        rows = self._database.read(lambda connection: store.readings_after(connection, number, after, AT_ONCE))
        if not rows:
            return False
        states: dict[int, State] = {}
        happenings: list[Happening] = []
        by_quantity: dict[str, list[tuple[RuleRow, Rule]]] = {}
        for row, rule in watched.rules.values():
            by_quantity.setdefault(rule.quantity, []).append((row, rule))
        anything = by_quantity.pop("", [])
        for envelope in rows:
            readings = _readings.decode(f"[{envelope.readings}]")
            for row, rule in anything:
                seen = Heard(envelope.received_at) if rule.kind == "silence" else None
                newest = max(readings, key=lambda reading: reading.ts)
                sample = Sample(newest.ts, envelope.received_at, "0", newest.clock)
                self._step(device, row, rule, seen or sample, states, happenings)
            if not by_quantity:
                continue
            for reading in readings:
                for row, rule in by_quantity.get(reading.name, ()):
                    sample = Sample(reading.ts, envelope.received_at, reading.value, reading.clock)
                    self._step(device, row, rule, sample, states, happenings)
        examined, heard = rows[-1].arrival, max(watched.heard, max(row.received_at for row in rows))
        if happenings:
            await self._say(happenings, states, (number, examined))
        else:
            self._unsaved.update(states)
            self._moved.add(number)
        self._states.update(states)
        watched.examined, watched.heard = examined, heard
        return len(rows) == AT_ONCE

    def _step(
        self,
        device: Device,
        row: RuleRow,
        rule: Rule,
        seen: Sample | Heard | Tick,
        states: dict[int, State],
        happenings: list[Happening],
    ) -> None:
        before = states.get(row.id) or self._states.get(row.id) or State()
        after, event = step(rule, before, seen)
        if after is not before:
            states[row.id] = after
        if event is not None:
            happenings.append(Happening(device, row, rule, event))

    # --- time --------------------------------------------------------------------------------------------------------

    async def tick(self, now: int) -> None:
        """Silence, snoozes that end, quiet hours that end, presence. Raises sqlite3.Error."""
        for number, arrived in self._database.read(store.arrived).items():
            watched = self._watched.get(number)
            if watched is not None and watched.examined < arrived:
                self._dirty.add(number)
        states: dict[int, State] = {}
        happenings: list[Happening] = []
        for number, watched in self._watched.items():
            device = self._registry.by_id(number)
            if device.row.status != ACTIVE or number in self._dirty:
                continue
            # Nobody could be heard while the gateway was away.
            heard = max(self.heard(number), self._started)
            for row, rule in watched.rules.values():
                silence = rule.kind == "silence" and self.heard(number)
                if silence or self.state(row.id).late is not None:
                    self._step(device, row, rule, Tick(now, heard), states, happenings)
        if happenings:
            await self._say(happenings, states, None)
        else:
            self._unsaved.update(states)
        self._states.update(states)
        await self._end_snoozes(now)
        told = await self._teller.end_quiet(now)
        devices = [self._registry.by_id(number) for number in self._watched]
        if await self._presences.tell(devices, self.heard, now) or told:
            self._filled()

    async def _end_snoozes(self, now: int) -> None:
        for watched in list(self._watched.values()):
            for row, rule in list(watched.rules.values()):
                if not row.snoozed_until or row.snoozed_until > now:
                    continue
                await self._database.write(partial(self._end_snooze, row=row, rule=rule, now=now))
                self.reload(row.device)
                self._filled()

    def _end_snooze(self, transaction: Transaction, row: RuleRow, rule: Rule, now: int) -> None:
        store.snooze_rule(transaction, row.id, 0)
        state = self.state(row.id)
        if state.raised:
            self._teller.remind(transaction, row, self._registry.by_id(row.device), rule, state.since, now)

    # --- saying ------------------------------------------------------------------------------------------------------

    async def _say(self, happenings: list[Happening], states: dict[int, State], moved: tuple[int, int] | None) -> None:
        now = self._now_ms()

        def write(transaction: Transaction) -> None:
            # What was passed over silently before goes along: the states build on each other.
            store.save_states(transaction, {**self._unsaved, **states}.items())
            progress = {number: self._watched[number].examined for number in self._moved}
            store.save_progress(transaction, {**progress, **dict([moved] if moved is not None else [])}.items())
            self._teller.tell(transaction, happenings, now)

        await self._database.write(write)
        self._unsaved.clear()
        self._moved.clear()
        for happening in happenings:
            row = happening.row
            for watcher in self.watchers:
                watcher(happening.rule.kind, state_of(happening.event))
            if row.snoozed_until and not isinstance(happening.event, Raised):
                self.reload(row.device)
        self._filled()

    # --- rules -------------------------------------------------------------------------------------------------------

    def _take(self, row: RuleRow) -> None:
        if not row.enabled:
            return
        rule = row.rule
        if rule is None:
            found = presets(self._registry.by_id(row.device).profile).get(row.preset)
            rule = found[0] if found is not None else None
        profile = self._registry.by_id(row.device).profile
        # A profile may have lost a quantity or an alert since.
        if rule is not None and (not rule.quantity or rule.quantity in profile.quantities):
            self._watched.setdefault(row.device, Watched()).rules[row.id] = (row, rule)

    def _add_presets(self, transaction: Transaction) -> None:
        known: dict[int, set[str]] = {}
        for row in transaction.execute("SELECT device, preset FROM alert_rules WHERE preset != ''"):
            known.setdefault(row[0], set()).add(row[1])
        for device in self._registry:
            self._add_missing(transaction, device, known.get(device.row.id, set()))

    def _add_presets_of(self, transaction: Transaction, device: Device) -> None:
        rows = transaction.execute("SELECT preset FROM alert_rules WHERE device = ?", (device.row.id,))
        self._add_missing(transaction, device, {row[0] for row in rows})

    @staticmethod
    def _add_missing(transaction: Transaction, device: Device, known: set[str]) -> None:
        for name, (_, on) in presets(device.profile).items():
            if name not in known:
                store.add_rule(transaction, device.row.id, name, None, "", on)
