"""alert: ask for one, list them, take one away, turn a profile's on or off, snooze."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from thingroom_common.database import Transaction
from thingroom_gateway import units
from thingroom_gateway.alerts.defaults import battery_rule, expected_silence_ms, presets, usual_hysteresis
from thingroom_gateway.alerts.rules import Rule
from thingroom_gateway.alerts.texts import describe_rule, shown_duration
from thingroom_gateway.bot.answer import Answer, Lines
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import AddAlert, Condition, ListAlerts, RemoveAlert, SetPreset, Snooze
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Quantity
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage.alerts import RuleRow

MAX_RULES: Final = 50
MAX_DEVICES: Final = 20
MAX_LINES: Final = 60
_CHANGERS: Final = "those who may change this room"


async def answer_add_alert(request: AddAlert, where: Where, tools: Tools) -> Answer:
    devices = where.chosen(request.targets)
    named = request.targets.quantities
    if len(named) > 1:
        return Answer("One quantity at a time, please.")
    made: list[tuple[Device, Rule]] = []
    problem = "Nothing here measures that."
    for device in devices:
        rule = rule_for(device, named[0] if named else "", request.condition)
        if isinstance(rule, Rule):
            made.append((device, rule))
        elif rule:
            problem = rule
    if not made:
        return Answer(problem)
    if len(made) > MAX_DEVICES:
        return Answer(f"Those are {len(made)} devices. Name one, or a place.")
    for device, _ in made:
        if not await tools.people.may_change(where.person, device.row.place):
            return polite_refusal(_CHANGERS)
        if len(_rules(tools, device)) >= MAX_RULES:
            return Answer(f"{device.row.name} has {MAX_RULES} alerts, and more would help nobody. Remove one first.")

    def write(transaction: Transaction) -> None:
        for device, rule in made:
            store.add_rule(transaction, device.row.id, "", rule, where.person, True)

    described = "; ".join(f"{device.row.name}: {describe_rule(rule, device.profile)}" for device, rule in made)
    hint = _hysteresis_hint(made[0]) if len(made) == 1 else ""
    # An alert is told in the device's room, wherever it was asked for.
    rooms = sorted({device.row.place for device, _ in made} - {where.place})
    place = "here" if not rooms else f"in the room {rooms[0]}" if len(rooms) == 1 else "in their rooms"
    return Answer(
        f"I will tell you {place}. {described}{hint}.", writes=[write], then=_reload(tools, [d for d, _ in made])
    )


def rule_for(device: Device, quantity_name: str, condition: Condition) -> Rule | str:
    """The rule, in the device's units; else why there is none, empty where it is simply not meant. Pure."""
    profile = device.profile
    if condition.kind == "silence":
        return Rule("silence", within_ms=condition.within_ms or expected_silence_ms(profile))
    if condition.kind == "battery":
        return battery_rule(profile) or ""
    quantity = profile.quantities.get(quantity_name)
    if quantity is None and not quantity_name:
        aloud = [one for one in profile.quantities.values() if one.kind == "number" and not one.quiet]
        if len(aloud) > 1:
            titles = " and ".join(one.title for one in aloud[:4])
            return f"{device.row.name} measures {titles}: say which of them."
        quantity = aloud[0] if aloud else None
    if quantity is None:
        return ""
    if condition.kind == "is":
        if quantity.kind != "boolean":
            return f"{quantity.title} is a number: `alert when {quantity.name} above 30`."
        return Rule("is", quantity.name, Decimal(1 if condition.threshold == "true" else 0))
    if quantity.kind != "number":
        word = quantity.words.get("true", "on")
        return f"{quantity.title} is no number: `alert when {quantity.title.lower()} is {word}`."
    unit = _unit_meant(quantity, condition.unit)
    if unit is None:
        return f"{quantity.title} is in {quantity.shown_unit or 'no unit'}, and I cannot make {condition.unit} of that."
    difference = condition.kind == "rate"
    threshold = _in_device_unit(quantity, Decimal(condition.threshold), unit, difference)
    if condition.kind == "rate" and threshold == 0:
        return "A change of nothing is no change."
    if condition.hysteresis:
        hysteresis = abs(_in_device_unit(quantity, Decimal(condition.hysteresis), unit, True))
    else:
        hysteresis = usual_hysteresis(quantity, condition.kind, threshold)
    return Rule(
        condition.kind,
        quantity.name,
        abs(threshold) if difference else threshold,
        hysteresis,
        condition.within_ms,
        condition.direction,
    )


