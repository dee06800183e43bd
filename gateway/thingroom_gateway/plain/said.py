"""What a plain MQTT device said, in our words: the values between the dialects, the mapping and the link.

Pure values; may import msgspec. The dialects make them of messages, mapping.py makes readings of `Readings`, and
devices.py keeps `Described`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

Kind = Literal["number", "boolean", "text"]
DIALECTS: Final = ("tasmota", "zigbee2mqtt", "homeassistant", "esphome", "shelly", "topics")
MAX_METRICS: Final = 64
MAX_BASE: Final = 200


@dataclass(frozen=True, slots=True)
class Metric:
    """One value. `name` in our vocabulary where it has one; `value` as exact text; `unit` a code of units.py or empty.

    `path` is the way into the message, with dots, for a profile's sources.
    """

    name: str
    kind: Kind
    value: str
    unit: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Readings:
    """A device told values. `rest` is the topic below `base`; `tree` the JSON, or the text of the payload.

    `ts` is the device's own time in Unix ms, None if it told none.
    """

    base: str
    rest: str
    metrics: tuple[Metric, ...]
    tree: Any = None
    ts: int | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """A device, or with `whole` everything behind a bridge, is connected or not."""

    base: str
    online: bool
    whole: bool = False


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be set: what to publish where. Kept as JSON in the binding of an adopted device.

    {value} in `payload` is the value: a number scaled from our range (of the profile's actuator) to minimum..maximum,
    or an option. A switch sends `on` or `off` as they are. `quoted`: a text goes into JSON.
    """

    name: str
    kind: Literal["switch", "dimmer", "number", "select"]
    topic: str
    payload: str = "{value}"
    on: str = ""
    off: str = ""
    minimum: str | None = None
    maximum: str | None = None
    whole: bool = False
    quoted: bool = False
    options: tuple[str, ...] = ()


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How a foreign property is to be read: its unit, or the range that means 0 to 100 %."""

    unit: str = ""
    full: str | None = None


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """One entity of Home Assistant's discovery: where its state is told and how to read it."""

    name: str
    kind: Literal["number", "boolean", "text"]
    topic: str
    template: str = ""
    unit: str = ""
    on: str = "ON"
    off: str = "OFF"
    opposite: bool = False
    json_light: bool = False
    full: str | None = None


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a device said of itself; empty where it did not. `scales` by foreign property."""

    base: str
    dialect: str
    title: str = ""
    model: str = ""
    handles: tuple[Handle, ...] = ()
    scales: dict[str, Scale] = {}
    entities: tuple[Entity, ...] = ()
    availability: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Gone:
    """A discovery message was taken back: what was known from `topic` is no more."""

    topic: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """A discovery message: `topic` tells a part of what the device `part.base` is."""

    topic: str
    parts: tuple[Described, ...]


Said = Readings | Availability | Described | Discovered | Gone


@dataclass(frozen=True, slots=True)
class Known:
    """What dialects need to know from before: descriptions by base, and entities by the topic of their state."""

    described: Mapping[str, Described]
    entities: Mapping[str, tuple[tuple[str, Entity], ...]]
    availability: Mapping[str, tuple[tuple[str, str, str], ...]]


NOTHING_KNOWN: Final = Known({}, {}, {})


def numbered(name: str, taken: set[str]) -> str:
    """`name`, or the first of name_2, name_3 … that is not taken; adds it to `taken`."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def channel(name: str, index: int) -> str:
    """The name of the channel `index`, counted from 0: power, power_2."""
    return name if index == 0 else f"{name}_{index + 1}"


def scaled(text: str, full: Decimal) -> str:
    """A number of 0..`full` as percent, rounded to one decimal."""
    percent = round(Decimal(text) * 100 / full, 1) if full else Decimal(0)
    return format(percent.normalize(), "f")
