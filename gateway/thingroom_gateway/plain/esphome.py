"""ESPHome without discovery: <prefix>/<component>/<name>/state, …/command and <prefix>/status (esphome.io, MQTT).

Pure; may import words and said. What a value means is guessed by the name's end (living_room_temperature); with
discovery on, homeassistant.py knows it, and these topics are left to it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from thingroom_gateway.plain.said import Availability, Described, Handle, Known, Metric, Readings, Said, scaled
from thingroom_gateway.plain.words import (
    TRUTH_WORDS,
    name_in,
    number,
    number_name,
    opposite,
    plain_text,
    read_object,
    read_text,
    slug,
    truth,
    truth_name,
)

NAME: Final = "esphome"
_FULL_BRIGHTNESS: Final = Decimal(255)
COMPONENTS: Final = ("sensor", "binary_sensor", "switch", "light", "fan", "number", "select", "text_sensor")


def filters(prefix: str) -> tuple[str, ...]:
    """`prefix` is that of one node, or + for all nodes whose prefix is one level."""
    return (f"{prefix}/status", *(f"{prefix}/{component}/+/state" for component in COMPONENTS))


def read(prefix: str, topic: str, payload: bytes, known: Known) -> list[Said]:
    """What the message says. Raises Unreadable."""
    levels = prefix.count("/") + 1
    parts = topic.split("/")
    base, rest = "/".join(parts[:levels]), parts[levels:]
    if not base or (prefix != "+" and base != prefix):
        return []
    if rest == ["status"]:
        online = {"online": True, "offline": False}.get(read_text(payload, 64))
        return [] if online is None else [Availability(base, online)]
    if len(rest) != 3 or rest[2] != "state" or rest[0] not in COMPONENTS or topic in known.entities:
        return []
    component, name = rest[0], rest[1]
    below = "/".join(rest)
    command = f"{base}/{component}/{name}/command"
    if component == "light":
        return _light(base, below, name, payload, command)
    text = read_text(payload, 1024)
    metric, handle = _metric(component, name, text, command)
    said: list[Said] = []
    if handle is not None:
        said.append(Described(base=base, dialect=NAME, handles=(handle,)))
    if metric is not None:
        said.append(Readings(base, below, (metric,), text))
    return said


def _metric(component: str, name: str, text: str, command: str) -> tuple[Metric | None, Handle | None]:
    own = slug(name)
    if component in ("sensor", "number"):
        value = number(text)
        known = number_name(name_in(name) or "")
        own, unit = known if known is not None else (own, "")
        return (Metric(own, "number", value, unit) if value is not None and own else None), None
    if component == "binary_sensor":
        known_truth = truth_name(name_in(name, TRUTH_WORDS) or "")
        own, turned = known_truth if known_truth is not None else (own, False)
        word = truth(text)
        if word is None or not own:
            return None, None
        return Metric(own, "boolean", opposite(word) if turned else word), None
    if component in ("switch", "fan"):
        word = truth(text)
        handle = Handle(name="on", kind="switch", topic=command, on="ON", off="OFF")
        return (Metric("on", "boolean", word) if word is not None else None), handle
    words = plain_text(text)
    return (Metric(own, "text", words) if words is not None and own else None), None


def _light(base: str, below: str, name: str, payload: bytes, command: str) -> list[Said]:
    """A light tells and takes JSON: state, brightness 0 to 255."""
    state = read_object(payload)
    metrics = []
    word, level = truth(state.get("state")), number(state.get("brightness"))
    handles = [Handle(name="on", kind="switch", topic=command, on='{"state":"ON"}', off='{"state":"OFF"}')]
    if word is not None:
        metrics.append(Metric("on", "boolean", word, path="state"))
    if level is not None:
        metrics.append(Metric("brightness", "number", scaled(level, _FULL_BRIGHTNESS), "%", "brightness"))
        handles.append(
            Handle(
                name="brightness",
                kind="dimmer",
                topic=command,
                payload='{"state":"ON","brightness":{value}}',
                minimum="0",
                maximum="255",
                whole=True,
            )
        )
    described = Described(base=base, dialect=NAME, handles=tuple(handles))
    return [described, Readings(base, below, tuple(metrics), state)] if metrics else []
