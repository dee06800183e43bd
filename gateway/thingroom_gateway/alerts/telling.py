"""What alerts say, put into the outbox, or aside while it is quiet.

May import storage, devices, rules, texts. engine.py calls `Teller` within the write that also keeps the states.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final, Literal

from thingroom_common.database import Database, Transaction
from thingroom_gateway.alerts import texts
from thingroom_gateway.alerts.rules import Event, Missed, Raised, Rule
from thingroom_gateway.devices import Device
from thingroom_gateway.matrix_event import MESSAGE_TYPE
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage import bot as bot_store
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.alerts import RuleRow

# So many devices of a place that fall silent together are told in one sentence.
TOGETHER: Final = 3
SNOOZE_BUTTON: Final = "⏰"


@dataclass(frozen=True, slots=True)
class Happening:
    """A rule said something."""

    device: Device
    row: RuleRow
    rule: Rule
    event: Event


class Teller:
    """Says what happened, to those who asked for it."""

    def __init__(self, database: Database, owner: str, timezone: tzinfo) -> None:
        """`owner` hears what nobody asked for; may be empty."""
        self._database = database
        self._owner = owner
        self._timezone = timezone

    def tell(self, transaction: Transaction, happenings: Iterable[Happening], now: int) -> None:
        """Within a write: say all of it, what belongs together in one message."""
        for group in self._grouped(happenings, now):
            self._tell(transaction, group, now)

    def remind(self, transaction: Transaction, row: RuleRow, device: Device, rule: Rule, since: int, now: int) -> None:
        """Within a write: an alert that was put off goes on."""
        text = texts.still_text(device.row.name, device.profile, rule, since, now)
        self._put(transaction, device, [row], rule, text, now, {"state": "reminder", "at": now})

    async def end_quiet(self, now: int) -> bool:
        """Tell what was held back where quiet hours are over; returns whether there was anything."""
        told = False
        for place in self._database.read(store.places_held):
            if not self.is_quiet(place, now):
                await self._database.write(partial(self._tell_held, place=place, now=now))
                told = True
        return told

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

    def _grouped(self, happenings: Iterable[Happening], now: int) -> list[list[Happening]]:
        """Happenings that are told together: silences of a place if there are many, and what one device tells late."""
        groups: list[list[Happening]] = []
        missed: dict[int, list[Happening]] = {}
        silent: dict[tuple[str, bool], list[Happening]] = {}
        for happening in happenings:
            if isinstance(happening.event, Raised | Missed) and happening.row.snoozed_until > now:
                continue
            if isinstance(happening.event, Missed):
                missed.setdefault(happening.device.row.id, []).append(happening)
                continue
            if happening.rule.kind == "silence":
                key = (happening.device.row.place, isinstance(happening.event, Raised))
                silent.setdefault(key, []).append(happening)
            else:
                groups.append([happening])
        for together in silent.values():
            groups += [together] if len(together) > TOGETHER else [[one] for one in together]
        return [*groups, *missed.values()]

    def _tell(self, transaction: Transaction, group: Sequence[Happening], now: int) -> None:
        first = group[0]
        device, event = first.device, first.event
        if not isinstance(event, Raised):
            for one in group:
                if one.row.snoozed_until:
                    store.snooze_rule(transaction, one.row.id, 0)
        cause = {"state": state_of(event), "at": event.ts}
        self._put(transaction, device, [one.row for one in group], first.rule, self._text_of(group, now), now, cause)

    def _text_of(self, group: Sequence[Happening], now: int) -> str:
        first = group[0]
        device, event = first.device, first.event
        if isinstance(event, Missed):
            missed = [(one.device.profile, one.rule, one.event) for one in group if isinstance(one.event, Missed)]
            return texts.missed_text(device.row.name, missed, self._timezone, now)
        if len(group) == 1:
            return texts.event_text(device.row.name, device.profile, first.rule, event, self._timezone)
        names = [one.device.row.name for one in group]
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        if isinstance(event, Raised):
            return f"🔕 No word from {len(names)} devices: {shown}."
        return f"✅ {len(names)} devices are back: {shown}."

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
        people = {row.asked_by or self._owner for row in rows}
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
        if cause["state"] in ("raised", "reminder"):
            bot_store.add_buttons(transaction, message.txn_id, [SNOOZE_BUTTON], now)


def state_of(event: Event) -> Literal["raised", "ended", "missed"]:
    """The event in a word, for machines."""
    if isinstance(event, Raised):
        return "raised"
    return "missed" if isinstance(event, Missed) else "ended"


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
