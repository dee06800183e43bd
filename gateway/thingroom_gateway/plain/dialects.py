"""The dialects, and what a message means: the first dialect that understands its topic says it.

Pure; may import the dialects. devices.py calls `understand` for every message of a plain MQTT device, and `worked`
serves the worked examples of profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from thingroom_gateway.plain import esphome, homeassistant, shelly, tasmota, topics, zigbee2mqtt
from thingroom_gateway.plain.said import NOTHING_KNOWN, Known, Readings, Said
from thingroom_gateway.plain.words import Unreadable

Read = Callable[[str, str, bytes, Known], list[Said]]


@dataclass(frozen=True, slots=True)
class Listening:
    """A dialect that is listened for, below a prefix (of `topics`: a topic filter)."""

    dialect: str
    prefix: str


READERS: Final[dict[str, Read]] = {
    tasmota.NAME: tasmota.read,
    zigbee2mqtt.NAME: zigbee2mqtt.read,
    homeassistant.NAME: homeassistant.read,
    shelly.NAME: shelly.read,
    esphome.NAME: esphome.read,
    topics.NAME: topics.read,
}
FILTERS: Final[dict[str, Callable[[str], tuple[str, ...]]]] = {
    tasmota.NAME: tasmota.filters,
    zigbee2mqtt.NAME: zigbee2mqtt.filters,
    homeassistant.NAME: homeassistant.filters,
    shelly.NAME: shelly.filters,
    esphome.NAME: esphome.filters,
    topics.NAME: topics.filters,
}
DEFAULT_PREFIX: Final = {
    tasmota.NAME: "",
    zigbee2mqtt.NAME: "zigbee2mqtt",
    homeassistant.NAME: "homeassistant",
    shelly.NAME: "shellies",
    esphome.NAME: "+",
    topics.NAME: "#",
}


def matches(topic_filter: str, topic: str) -> bool:
    """Whether `topic` is one of `topic_filter` (MQTT 5.0, section 4.7); wildcards at the start match no $ topic."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or (level != "+" and level != levels[index]):
            return False
    return len(wanted) == len(levels)


def native(listening: Sequence[Listening], topic: str) -> bool:
    """Whether a dialect with a topic tree of its own tells this state: discovery need not, and would tell it twice."""
    return any(
        one.dialect in (tasmota.NAME, zigbee2mqtt.NAME, shelly.NAME)
        and any(matches(topic_filter, topic) for topic_filter in FILTERS[one.dialect](one.prefix))
        for one in listening
    )


def understand(
    listening: Sequence[Listening], topic: str, payload: bytes, known: Known = NOTHING_KNOWN
) -> tuple[str, list[Said]]:
    """The dialect that understood the message ("" if none did) and what it says. Raises Unreadable.

    A topic of ours (thingroom/…) is never looked at.
    """
    if topic.startswith("thingroom/"):
        return "", []
    trouble: Unreadable | None = None
    discovered = topic in known.entities or topic in known.availability
    # What was discovered is discovery's, even where the topic looks like another dialect's.
    for one in sorted(listening, key=lambda one: one.dialect != homeassistant.NAME) if discovered else listening:
        theirs = discovered and one.dialect == homeassistant.NAME
        if not theirs and not any(matches(wanted, topic) for wanted in FILTERS[one.dialect](one.prefix)):
            continue
        try:
            said = READERS[one.dialect](one.prefix, topic, payload, known)
        except Unreadable as error:
            trouble = error
            continue
        if said:
            return one.dialect, said
    if trouble is not None:
        raise trouble
    return "", []


def worked(topic: str, payload: bytes) -> list[Readings]:
    """What a worked example's message may say: as a dialect at its usual prefix understands it, else as a message of a
    device at any level of its topic."""
    usual = [
        Listening(name, prefix)
        for name, prefix in DEFAULT_PREFIX.items()
        if name not in (homeassistant.NAME, topics.NAME)
    ]
    try:
        _, said = understand(usual, topic, payload)
        readings = [one for one in said if isinstance(one, Readings)]
        levels = range(topic.count("/") + 1)
        return readings or [topics.at(level, topic, payload) for level in levels if level or topic.count("/")]
    except Unreadable:
        return []
