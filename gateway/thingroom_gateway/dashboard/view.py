"""What is on the pages, as data: devices, values, alerts, commands, in the words and units that people read.

Pure but for what it is given; may import devices, profiles, alerts' texts. The same structs are the answers of /api,
as JSON, and what the templates show. Times are Unix ms; `value` is the exact text in the unit `code` (SenML).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from thingroom_gateway.alerts.defaults import battery_rule, presets
from thingroom_gateway.alerts.presence import presence_of
from thingroom_gateway.alerts.rules import Rule, State
from thingroom_gateway.alerts.texts import describe_rule, truth_words
from thingroom_gateway.bot.commands.actuate import what_fits
from thingroom_gateway.commands.command import CONFIGURATION, Told, shown_value
from thingroom_gateway.commands.texts import sentence
from thingroom_gateway.dashboard.reasons import in_words
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.ledger import Gap as LedgerGap
from thingroom_gateway.profiles import Actuator, Profile, Quantity
from thingroom_gateway.series.reading import Reading
from thingroom_gateway.storage.alerts import RuleRow
from thingroom_gateway.storage.dashboard import PastCommand
from thingroom_gateway.values import shown

MAX_GAPS: Final = 50


class Value(msgspec.Struct, frozen=True):
    """The newest value of a quantity: `text` and `unit` as people read it."""

    name: str
    title: str
    icon: str
    text: str
    unit: str
    value: str
    code: str
    kind: str
    ts: int


class Battery(msgspec.Struct, frozen=True):
    """`level` in percent where it is known."""

    text: str
    level: float | None
    low: bool


class Card(msgspec.Struct, frozen=True):
    """A device at a glance. `presence` is online, asleep, silent, unheard, revoked or handed_over; `heard` 0 if never.

    `attested`: it signs nothing, the gateway vouches for it. `alerts` are those that are raised now.
    """

    id: str
    name: str
    place: str
    kind: str
    profile: str
    attested: bool
    presence: str
    heard: int
    values: Sequence[Value]
    more: Sequence[Value]
    battery: Battery | None
    alerts: Sequence[str]


class AlertRule(msgspec.Struct, frozen=True):
    """A rule as a list shows it: `preset` is its name in the profile, or empty; `since` is 0 unless it is raised."""

    number: int
    text: str
    preset: str
    on: bool
    raised: bool
    since: int
    snoozed_until: int
    asked_by: str


class Control(msgspec.Struct, frozen=True):
    """Something to switch or set. `state` is what the device says of it now, as commands write it; empty: unknown."""

    name: str
    title: str
    icon: str
    kind: str
    unit: str
    minimum: str
    maximum: str
    step: str
    options: Sequence[str]
    fits: str
    state: str


class Sent(msgspec.Struct, frozen=True):
    """A command and what came of it: `outcome` is waiting, done, failed or expired."""

    id: int
    what: str
    by: str
    at: int
    outcome: str
    sentence: str


class Missing(msgspec.Struct, frozen=True):
    """Readings that did not come; `kind` is lost, skipped, buffered, refused or unknown, `since` 0 if not known."""

    first: int
    last: int
    count: int
    kind: str
    since: int
    note: str


class Detail(msgspec.Struct, frozen=True):
    """All that a device's page shows. `waiting`: how many readings it says it still has, None if it did not say."""

    card: Card
    about: str
    firmware: str
    enrolled: int
    waiting: int | None
    quantities: Sequence[str]
    controls: Sequence[Control]
    commands: Sequence[Sent]
    rules: Sequence[AlertRule]
    missing: Sequence[Missing]
    more_missing: int
    refused: Mapping[str, int]


def value_of(quantity: Quantity, name: str, reading: Reading) -> Value:
    """A stored value for people. One from before the profile changed is shown as it is."""
    text, unit = reading.value, reading.unit
    if reading.kind != quantity.kind or reading.unit != (quantity.unit or ""):
        return Value(name, quantity.title, quantity.icon, text, unit, text, unit, reading.kind, reading.ts)
    if quantity.kind == "number":
        text = shown(format(quantity.for_people(Decimal(reading.value)), "f"), quantity.precision)
        unit = quantity.shown_unit
    elif quantity.kind == "boolean":
        text = truth_words(quantity, reading.value == "true")
    return Value(
        name, quantity.title, quantity.icon, text, unit, reading.value, quantity.unit or "", quantity.kind, reading.ts
    )


