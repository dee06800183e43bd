"""Messages from the documentation of Tasmota, Zigbee2MQTT, ESPHome and Shelly become readings through profiles."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from thingroom_gateway.plain.dialects import Listening, understand
from thingroom_gateway.plain.mapping import map_readings
from thingroom_gateway.plain.said import Availability, Readings
from thingroom_gateway.profiles import load_profiles

PROFILES = load_profiles()
FOLDER = Path(__file__).parent / "plain_messages"
FILES = {path.stem: tomllib.loads(path.read_text()) for path in sorted(FOLDER.glob("*.toml"))}
CASES = [(name, message) for name, file in FILES.items() for message in file["messages"]]


def test_all_four_systems_are_there() -> None:
    assert set(FILES) >= {"tasmota", "zigbee2mqtt", "esphome", "shelly"}


@pytest.mark.parametrize(("name", "message"), CASES, ids=[f"{name}: {m['about']}" for name, m in CASES])
def test_message_of_the_documentation(name: str, message: dict[str, Any]) -> None:
    file = FILES[name]
    listening = [Listening(file["dialect"], file["prefix"])]
    _, said = understand(listening, message["topic"], message["payload"].encode())
    if "online" in message:
        assert said == [Availability(message["base"], message["online"])]
        return
    readings = [one for one in said if isinstance(one, Readings)]
    metrics = [metric for one in readings for metric in one.metrics]
    told = [f"{m.name} {m.value} {m.unit}" if m.kind != "boolean" else f"{m.name} {m.value}" for m in metrics]
    assert told == message["expected"]
    if not readings:
        return
    (one,) = readings
    assert one.base == message["base"]
    assert one.ts == message.get("ts")
    if "profile" in message:
        mapped = map_readings(PROFILES[message["profile"]], one)
        assert [f"{quantity} {value}" for quantity, value in mapped.values.items()] == message["readings"]
        assert not mapped.refused
