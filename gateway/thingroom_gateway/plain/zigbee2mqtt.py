"""Zigbee2MQTT: <prefix>/<friendly name>, …/availability, <prefix>/bridge/devices and state (www.zigbee2mqtt.io/guide).

Pure; may import words and said. Units and ranges are those that bridge/devices exposes, as far as it was heard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from thingroom_gateway.plain.said import (
    MAX_BASE,
    MAX_METRICS,
    Availability,
    Described,
    Handle,
    Known,
    Metric,
    Readings,
    Said,
    Scale,
    numbered,
    scaled,
)
from thingroom_gateway.plain.words import (
    foreign_unit,
    number,
    number_name,
    plain_text,
    read_json,
    read_object,
    read_text,
    slug,
    truth,
    truth_name,
)

NAME: Final = "zigbee2mqtt"
MAX_DEVICES_PAYLOAD: Final = 4_000_000
MAX_DEVICES: Final = 1000
_FULL_BRIGHTNESS: Final = Decimal(254)
_NOT_DEVICES: Final = frozenset({"set", "get", "availability"})


def filters(prefix: str) -> tuple[str, ...]:
    return (f"{prefix}/#",)


def read(prefix: str, topic: str, payload: bytes, known: Known) -> list[Said]:
    """What the message says. Raises Unreadable."""
    name = topic.removeprefix(f"{prefix}/")
    if name == topic or not name:
        return []
    if name.startswith("bridge/"):
        return _bridge(prefix, name.removeprefix("bridge/"), payload)
    friendly, _, leaf = name.rpartition("/")
    if leaf == "availability" and friendly:
        online = _online(payload)
        return [] if online is None else [Availability(f"{prefix}/{friendly}", online)]
    if leaf in _NOT_DEVICES or "/set/" in name or "/get/" in name:
        return []
    if not payload:
        return []
    state = read_object(payload)
    base = f"{prefix}/{name}"
    metrics = tuple(_values(state, known.described.get(base)))
    return [Readings(base, "", metrics, state)] if metrics and len(base) <= MAX_BASE else []


def _online(payload: bytes) -> bool | None:
    """ "online", or since Zigbee2MQTT 2.0 {"state":"online"}."""
    text = read_text(payload, 256)
    word = read_object(payload, 256).get("state") if text.startswith("{") else text
    return {"online": True, "offline": False}.get(word) if isinstance(word, str) else None


def _bridge(prefix: str, leaf: str, payload: bytes) -> list[Said]:
    if leaf == "state":
        online = _online(payload)
        # While the bridge is away, so is everything behind it; when it is back, each tells for itself.
        return [] if online is None or online else [Availability(prefix, False, whole=True)]
    if leaf != "devices":
        return []
    devices = read_json(payload, MAX_DEVICES_PAYLOAD)
    if not isinstance(devices, list):
        return []
    described = (_device(prefix, device) for device in devices[:MAX_DEVICES] if isinstance(device, dict))
    return [one for one in described if one is not None]


def _device(prefix: str, device: dict[str, Any]) -> Described | None:
    friendly = plain_text(device.get("friendly_name"))
    if friendly is None or device.get("type") == "Coordinator" or len(friendly) > MAX_BASE - len(prefix) - 1:
        return None
    if set(friendly) & set("+#"):
        return None
    definition = device.get("definition")
    definition = definition if isinstance(definition, dict) else {}
    title = " ".join(text for key in ("vendor", "model") if (text := plain_text(definition.get(key))) is not None)
    handles: list[Handle] = []
    scales: dict[str, Scale] = {}
    taken: set[str] = set()
    for feature in _features(definition.get("exposes"), 0):
        property_name = plain_text(feature.get("property"))
        if property_name is None or len(scales) >= MAX_METRICS:
            continue
        handle, scale = _feature(f"{prefix}/{friendly}/set", property_name, feature, taken)
        scales[property_name] = scale
        if handle is not None:
            handles.append(handle)
    return Described(
        base=f"{prefix}/{friendly}",
        dialect=NAME,
        title=plain_text(definition.get("description")) or "",
        model=title,
        handles=tuple(handles[:32]),
        scales=scales,
    )


def _features(exposes: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The generic exposes with a property; those of lights, switches and climates are features of them."""
    if not isinstance(exposes, list) or depth > 2:
        return
    for item in exposes[:MAX_METRICS]:
        if isinstance(item, dict):
            if item.get("type") == "composite":
                continue
            if "features" in item:
                yield from _features(item["features"], depth + 1)
            else:
                yield item