def card_of(
    device: Device, latest: Mapping[str, Reading], heard: int, now: int, raised: Iterable[tuple[Rule, State]]
) -> Card:
    """A device at a glance; `heard` and `now` in Unix ms, `raised` its alerts that are on at the moment."""
    profile, row = device.profile, device.row
    aloud: list[Value] = []
    quiet: list[Value] = []
    battery_name = _battery_name(profile)
    for name, quantity in profile.quantities.items():
        if name in latest:
            (quiet if quantity.quiet or name == battery_name else aloud).append(value_of(quantity, name, latest[name]))
    # Who has just spoken for the first time may not be known as heard yet.
    heard = heard or min(now, max((reading.ts for reading in latest.values()), default=0))
    presence = row.status
    if row.status == ACTIVE:
        presence = presence_of(device, heard, now) if heard else "unheard"
    return Card(
        id=device.kid_hex,
        name=row.name,
        place=row.place,
        kind=profile.title,
        profile=profile.name,
        attested=row.attested,
        presence=presence,
        heard=heard,
        values=aloud,
        more=quiet,
        battery=_battery(profile, battery_name, latest),
        alerts=[describe_rule(rule, profile) for rule, _ in raised],
    )


def _battery_name(profile: Profile) -> str | None:
    rule = battery_rule(profile)
    if rule is not None:
        return rule.quantity
    return next((name for name in profile.quantities if "battery" in name), None)


def _battery(profile: Profile, name: str | None, latest: Mapping[str, Reading]) -> Battery | None:
    if name is None or name not in latest:
        return None
    quantity = profile.quantities[name]
    value = value_of(quantity, name, latest[name])
    if quantity.kind != "number" or latest[name].kind != "number":
        return Battery(f"{value.text} {value.unit}".strip(), None, False)
    number = Decimal(value.value)
    rule = battery_rule(profile)
    level = float(number * 100 if quantity.unit == "/" else number) if quantity.unit in ("%", "%EL", "/") else None
    return Battery(f"{value.text} {value.unit}".strip(), level, rule is not None and number <= rule.threshold)


def rule_of(row: RuleRow, profile: Profile) -> Rule | None:
    """What a row means with this profile; None if the profile has lost it."""
    rule = row.rule
    if rule is None:
        found = presets(profile).get(row.preset)
        rule = found[0] if found is not None else None
    return rule if rule is not None and (not rule.quantity or rule.quantity in profile.quantities) else None


def raised_of(rows: Iterable[RuleRow], profile: Profile, state_of: Callable[[int], State]) -> list[tuple[Rule, State]]:
    """The rules that are on and raised."""
    found = []
    for row in rows:
        state, rule = state_of(row.id), rule_of(row, profile)
        if row.enabled and state.raised and rule is not None:
            found.append((rule, state))
    return found


def rules_of(rows: Iterable[RuleRow], profile: Profile, state_of: Callable[[int], State]) -> list[AlertRule]:
    """All rules of a device, those that are on first."""
    found = []
    for row in rows:
        rule = rule_of(row, profile)
        if rule is not None:
            state = state_of(row.id) if row.enabled else State()
            text = describe_rule(rule, profile)
            found.append(
                AlertRule(
                    row.id,
                    text[:1].upper() + text[1:],
                    row.preset,
                    row.enabled,
                    state.raised,
                    state.since if state.raised else 0,
                    row.snoozed_until,
                    row.asked_by,
                )
            )
    return sorted(found, key=lambda one: (not one.on, one.number))


def control_of(actuator: Actuator, latest: Mapping[str, Reading]) -> Control:
    """An actuator with what its feedback says."""

    def text(number: Decimal | None) -> str:
        return "" if number is None else format(number, "f")

    feedback = latest.get(actuator.feedback)
    state = (actuator.accept(feedback.value) or feedback.value) if feedback is not None else ""
    return Control(
        actuator.name,
        actuator.title,
        actuator.icon,
        actuator.kind,
        actuator.shown_unit,
        text(actuator.minimum),
        text(actuator.maximum),
        text(actuator.step),
        actuator.options,
        what_fits(actuator),
        state,
    )


def sent_of(past: PastCommand, profile: Profile) -> Sent:
    """A command as the page lists it."""
    command = past.command
    known = profile.actuators.get(command.actuator)
    if command.actuator == CONFIGURATION:
        what = "New configuration"
    else:
        unit = f" {known.shown_unit}".rstrip() if known is not None else ""
        what = f"{known.title if known else command.actuator} {shown_value(command)}{unit}"
    if past.outcome is None:
        return Sent(command.id, what, command.requested_by, command.requested_at, "waiting", "")
    told = Told(command, past.outcome, past.reason)  # type: ignore[arg-type]
    return Sent(command.id, what, command.requested_by, command.requested_at, past.outcome, sentence(told))


def missing_of(gaps: Sequence[LedgerGap]) -> tuple[list[Missing], int, dict[str, int]]:
    """What did not come, newest first; how many more gaps there are; and what was refused, counted by reason."""
    refused: dict[str, int] = {}
    found = []
    for gap in reversed(gaps):
        if gap.kind == "refused":
            reason = in_words(gap.note)
            refused[reason] = refused.get(reason, 0) + gap.count
        else:
            found.append(Missing(gap.first, gap.last, gap.count, gap.kind, gap.since, gap.note))
    return found[:MAX_GAPS], max(0, len(found) - MAX_GAPS), refused
