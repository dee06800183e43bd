"""Tasmota: tele/<topic>/SENSOR, STATE, LWT and stat/<topic>/POWER, RESULT, STATUS8, STATUS10 (tasmota.github.io/docs).

Pure; may import words and said. `read` takes one message; dialects.py knows which dialect a topic belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from thingroom_gateway.plain.said import (
    MAX_METRICS,
    Availability,
    Described,
    Handle,
    Known,
    Metric,
    Readings,
    Said,
    channel,
    numbered,
)
from thingroom_gateway.plain.words import (
    foreign_unit,
    number,
    number_name,
    read_object,
    read_text,
    slug,
    truth,
)

NAME: Final = "tasmota"
_POWER: Final = re.compile(r"POWER([1-9][0-9]?)?")
_SENSOR_KEYS: Final = frozenset({"Time", "TempUnit", "PressureUnit", "SpeedUnit", "Version"})
# Not told as readings: history, addresses, what is derived from another value.
_SKIPPED: Final = frozenset(
    {"id", "yesterday", "today", "period", "totalstarttime", "seapressure", "eco2", "raw", "weightraw"}
)


def filters(_prefix: str) -> tuple[str, ...]:
    """What to subscribe to. FullTopic must be the default one, %prefix%/%topic%/, the topic of any depth."""
    return ("tele/#", "stat/#")


def read(_prefix: str, topic: str, payload: bytes, _known: Known) -> list[Said]:
    """What the message says. Raises Unreadable."""
    parts = topic.split("/")
    if len(parts) < 3 or parts[0] not in ("tele", "stat"):
        return []
    name, leaf = "/".join(parts[1:-1]), parts[-1]
    base = f"tele/{name}"
    if parts[0] == "tele":
        if leaf == "LWT":
            online = truth(read_text(payload, 64))
            return [] if online is None else [Availability(base, online == "true")]
        if leaf == "SENSOR":
            return _sensor(base, topic, read_object(payload))
        return _state(base, name, read_object(payload)) if leaf == "STATE" else []
    if leaf in ("STATUS8", "STATUS10"):
        sensor = read_object(payload).get("StatusSNS")
        return _sensor(base, topic, sensor) if isinstance(sensor, dict) else []
    if leaf == "STATUS11":
        state = read_object(payload).get("StatusSTS")
        return _state(base, name, state) if isinstance(state, dict) else []
    if leaf == "RESULT":
        return _state(base, name, read_object(payload), power=False)
    if _POWER.fullmatch(leaf):
        return _state(base, name, {leaf: read_text(payload, 64)})
    return []


def _state(base: str, name: str, state: dict[str, Any], power: bool = True) -> list[Said]:
    """Relays, the dimmer, the fan. Of RESULT no POWER: the same comes by stat/…/POWER."""
    metrics: list[Metric] = []
    handles: list[Handle] = []
    for key, value in list(state.items())[:MAX_METRICS]:
        if (relay := _POWER.fullmatch(key)) is not None:
            own = channel("on", int(relay[1] or 1) - 1)
            handles.append(Handle(name=own, kind="switch", topic=f"cmnd/{name}/{key}", on="ON", off="OFF"))
            on = truth(value)
            if power and on is not None:
                metrics.append(Metric(own, "boolean", on, path=key))
        elif key == "Dimmer" and (text := number(value)) is not None:
            metrics.append(Metric("brightness", "number", text, "%", key))
            handles.append(
                Handle(
                    name="brightness",
                    kind="dimmer",
                    topic=f"cmnd/{name}/Dimmer",
                    minimum="0",
                    maximum="100",
                    whole=True,
                )
            )
        elif key == "FanSpeed" and (text := number(value)) is not None:
            metrics.append(Metric("speed", "number", text, "", key))
            handles.append(
                Handle(name="speed", kind="number", topic=f"cmnd/{name}/FanSpeed", minimum="0", maximum="3", whole=True)
            )
    said: list[Said] = []
    if handles:
        said.append(Described(base=base, dialect=NAME, handles=tuple(handles)))
    if metrics:
        said.append(Readings(base, "STATE", tuple(metrics), state))
    return said


def _sensor(base: str, topic: str, sensor: dict[str, Any]) -> list[Said]:
    temperature = foreign_unit(sensor.get("TempUnit", "C")) or "Cel"
    pressure = foreign_unit(sensor.get("PressureUnit", "hPa")) or "hPa"
    taken: set[str] = set()
    metrics: list[Metric] = []
    for metric in _values(sensor):
        unit = {"Cel": temperature, "hPa": pressure}.get(metric.unit, metric.unit)
        metrics.append(Metric(numbered(metric.name, taken), metric.kind, metric.value, unit, metric.path))
        if len(metrics) == MAX_METRICS:
            break
    return [Readings(base, "SENSOR", tuple(metrics), sensor)] if metrics else []


def _values(sensor: dict[str, Any]) -> Iterator[Metric]:
    for group, values in sensor.items():
        if group in _SENSOR_KEYS:
            continue
        if isinstance(values, dict):
            for key, value in values.items():
                # A meter of several channels tells lists.
                for item in value if isinstance(value, list) else [value]:
                    yield from _value(group, key, item)
        elif (text := truth(values)) is not None and isinstance(values, str):
            # Switch1, and what scripts add.
            yield Metric(slug(group) or "input", "boolean", text, path=group)


def _value(group: str, key: str, value: Any) -> Iterator[Metric]:
    text = number(value)
    if text is None or isinstance(value, str) or key.lower() in _SKIPPED:
        return
    word = "energy" if group == "ENERGY" and key == "Total" else re.sub(r"(?<=[a-z])[0-9]+$", "", key)
    known = number_name(key) or number_name(word)
    if known is None:
        name, unit = {"COUNTER": ("count", "count")}.get(group, (slug(f"{group}_{key}"), ""))
    else:
        name, unit = known
    if name == "distance":
        # VL53L0X and its kin tell millimetres, ultrasonic sensors centimetres.
        unit = "mm" if group.startswith("VL53") else "cm"
    if name:
        yield Metric(name, "number", text, unit, f"{group}.{key}")
