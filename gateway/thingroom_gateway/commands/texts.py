"""What people are told about commands: sentences. Pure; may import profiles, command."""

from __future__ import annotations

from typing import Final

from thingroom_gateway.commands.command import CONFIGURATION, Told, shown_value
from thingroom_gateway.profiles import Actuator, Profile

_REASONS: Final = {
    "interrupted": "It was reset in the middle; its readings tell whether it did it.",
    "unknown_actuator": "Its firmware has no such actuator.",
    "bad_value": "Its firmware does not take that value.",
    "failed": "The hardware refused.",
    "old_version": "It has that configuration or a later one.",
    "revoked": "The device is revoked.",
    "not_sent": "It was not reached in time, and will not do it any more.",
    "no_result": "It did not answer in time, so it may or may not have done it; its readings tell.",
    "no_state": "It was sent, but the device did not tell the new state.",
    "broker_away": "The MQTT broker is away.",
}


def sentence(told: Told) -> str:
    """Why a command is not done; empty if it is."""
    if told.outcome == "done":
        return "It was sent; this device does not confirm." if told.reason == "unconfirmed" else ""
    return _REASONS.get(told.reason, f"The device says: {told.reason.replace('_', ' ')}.")


def values_of(actuator: Actuator) -> str:
    """What `actuator` can be set to."""
    unit = f" {actuator.shown_unit}".rstrip()
    if actuator.kind == "switch":
        return "on or off"
    if actuator.kind == "select":
        return "one of: " + ", ".join(actuator.options)
    step = f", in steps of {actuator.step:f}" if actuator.step is not None else ""
    return f"a number from {actuator.minimum:f} to {actuator.maximum:f}{unit}{step}"


def spoken(name: str, profile: Profile, told: Told) -> str:
    """What is said in the room about a command to the device `name`."""
    command = told.command
    if command.actuator == CONFIGURATION:
        return f"{name} has the new configuration." if told.outcome == "done" else f"{name}: {sentence(told)}"
    known = profile.actuators.get(command.actuator)
    unit = f" {known.shown_unit}".rstrip() if known is not None else ""
    what = f"{known.title if known else command.actuator} {shown_value(command)}{unit}"
    if told.outcome == "done" and not told.reason:
        return f"{name}: {what}. Done."
    return f"{name}: {what}. {sentence(told)}"