def _feature(topic: str, name: str, feature: dict[str, Any], taken: set[str]) -> tuple[Handle | None, Scale]:
    kind, access = feature.get("type"), feature.get("access")
    settable = isinstance(access, int) and bool(access & 2)
    unit = foreign_unit(feature.get("unit"))
    low, high = number(feature.get("value_min")), number(feature.get("value_max"))
    own = _own_name(name)
    quoted = f"{{{json.dumps(name)}:{{value}}}}"
    if kind == "binary":
        on, off = _json_word(feature.get("value_on")), _json_word(feature.get("value_off"))
        if not settable or on is None or off is None or own is None:
            return None, Scale()
        return Handle(
            name=numbered(own, taken),
            kind="switch",
            topic=topic,
            on=quoted.replace("{value}", on),
            off=quoted.replace("{value}", off),
        ), Scale()
    if kind == "numeric":
        full = high if own == "brightness" and high is not None and not unit else None
        scale = Scale(unit=unit, full=full)
        if not settable or low is None or high is None or own is None or Decimal(low) >= Decimal(high):
            return None, scale
        dimmer = own == "brightness"
        return Handle(
            name=numbered(own, taken),
            kind="dimmer" if dimmer else "number",
            topic=topic,
            payload=quoted,
            minimum=low,
            maximum=high,
            whole=dimmer,
        ), scale
    if kind == "enum" and settable and own is not None:
        options = feature.get("values")
        offered = options[:64] if isinstance(options, list) else []
        words = tuple(text for option in offered if (text := plain_text(option)) is not None)
        if words:
            handle = Handle(
                name=numbered(own, taken), kind="select", topic=topic, payload=quoted, quoted=True, options=words
            )
            return handle, Scale()
    return None, Scale()


def _json_word(value: Any) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    text = plain_text(value)
    return None if text is None or '"' in text or "\\" in text else f'"{text}"'


def _own_name(foreign: str) -> str | None:
    """Our name of a property; of channels state_l1, state_left the first is "on" too, then they are numbered."""
    head = foreign.split("_")[0] if foreign.startswith("state_") else foreign
    known_truth, known_number = truth_name(head), number_name(foreign)
    if known_number is not None:
        return known_number[0]
    if known_truth is not None:
        return known_truth[0]
    return {"fan_mode": "mode", "system_mode": "mode"}.get(foreign) or slug(foreign) or None


def _values(state: dict[str, Any], described: Described | None) -> Iterator[Metric]:
    taken: set[str] = set()
    scales = described.scales if described is not None else {}
    for key, value in list(state.items())[:MAX_METRICS]:
        known_truth = truth_name("state" if key.startswith("state_") else key)
        known_number = number_name(key)
        text = number(value) if not isinstance(value, str) else None
        if text is not None:
            name, default = known_number or (slug(key), "")
            scale = scales.get(key, Scale())
            unit = scale.unit or default
            if name == "brightness":
                text, unit = scaled(text, Decimal(scale.full) if scale.full else _FULL_BRIGHTNESS), "%"
            elif name == "voltage" and not scale.unit and "battery" in state:
                # The voltage of a battery is in millivolts, that of the mains in volts.
                unit = "mV"
            if name:
                yield Metric(numbered(name, taken), "number", text, unit, key)
        elif known_truth is not None and (word := truth(value)) is not None:
            name, turned = known_truth
            if turned:
                word = "false" if word == "true" else "true"
            yield Metric(numbered(name, taken), "boolean", word, path=key)
        elif type(value) is bool and slug(key):
            yield Metric(numbered(slug(key), taken), "boolean", "true" if value else "false", path=key)
        elif (words := plain_text(value)) is not None and (own := _own_name(key)) is not None:
            yield Metric(numbered(own, taken), "text", words, path=key)