def _unit_meant(quantity: Quantity, written: str) -> str | None:
    """The code of the unit that a person wrote; None if it does not fit."""
    own = quantity.unit or ""
    if not written or written.casefold() == quantity.shown_unit.casefold():
        return quantity.shown_code
    if written in ("°", "degrees", "degree"):
        return quantity.shown_code
    # "30 C" is no charge where a temperature is meant.
    for name in (written, f"°{written.upper()}"):
        found = units.find(name)
        if found is not None and units.convertible(found.code, own):
            return found.code
    return None


def _in_device_unit(quantity: Quantity, value: Decimal, unit: str, difference: bool) -> Decimal:
    own = quantity.unit or ""
    if unit == own:
        return value
    if not difference:
        return units.convert(value, unit, own)
    return units.convert_difference(value, unit, own)


def _hysteresis_hint(made: tuple[Device, Rule]) -> str:
    device, rule = made
    quantity = device.profile.quantities.get(rule.quantity)
    if rule.kind not in ("above", "below") or quantity is None or not rule.hysteresis:
        return ""
    back = rule.threshold - rule.hysteresis if rule.kind == "above" else rule.threshold + rule.hysteresis
    shown = round(quantity.for_people(back), 6).normalize()
    return f" (over when it is back at {shown:f} {quantity.shown_unit}".rstrip() + ")"


async def answer_list_alerts(request: ListAlerts, where: Where, tools: Tools) -> Answer:
    lines = Lines()
    now = tools.now_ms()
    idle: list[str] = []
    usual = 0
    for device in where.devices:
        for row in _rules(tools, device):
            rule = _rule_of(row, device)
            if rule is None or (not row.enabled and not row.preset):
                continue
            words = describe_rule(rule, device.profile)
            if not row.enabled:
                idle.append(f"{row.preset} ({device.row.name}: {words})")
                continue
            state = tools.alerts.state(row.id)
            if rule.kind in ("silence", "clock") and row.preset and len(where.devices) > 2 and not state.raised:
                usual += 1
                continue
            asked = "you" if row.asked_by == where.person else row.asked_by
            marks = [f"{row.preset}, of the profile" if row.preset else f"asked by {asked}"]
            if state.raised:
                marks.append(f"raised for {shown_duration(now - state.since)}")
            if row.snoozed_until > now:
                marks.append(f"snoozed for {shown_duration(row.snoozed_until - now)}")
            lines.item(f"{row.id}", f"{device.row.name}: {words} ({', '.join(marks)})")
    if usual:
        lines.line("And of every device: silence, and a clock that runs ahead. In their rooms they have numbers.")
    if idle:
        shown = ", ".join(idle[:12]) + (f" and {len(idle) - 12} more" if len(idle) > 12 else "")
        lines.line(f"Off: {shown}. “alert {idle[0].partition(' ')[0]} on” turns one on.")
    if not lines.text:
        return Answer("There are no alerts here. `alert when temperature above 30` makes one.")
    if len(lines.text) > MAX_LINES:
        more = len(lines.text) - MAX_LINES
        del lines.text[MAX_LINES:], lines.html[MAX_LINES:]
        lines.line(f"… and {more} more. Ask in one of the rooms.")
    return lines.answer()


