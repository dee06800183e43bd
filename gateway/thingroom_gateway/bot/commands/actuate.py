"""Commands to devices: lamp on, set heater 21."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from thingroom_gateway import units
from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.commander import Refused, RoomEvent
from thingroom_gateway.bot.commands.elsewhere import elsewhere, said_of
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import Actuate
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Actuator


async def answer_actuate(request: Actuate, where: Where, tools: Tools) -> Answer:
    if request.unknown:
        near = said_of(await elsewhere(request.unknown, where, tools))
        return Answer(near or nothing_called(request.unknown, where.devices))
    found = actuator_meant(request, where)
    if isinstance(found, str):
        return Answer(found)
    device, actuator = found
    value = accepted(actuator, request.value)
    if value is None:
        return Answer(f"{device.row.name} cannot do that. {actuator.title}: {what_fits(actuator)}.")
    if not await tools.people.may_change(where.person, device.row.place):
        return polite_refusal("those who may change this room")
    asked = RoomEvent(where.room_id, where.event_id)
    outcome = await tools.commander.request(device, actuator.name, value, where.person, asked)
    if isinstance(outcome, Refused):
        return Answer(outcome.reason)
    waits = " It sleeps, and will do it when it wakes." if device.profile.sleeps else ""
    return Answer(f"{device.row.name}: {actuator.title} {shown_setting(actuator, value)}, on its way.{waits}")


def accepted(actuator: Actuator, written: str) -> str | None:
    """What a person wrote as the actuator takes it; a number may have another unit ("70 F"). Pure."""
    value = actuator.accept(written)
    number, _, unit = written.partition(" ")
    if value is not None or not unit or not actuator.unit:
        return value
    for name in (unit, f"°{unit.upper()}"):
        known = units.find(name)
        if known is not None and units.convertible(known.code, actuator.unit) and is_number(number):
            meant = units.convert(Decimal(number), known.code, actuator.unit)
            step = actuator.step or Decimal("0.1")
            return actuator.accept(format((meant / step).to_integral_value() * step, "f"))
    return None


def is_number(text: str) -> bool:
    """Whether `text` is a plain decimal."""
    return text.removeprefix("-").replace(".", "", 1).isdecimal() and text.isascii()


def shown_setting(actuator: Actuator, value: str) -> str:
    """A value for people: "on", "21 °C", "eco". Pure."""
    if actuator.kind == "switch":
        return "on" if value == "true" else "off"
    return f"{value} {actuator.shown_unit}".rstrip()


def nothing_called(name: str, devices: Sequence[Device]) -> str:
    """There is no such thing to switch, and what there is. Pure."""
    able = [(device, actuator) for device in devices for actuator in device.profile.actuators.values()]
    if able and name.casefold() in ("everything", "all", "all of it", "them"):
        return f"One at a time, please. You can switch or set: {listed(able)}."
    if able:
        return f"There is no {name} here. You can switch or set: {listed(able)}."
    if not devices:
        return f"There is no {name} here, and nothing else to switch or set."
    names = [device.row.name for device in devices]
    only = names[0] if len(names) == 1 else f"{', '.join(names[:6])}{' …' if len(names) > 6 else ''}"
    measures = "measures" if len(names) == 1 else "measure"
    return f"There is no {name} here, and nothing else to switch or set: {only} only {measures}."


def listed(able: Sequence[tuple[Device, Actuator]]) -> str:
    """ "Lamp (on or off), Heater Target (5 to 30 °C)". Pure."""
    words = []
    for device, actuator in able[:8]:
        alone = len(device.profile.actuators) == 1
        words.append(f"{device.row.name}{'' if alone else f' {actuator.title}'} ({what_fits(actuator)})")
    return ", ".join(words) + (f" and {len(able) - 8} more" if len(able) > 8 else "")


def actuator_meant(request: Actuate, where: Where) -> tuple[Device, Actuator] | str:
    """The device and what of it, or a sentence for the person. Pure."""
    devices = where.chosen(request.targets)
    wanted = request.targets.actuators
    if not wanted and not request.targets.devices and (measured := set(request.targets.quantities)):
        # "set the temperature to 21": what can be set where that is measured.
        devices = [device for device in devices if measured & set(device.profile.quantities)]
    named = bool(request.targets.devices)
    able = [
        (device, actuator)
        for device in devices
        for actuator in device.profile.actuators.values()
        if not wanted or actuator.name in wanted
    ]
    if not able and named:
        # A word may name a device and, by chance, an actuator of others.
        able = [(device, actuator) for device in devices for actuator in device.profile.actuators.values()]
    if not able:
        if len(devices) == 1:
            return f"{devices[0].row.name} only measures: there is nothing to switch or set."
        return "There is nothing here to switch or set."
    fitting = [(device, actuator) for device, actuator in able if accepted(actuator, request.value) is not None]
    switches = [one for one in fitting if one[1].kind == "switch"]
    if len(switches) == 1 and len({device.row.id for device, _ in fitting}) == 1:
        # "on" is for the switch of a light, not for its brightness.
        return switches[0]
    if len(fitting) > 1:
        return f"Which one? There are {listed(fitting)}."
    if fitting:
        return fitting[0]
    if len(able) == 1:
        return able[0]
    return f"None of them can be set to {request.value[:40]}: {listed(able)}."


def what_fits(actuator: Actuator) -> str:
    """What an actuator can be set to, in words."""
    if actuator.kind == "switch":
        return "on or off"
    if actuator.kind == "select":
        return ", ".join(actuator.options)
    step = f", in steps of {actuator.step}" if actuator.step is not None and actuator.step != 1 else ""
    unit = f" {actuator.shown_unit}".rstrip()
    return f"{actuator.minimum} to {actuator.maximum}{unit}{step}"
