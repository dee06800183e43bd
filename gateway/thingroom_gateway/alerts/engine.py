"""Runs the rules over what is stored, and over time; puts what they say into the outbox, or holds it back.

Readings come from the database, after a place per device that is saved together with the states and with whatever was
said: a crash repeats what was not said and nothing that was. May import storage, devices, rules, texts. app.py runs it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final, Literal

import msgspec

from thingroom_common.database import Database, Transaction
from thingroom_gateway.alerts import texts
from thingroom_gateway.alerts.defaults import presets
from thingroom_gateway.alerts.rules import Event, Heard, Raised, Rule, Sample, State, Tick, step
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.matrix_event import MESSAGE_TYPE, PRESENCE_TYPE
from thingroom_gateway.rooms import Home
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage import bot as bot_store
from thingroom_gateway.storage import outbox
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


@dataclass(frozen=True, slots=True)
class Happening:
    """A rule said something."""

    device: Device
    row: RuleRow
    rule: Rule
    event: Event


class Alerts:
    """Owns the states of all rules. `seen` says that a device has new readings; `reload` that its rules changed."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        home: Home,
        timezone: tzinfo,
        now_ms: Callable[[], int],
        filled: Callable[[], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._home = home
        self._timezone = timezone
        self._now_ms = now_ms
        self._filled = filled
        self._watched: dict[int, Watched] = {}
        self._states: dict[int, State] = {}
        self._unsaved: dict[int, State] = {}
        self._moved: set[int] = set()
        self._dirty: set[int] = set()
        self._new: set[int] = set()
        self._presence: dict[int, str] = {}
        self._wake = asyncio.Event()
        self._started = now_ms()
        # Told after the commit: the rule's kind, and "raised" or "ended".
        self.watchers: list[Callable[[str, str], None]] = []

    async def open(self) -> None:
        """Load everything, and give new devices their presets. Raises sqlite3.Error."""
        await self._database.write(self._add_presets)
        read = self._database.read
        self._states = read(store.all_states)
        self._presence = read(store.presences)
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
        return self._presence.get(number, "")

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
                if rule.kind == "silence" and self.heard(number):
                    self._step(device, row, rule, Tick(now, heard), states, happenings)
        if happenings:
            await self._say(happenings, states, None)
            self._states.update(states)
        await self._end_snoozes(now)
        await self._end_quiet(now)
        await self._tell_presence(now)

    async def _end_snoozes(self, now: int) -> None:
        for watched in list(self._watched.values()):
            for row, rule in list(watched.rules.values()):
                if not row.snoozed_until or row.snoozed_until > now:
                    continue
                device, state = self._registry.by_id(row.device), self.state(row.id)
                text = texts.still_text(device.row.name, device.profile, rule, state.since, now)

                def write(
                    transaction: Transaction,
                    row: RuleRow = row,
                    rule: Rule = rule,
                    device: Device = device,
                    text: str = text if state.raised else "",
                ) -> None:
                    store.snooze_rule(transaction, row.id, 0)
                    if text:
                        self._put(transaction, device, [row], rule, text, now, {"state": "reminder", "at": now})

                await self._database.write(write)
                self.reload(row.device)
                self._filled()

    async def _end_quiet(self, now: int) -> None:
        for place in self._database.read(store.places_held):
            if not self.is_quiet(place, now):
                await self._database.write(partial(self._tell_held, place=place, now=now))
                self._filled()

    def _tell_held(self, transaction: Transaction, place: str, now: int) -> None:
        held = store.take_held(transaction, place)
        lines = [f"{texts.shown_time(one.ts, self._timezone, now)} {one.text}" for one in held]
        shown = lines if len(lines) <= 20 else [*lines[:19], f"… and {len(lines) - 19} more"]
        mentions = sorted({user for one in held for user in one.mentions})
        text = "While it was quiet:\n" + "\n".join(shown)
        content = alert_content(text, mentions)
        outbox.add(transaction, outbox.NewRow(place, None, "", MESSAGE_TYPE, content, now, sender="bot"))

    def is_quiet(self, place: str, now: int) -> bool:
        """Whether alerts are held back in the room of `place` at `now` (Unix ms)."""
        hours = self._database.read(store.quiet_hours).get(place)
        if hours is None:
            return False
        when = datetime.fromtimestamp(now / 1000, self._timezone)
        return within_hours(when.hour * 60 + when.minute, *hours)

    async def _tell_presence(self, now: int) -> None:
        news: list[tuple[Device, str]] = []
        for number in self._watched:
            device = self._registry.by_id(number)
            heard = self.heard(number)
            if not heard or device.row.status != ACTIVE:
                continue
            told = self._presence.get(number)
            # A restart is no word of a device that was silent before.
            since = heard if told == "silent" else max(heard, self._started)
            presence = presence_of(device, since, now)
            if told != presence:
                news.append((device, presence))

        def write(transaction: Transaction) -> None:
            for device, presence in news:
                store.save_presence(transaction, device.row.id, presence)
                content = json.dumps({"presence": presence, "last_heard": self.heard(device.row.id)})
                outbox.add(
                    transaction,
                    outbox.NewRow(
                        device.row.place,
                        device.row.id,
                        device.kid_hex,
                        PRESENCE_TYPE,
                        content,
                        now,
                        state_key=device.kid_hex,
                    ),
                )

        if news:
            await self._database.write(write)
            self._presence.update({device.row.id: presence for device, presence in news})
            self._filled()

    # --- saying ------------------------------------------------------------------------------------------------------

    async def _say(self, happenings: list[Happening], states: dict[int, State], moved: tuple[int, int] | None) -> None:
        now = self._now_ms()

        def write(transaction: Transaction) -> None:
            # What was passed over silently before goes along: the states build on each other.
            store.save_states(transaction, {**self._unsaved, **states}.items())
            progress = {number: self._watched[number].examined for number in self._moved}
            store.save_progress(transaction, {**progress, **dict([moved] if moved is not None else [])}.items())
            for group in self._grouped(happenings, now):
                self._tell(transaction, group, now)

        await self._database.write(write)
        self._unsaved.clear()
        self._moved.clear()
        for happening in happenings:
            row = happening.row
            for watcher in self.watchers:
                watcher(happening.rule.kind, "raised" if isinstance(happening.event, Raised) else "ended")
            if row.snoozed_until and not isinstance(happening.event, Raised):
                self.reload(row.device)
        self._filled()

    def _grouped(self, happenings: Iterable[Happening], now: int) -> list[list[Happening]]:
        """Happenings that are told together: silences of a place, where there are many."""
        groups: list[list[Happening]] = []
        silent: dict[tuple[str, bool], list[Happening]] = {}
        for happening in happenings:
            if isinstance(happening.event, Raised) and happening.row.snoozed_until > now:
                continue
            if happening.rule.kind == "silence":
                key = (happening.device.row.place, isinstance(happening.event, Raised))
                silent.setdefault(key, []).append(happening)
            else:
                groups.append([happening])
        for together in silent.values():
            groups += [together] if len(together) > TOGETHER else [[one] for one in together]
        return groups

    def _tell(self, transaction: Transaction, group: Sequence[Happening], now: int) -> None:
        first = group[0]
        device, event = first.device, first.event
        if len(group) == 1:
            text = texts.event_text(device.row.name, device.profile, first.rule, event, self._timezone)
        else:
            names = [one.device.row.name for one in group]
            shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            text = (
                f"🔕 No word from {len(names)} devices: {shown}."
                if isinstance(event, Raised)
                else (f"✅ {len(names)} devices are back: {shown}.")
            )
        if not isinstance(event, Raised):
            for one in group:
                if one.row.snoozed_until:
                    store.snooze_rule(transaction, one.row.id, 0)
        state = "raised" if isinstance(event, Raised) else "ended"
        cause = {"state": state, "at": event.ts}
        self._put(transaction, device, [one.row for one in group], first.rule, text, now, cause)

    def _put(
        self,
        transaction: Transaction,
        device: Device,
        rows: Sequence[RuleRow],
        rule: Rule,
        text: str,
        now: int,
        cause: dict[str, Any],
    ) -> None:
        """Into the outbox, or aside while it is quiet. `cause` tells machines what it is, and two of a kind apart."""
        place = device.row.place
        people = {row.asked_by or self._home.owner for row in rows}
        mentions = sorted(person for person in people if person)
        if self.is_quiet(place, now):
            store.hold(transaction, place, now, text, mentions)
            return
        content = alert_content(text, mentions, {"device": device.kid_hex, "rule": rows[0].id, **cause})
        # A device speaks for itself, unless it cannot or does not know.
        sender: Literal["bot", "ghost"] = "bot" if rule.kind in ("silence", "clock") else "ghost"
        kid = device.kid_hex
        message = outbox.NewRow(place, device.row.id, kid, MESSAGE_TYPE, content, now, sender=sender)
        outbox.add(transaction, message)
        store.add_message(transaction, message.txn_id, rows[0].id, now)
        if cause["state"] != "ended":
            bot_store.add_buttons(transaction, message.txn_id, [SNOOZE_BUTTON], now)

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


def alert_content(text: str, mentions: Sequence[str], alert: dict[str, Any] | None = None) -> str:
    """The content of an alert as JSON: m.text, so that it notifies; `alert` for machines."""
    content: dict[str, Any] = {"msgtype": "m.text", "body": text}
    content["m.mentions"] = {"user_ids": list(mentions)} if mentions else {}
    if alert is not None:
        content["org.thingroom.alert"] = alert
    return json.dumps(content, ensure_ascii=False)


def within_hours(minute: int, first: int, last: int) -> bool:
    """Whether a minute of the day lies from `first` up to `last`, across midnight where `last` is earlier."""
    return first <= minute < last if first < last else minute >= first or minute < last


def presence_of(device: Device, heard: int, now: int) -> str:
    """ "online", "asleep" (a device that sleeps between samples, as expected) or "silent" (not as expected)."""
    if now - heard > device.profile.silent_after_ms:
        return "silent"
    return "asleep" if device.profile.sleeps else "online"
