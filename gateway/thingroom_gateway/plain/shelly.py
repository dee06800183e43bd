"""Shelly: the first generation's topics below shellies/, and from the second on status/… and events/rpc.

Pure; may import words and said. Sources: shelly-api-docs.shelly.cloud, gen1 (MQTT of each device) and gen2 (Mqtt,
Notifications, and the components Switch, Light, PM1, EM, Temperature, Humidity, DevicePower).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
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
)
from thingroom_gateway.plain.words import (
    Unreadable,
    foreign_unit,
    number,
    plain_text,
    read_object,
    read_text,
    truth,
)

NAME: Final = "shelly"
_COMPONENT: Final = re.compile(r"([a-z][a-z0-9]{0,15})(?::([0-9]{1,3}))?")
# First generation: the topic below the device (channel numbers as #), our name, the unit.
_GEN1_NUMBERS: Final = {
    "relay/#/power": ("power", "W"),
    "relay/#/energy": ("energy", "Wmin"),
    "light/#/power": ("power", "W"),
    "light/#/energy": ("energy", "Wmin"),
    "emeter/#/power": ("power", "W"),
    "emeter/#/voltage": ("voltage", "V"),
    "emeter/#/current": ("current", "A"),
    "emeter/#/pf": ("power_factor", "/"),
    "emeter/#/total": ("energy", "Wh"),
    "ext_temperature/#": ("temperature", "Cel"),
    "ext_humidity/#": ("humidity", "%RH"),
    "temperature": ("device_temperature", "Cel"),
    "voltage": ("voltage", "V"),
    "sensor/temperature": ("temperature", "Cel"),
    "sensor/humidity": ("humidity", "%RH"),
    "sensor/battery": ("battery", "%EL"),
    "sensor/lux": ("illuminance", "lx"),
    "sensor/tilt": ("tilt", "deg"),
    "sensor/concentration": ("gas_concentration", "ppm"),
    "roller/#/pos": ("position", "%"),
}
_GEN1_TRUTHS: Final = {
    "relay/#": "on",
    "light/#": "on",
    "white/#": "on",
    "color/#": "on",
    "input/#": "input",
    "sensor/state": "open",
    "sensor/flood": "leak",
    "sensor/motion": "motion",
    "sensor/smoke": "smoke",
    "sensor/vibration": "vibration",
}
# From the second generation on: the component, the key (with dots), our name, the unit ("" for a truth).
_GEN2: Final = {
    "switch": {
        "output": ("on", ""),
        "apower": ("power", "W"),
        "voltage": ("voltage", "V"),
        "current": ("current", "A"),
        "freq": ("frequency", "Hz"),
        "pf": ("power_factor", "/"),
        "aenergy.total": ("energy", "Wh"),
        "temperature.tC": ("device_temperature", "Cel"),
    },
    "pm1": {
        "apower": ("power", "W"),
        "voltage": ("voltage", "V"),
        "current": ("current", "A"),
        "freq": ("frequency", "Hz"),
        "aenergy.total": ("energy", "Wh"),
    },
    "light": {
        "output": ("on", ""),
        "brightness": ("brightness", "%"),
        "apower": ("power", "W"),
        "aenergy.total": ("energy", "Wh"),
    },
    "em": {
        "total_act_power": ("power", "W"),
        "total_current": ("current", "A"),
        "a_voltage": ("voltage", "V"),
        "b_voltage": ("voltage_2", "V"),
        "c_voltage": ("voltage_3", "V"),
    },
    "emdata": {"total_act": ("energy", "Wh")},
    "em1": {"act_power": ("power", "W"), "voltage": ("voltage", "V"), "current": ("current", "A")},
    "em1data": {"total_act_energy": ("energy", "Wh")},
    "temperature": {"tC": ("temperature", "Cel")},
    "humidity": {"rh": ("humidity", "%RH")},
    "illuminance": {"lux": ("illuminance", "lx")},
    "devicepower": {"battery.percent": ("battery", "%EL"), "battery.V": ("battery_voltage", "V")},
    "input": {"state": ("input", "")},
    "smoke": {"alarm": ("smoke", "")},
    "flood": {"alarm": ("leak", "")},
    "cover": {"current_pos": ("position", "%"), "apower": ("power", "W")},
    "voltmeter": {"voltage": ("voltage", "V")},
}


def filters(prefix: str) -> tuple[str, ...]:
    """`prefix` is that of the first generation; devices of later ones have topics of their own name."""
    return (f"{prefix}/#", "+/events/rpc", "+/status/+", "+/online")


def read(prefix: str, topic: str, payload: bytes, _known: Known) -> list[Said]:
    """What the message says. Raises Unreadable."""
    parts = topic.split("/")
    if parts[0] == prefix:
        return _gen1(prefix, parts, payload)
    if len(parts) == 2 and parts[1] == "online":
        online = truth(read_text(payload, 16))
        return [] if online is None else [Availability(parts[0], online == "true")]
    if len(parts) != 3 or not parts[0]:
        return []
    if parts[1:] == ["events", "rpc"]:
        return _notification(parts[0], read_object(payload))
    if parts[1] == "status":
        return _components(parts[0], f"status/{parts[2]}", {parts[2]: read_object(payload)}, None)
    return []


# --- the first generation ----------------------------------------------------------------------------------------


def _gen1(prefix: str, parts: list[str], payload: bytes) -> list[Said]:
    if parts[-1] == "announce":
        told = read_object(payload)
        name = plain_text(told.get("id"))
        if name is None or "/" in name:
            return []
        return [Described(base=f"{prefix}/{name}", dialect=NAME, model=plain_text(told.get("model")) or "")]
    if len(parts) < 3:
        return []
    base, rest = f"{prefix}/{parts[1]}", "/".join(parts[2:])
    text = read_text(payload)
    if rest == "online":
        online = truth(text)
        return [] if online is None else [Availability(base, online == "true")]
    index = next((int(part) for part in parts[2:] if part.isascii() and part.isdigit() and len(part) < 3), 0)
    shape = "/".join("#" if part.isascii() and part.isdigit() else part for part in parts[2:])
    said: list[Said] = []
    if shape in _GEN1_NUMBERS and (value := number(text)) is not None:
        name, unit = _GEN1_NUMBERS[shape]
        said.append(Readings(base, rest, (Metric(channel(name, index), "number", value, unit),), text))
    elif shape in _GEN1_TRUTHS and (word := truth(text)) is not None:
        name = channel(_GEN1_TRUTHS[shape], index)
        said.append(Readings(base, rest, (Metric(name, "boolean", word),), text))
        handle = _gen1_handle(base, parts[2], index, name)
        if handle is not None:
            said.append(Described(base=base, dialect=NAME, handles=(handle,)))
    elif shape in ("light/#/status", "white/#/status"):
        said += _gen1_light(base, rest, index, parts, read_object(payload))
    return said


def _gen1_handle(base: str, kind: str, index: int, name: str) -> Handle | None:
    if kind in ("relay", "light", "white", "color"):
        return Handle(name=name, kind="switch", topic=f"{base}/{kind}/{index}/command", on="on", off="off")
    return None


def _gen1_light(base: str, rest: str, index: int, parts: list[str], status: dict[str, Any]) -> list[Said]:
    """Of a light the truth comes by its own topic; here is how bright it is."""
    level = number(status.get("brightness"))
    if level is None:
        return []
    name = channel("brightness", index)
    handle = Handle(
        name=name,
        kind="dimmer",
        topic=f"{base}/{parts[2]}/{index}/set",
        payload='{"turn":"on","brightness":{value}}',
        minimum="0",
        maximum="100",
        whole=True,
    )
    return [
        Described(base=base, dialect=NAME, handles=(handle,)),
        Readings(base, rest, (Metric(name, "number", level, "%", "brightness"),), status),
    ]


# --- from the second generation on -------------------------------------------------------------------------------


def _notification(base: str, frame: dict[str, Any]) -> list[Said]:
    if frame.get("method") not in ("NotifyStatus", "NotifyFullStatus"):
        return []
    params = frame.get("params")
    if not isinstance(params, dict):
        raise Unreadable("no_params")
    stamp = number(params.get("ts"))
    ts = None if stamp is None else int(Decimal(stamp) * 1000)
    return _components(base, "events/rpc", params, ts)


def _components(base: str, rest: str, components: dict[str, Any], ts: int | None) -> list[Said]:
    metrics: list[Metric] = []
    handles: list[Handle] = []
    for key, status in components.items():
        matched = _COMPONENT.fullmatch(key)
        if matched is None or not isinstance(status, dict):
            continue
        kind, index = matched[1], int(matched[2] or 0)
        metrics += _metrics(kind, index, key, status)
        handles += _handles(base, kind, index, status)
        if len(metrics) >= MAX_METRICS:
            break
    said: list[Said] = []
    if handles:
        said.append(Described(base=base, dialect=NAME, handles=tuple(handles[:32])))
    if metrics:
        tree: Any = components if rest == "events/rpc" else next(iter(components.values()))
        said.append(Readings(base, rest, tuple(metrics[:MAX_METRICS]), tree, ts))
    return said


def _metrics(kind: str, index: int, key: str, status: dict[str, Any]) -> Iterator[Metric]:
    # The add-on's sensors are counted from 100.
    index = index - 100 if index >= 100 else index
    for path, (name, unit) in _GEN2.get(kind, {}).items():
        value: Any = status
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if unit:
            text = number(value) if not isinstance(value, str) else None
            if text is not None:
                yield Metric(channel(name, index), "number", text, foreign_unit(unit) or unit, f"{key}.{path}")
        elif type(value) is bool:
            yield Metric(channel(name, index), "boolean", "true" if value else "false", path=f"{key}.{path}")


def _handles(base: str, kind: str, index: int, status: dict[str, Any]) -> Iterator[Handle]:
    if kind not in ("switch", "light"):
        return
    if "output" in status:
        method = f"{kind.capitalize()}.Set"
        yield Handle(
            name=channel("on", index),
            kind="switch",
            topic=f"{base}/rpc",
            on=_rpc(method, index, "on", True),
            off=_rpc(method, index, "on", False),
        )
    if kind == "light" and "brightness" in status:
        yield Handle(
            name=channel("brightness", index),
            kind="dimmer",
            topic=f"{base}/rpc",
            payload=_rpc("Light.Set", index, "brightness", "{value}").replace('"{value}"', "{value}"),
            minimum="0",
            maximum="100",
            whole=True,
        )


def _rpc(method: str, index: int, key: str, value: object) -> str:
    frame = {"id": 1, "src": "thingroom", "method": method, "params": {"id": index, key: value}}
    return json.dumps(frame, separators=(",", ":"))