async def answer_remove_alert(request: RemoveAlert, where: Where, tools: Tools) -> Answer:
    found = await _changeable(request.number, where, tools)
    if isinstance(found, Answer):
        return found
    device, row = found
    rule = _rule_of(row, device)
    words = describe_rule(rule, device.profile) if rule is not None else row.preset

    def write(transaction: Transaction) -> None:
        # A profile's alert would come back: it is turned off.
        if row.preset:
            store.enable_rule(transaction, row.id, False)
        else:
            store.remove_rule(transaction, row.id)

    return Answer(
        f"Alert {row.id} is {'off' if row.preset else 'gone'} ({device.row.name}: {words}).",
        writes=[write],
        then=_reload(tools, [device], [row.id]),
    )


async def answer_set_preset(request: SetPreset, where: Where, tools: Tools) -> Answer:
    rows: list[tuple[Device, RuleRow]] = []
    for device in where.chosen(request.targets):
        rows += [(device, row) for row in _rules(tools, device) if row.preset == request.name]
    if not rows:
        return Answer(f"There is no alert called {request.name} for that.")
    for device, _ in rows:
        if not await tools.people.may_change(where.person, device.row.place):
            return polite_refusal(_CHANGERS)

    def write(transaction: Transaction) -> None:
        for _, row in rows:
            if row.enabled != request.on:
                store.enable_rule(transaction, row.id, request.on)

    names = ", ".join(device.row.name for device, _ in rows)
    return Answer(
        f"The alert {request.name} is {'on' if request.on else 'off'} for {names}.",
        writes=[write],
        then=_reload(tools, [device for device, _ in rows], [row.id for _, row in rows if row.enabled != request.on]),
    )


async def answer_snooze(request: Snooze, where: Where, tools: Tools) -> Answer:
    number = request.number
    if not number:
        ids = [device.row.id for device in where.devices]
        number = tools.database.read(lambda connection: store.newest_message(connection, ids)) or 0
        if not number:
            return Answer("There was no alert here lately.")
    row = tools.database.read(lambda connection: store.rule_by_id(connection, number))
    device = next((d for d in where.devices if row is not None and d.row.id == row.device), None)
    if row is None or device is None or not row.enabled:
        return Answer(f"There is no alert {number} here.")
    until = tools.now_ms() + request.ms
    rule = _rule_of(row, device)
    words = describe_rule(rule, device.profile) if rule is not None else row.preset
    return Answer(
        f"⏰ I will remind you in {shown_duration(request.ms)} ({device.row.name}: {words}).",
        writes=[lambda transaction: store.snooze_rule(transaction, number, until)],
        then=_reload(tools, [device]),
    )


def _rules(tools: Tools, device: Device) -> list[RuleRow]:
    return tools.database.read(lambda connection: store.rules_of(connection, device.row.id))


def _rule_of(row: RuleRow, device: Device) -> Rule | None:
    if row.rule is not None:
        return row.rule if not row.rule.quantity or row.rule.quantity in device.profile.quantities else None
    found = presets(device.profile).get(row.preset)
    return None if found is None else found[0]


async def _changeable(number: int, where: Where, tools: Tools) -> tuple[Device, RuleRow] | Answer:
    row = tools.database.read(lambda connection: store.rule_by_id(connection, number))
    device = next((d for d in where.devices if row is not None and d.row.id == row.device), None)
    if row is None or device is None:
        return Answer(f"There is no alert {number} here. `alerts` lists them.")
    # Who asked for an alert may take it away.
    if row.asked_by != where.person and not await tools.people.may_change(where.person, device.row.place):
        return polite_refusal(_CHANGERS)
    return device, row


def _reload(tools: Tools, devices: Sequence[Device], begun_anew: Sequence[int] = ()) -> Callable[[], None]:
    def then() -> None:
        for rule in begun_anew:
            tools.alerts.forget(rule)
        for device in devices:
            tools.alerts.reload(device.row.id)

    return then
