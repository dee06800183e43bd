"""Commands to devices: lamp on, set heater 21."""

from __future__ import annotations

from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.commander import Refused, RoomEvent
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import Actuate
from thingroom_gateway.devices import Device
from thingroom_gateway.profiles import Actuator


async def answer_actuate(request: Actuate, where: Where, tools: Tools) -> Answer:
    found = actuator_meant(request, where)
    if isinstance(found, str):
        return Answer(found)
    device, actuator = found
    value = actuator.accept(request.value)
    if value is None:
        return Answer(f"{device.row.name} cannot do that. {actuator.title}: {what_fits(actuator)}.")
    if not await tools.people.may_change(where.person, device.row.place):
        return polite_refusal("those who may change this room")
    asked = RoomEvent(where.room_id, where.event_id)
    outcome = await tools.commander.request(device, actuator.name, value, where.person, asked)
    if isinstance(outcome, Refused):
        return Answer(outcome.reason)
    waits = " It sleeps, and will do it when it wakes." if device.profile.sleeps else ""
    return Answer(f"{device.row.name}: {actuator.title} {request.value}, on its way.{waits}")


def actuator_meant(request: Actuate, where: Where) -> tuple[Device, Actuator] | str:
    """The device and what of it, or a sentence for the person. Pure."""
    devices = where.chosen(request.targets)
    wanted = request.targets.actuators
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
    fitting = [(device, actuator) for device, actuator in able if actuator.accept(request.value) is not None]
    if len(fitting) > 1:
        names = ", ".join(f"{device.row.name} {actuator.title}" for device, actuator in fitting[:8])
        return f"Which one? There are {names}."
    if fitting:
        return fitting[0]
    if len(able) == 1:
        return able[0]
    names = ", ".join(f"{device.row.name} {actuator.title} ({what_fits(actuator)})" for device, actuator in able[:8])
    return f"None of them can be set to {request.value[:40]}: {names}."


def what_fits(actuator: Actuator) -> str:
    """What an actuator can be set to, in words."""
    if actuator.kind == "switch":
        return "on or off"
    if actuator.kind == "select":
        return ", ".join(actuator.options)
    step = f", in steps of {actuator.step}" if actuator.step is not None and actuator.step != 1 else ""
    unit = f" {actuator.shown_unit}".rstrip()
    return f"{actuator.minimum} to {actuator.maximum}{unit}{step}"
