"""A command to an actuator of a plain MQTT device: which topic, which payload.

Pure; may import profiles, said. Whoever carries commands out calls `command` and publishes the result; that the device
did it, only its next state tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from thingroom_gateway.plain.said import Handle
from thingroom_gateway.profiles import Actuator


@dataclass(frozen=True, slots=True)
class Publish:
    """What to publish, at QoS 1 and not retained."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class CannotSend:
    """`reason`: not_settable (the device has no such thing, or has not told of it yet) or bad_value."""

    reason: str


def command(base: str, handles: Sequence[Handle], actuator: Actuator, value: str) -> Publish | CannotSend:
    """Set `actuator` of the device at `base` to `value`, which may be as a person wrote it."""
    accepted = actuator.accept(value)
    if accepted is None:
        return CannotSend("bad_value")
    if actuator.topic:
        return _by_profile(base, actuator, accepted)
    handle = next((one for one in handles if one.name == actuator.name), None)
    if handle is None:
        return CannotSend("not_settable")
    payload = _payload(handle, actuator, accepted)
    return CannotSend("bad_value") if payload is None else Publish(handle.topic, payload.encode())


def _by_profile(base: str, actuator: Actuator, value: str) -> Publish:
    if actuator.kind == "switch":
        payload = actuator.payload_on if value == "true" else actuator.payload_off
    else:
        payload = actuator.payload.replace("{value}", value)
    return Publish(actuator.topic.replace("{base}", base), payload.encode())


def _payload(handle: Handle, actuator: Actuator, value: str) -> str | None:
    if actuator.kind == "switch" or handle.kind == "switch":
        if handle.kind != "switch" or value not in ("true", "false"):
            return None
        return handle.on if value == "true" else handle.off
    if actuator.kind == "select":
        option = next((one for one in handle.options if one.casefold() == value.casefold()), None)
        if option is None:
            return None
        return handle.payload.replace("{value}", json.dumps(option) if handle.quoted else option)
    if handle.minimum is None or handle.maximum is None:
        return None
    number = _scaled(Decimal(value), actuator, Decimal(handle.minimum), Decimal(handle.maximum), handle)
    return None if number is None else handle.payload.replace("{value}", number)


def _scaled(value: Decimal, actuator: Actuator, low: Decimal, high: Decimal, handle: Handle) -> str | None:
    """A dimmer's percent becomes the device's own range; any other number must lie in that range."""
    if actuator.kind == "dimmer" and actuator.minimum is not None and actuator.maximum is not None:
        span = actuator.maximum - actuator.minimum
        value = low + (value - actuator.minimum) * (high - low) / span
    if not low <= value <= high:
        return None
    if handle.whole:
        return str(int(value.to_integral_value(ROUND_HALF_EVEN)))
    return format(round(value, 6).normalize(), "f")
