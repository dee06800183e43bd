"""Whatever a foreign device sends: a value of ours or a reason, no crash, no growth. Templates, units, commands."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thingroom_gateway import units
from thingroom_gateway.plain import homeassistant, template
from thingroom_gateway.plain.book import MAX_DESCRIBED, MAX_DISCOVERIES, MAX_SEEN, Book
from thingroom_gateway.plain.command import CannotSend, Publish, command
from thingroom_gateway.plain.dialects import DEFAULT_PREFIX, Listening, matches, understand
from thingroom_gateway.plain.mapping import MAX_DIGITS, best_profile, convert_text, map_readings
from thingroom_gateway.plain.original import MAX_ORIGINAL, original
from thingroom_gateway.plain.said import Availability, Described, Discovered, Gone, Handle, Known, Metric, Readings
from thingroom_gateway.plain.words import MAX_DEPTH, MAX_NUMBER_TEXT, Unreadable, number, read_json, truth
from thingroom_gateway.profiles import load_profiles

PROFILES = load_profiles()
EVERY = [Listening(name, prefix) for name, prefix in DEFAULT_PREFIX.items()]

KEYS = st.sampled_from(
    [
        "Time", "TempUnit", "DS18B20", "Temperature", "ENERGY", "Total", "Power", "POWER", "POWER2", "Dimmer", "state",
        "brightness", "contact", "battery", "voltage", "temperature", "method", "params", "ts", "switch:0", "light:1",
        "output", "apower", "aenergy", "total", "temperature:100", "tC", "device", "identifiers", "name", "state_topic",
        "stat_t", "~", "cmps", "p", "value_template", "unit_of_measurement", "availability", "topic", "exposes",
        "definition", "features", "type", "property", "access", "value_max", "value_min", "friendly_name", "schema",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.sampled_from(["ON", "OFF", "NotifyStatus", "~/x", "a/b", "thingroom/1/a/b/up", "{{ value_json.x }}", "°C", "#"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=6)), inner, max_size=6)
    ),
    max_leaves=25,
)
TOPICS = st.one_of(
    st.sampled_from(
        [
            "tele/a/SENSOR", "tele/a/STATE", "tele/a/b/LWT", "stat/a/POWER", "stat/a/POWER2", "stat/a/RESULT",
            "stat/a/STATUS8", "stat/a/STATUS11", "zigbee2mqtt/x", "zigbee2mqtt/a/b", "zigbee2mqtt/x/availability",
            "zigbee2mqtt/bridge/devices", "zigbee2mqtt/bridge/state", "shellies/a/relay/0", "shellies/a/relay/0/energy",
            "shellies/a/light/0/status", "shellies/announce", "shellies/a/sensor/state", "s-1/events/rpc",
            "s-1/status/switch:0", "s-1/online", "n/sensor/t/state", "n/light/l/state", "n/status",
            "homeassistant/sensor/n/o/config", "homeassistant/light/o/config", "homeassistant/device/o/config",
            "homeassistant/binary_sensor/o/config", "homeassistant/number/o/config", "homeassistant/select/o/config",
        ]
    ),
    st.text(max_size=30),
    st.lists(st.sampled_from(["a", "", "+", "tele", "stat", "status", "sensor", "state", "9" * 40]), max_size=6).map(
        "/".join
    ),
)  # fmt: skip
PAYLOADS = st.one_of(
    st.binary(max_size=64),
    TREES.map(lambda tree: json.dumps(tree).encode()),
    st.sampled_from([b"", b"ON", b"21.5", b"1e99", b"-0.0", b"NaN", b"[" * 500, b'{"a":' * 500, b"9" * 5000]),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(TOPICS, PAYLOADS)
def test_any_message_is_understood_or_not_and_gives_bounded_values(topic: str, payload: bytes) -> None:
    try:
        dialect, said = understand(EVERY, topic, payload)
    except Unreadable as error:
        assert str(error).replace("_", "").isalnum()
        return
    assert bool(dialect) == bool(said)
    for one in said:
        assert not topic.startswith("thingroom/")
        if isinstance(one, Readings):
            _check_readings(one)
        elif isinstance(one, (Described, Discovered)):
            for part in one.parts if isinstance(one, Discovered) else (one,):
                _check_described(part)


def _check_readings(readings: Readings) -> None:
    assert len(readings.metrics) <= 128
    for metric in readings.metrics:
        assert metric.name and len(metric.value) <= 256
        assert metric.kind != "boolean" or metric.value in ("true", "false")
        if metric.kind == "number":
            assert Decimal(metric.value).is_finite() and len(metric.value) <= MAX_NUMBER_TEXT
    for profile in PROFILES.values():
        mapped = map_readings(profile, readings)
        for name, text in mapped.values.items():
            quantity = profile.quantities[name]
            if quantity.kind == "number":
                assert len(text) <= MAX_DIGITS
                assert quantity.minimum is None or Decimal(text) >= quantity.minimum
                assert quantity.maximum is None or Decimal(text) <= quantity.maximum


def _check_described(described: Described) -> None:
    for entity in described.entities:
        assert not entity.topic.startswith(("thingroom/", "$")) and not set(entity.topic) & set("+#")
    for handle in described.handles:
        assert not set(handle.topic) & set("+#\0") and not handle.topic.startswith("thingroom/")
        for actuator in (PROFILES["switch"].actuators["on"], PROFILES["dimmer"].actuators["brightness"]):
            for value in ("on", "50", "0"):
                sent = command(described.base, [handle], actuator, value)
                assert isinstance(sent, (Publish, CannotSend))


@given(st.text(max_size=80))
def test_numbers_are_exact_bounded_or_nothing(text: str) -> None:
    found = number(text)
    if found is not None:
        assert Decimal(found) == Decimal(text.strip())
        assert "E" not in found.upper()


def test_numbers_and_truths() -> None:
    assert [number(v) for v in ("21.50", "+5", "1e3", "", "0x10", "1_000", "٣", "nan", "1e400", True, None, [])] == [
        "21.50", "5", "1000", None, None, None, None, None, None, None, None, None,
    ]  # fmt: skip
    assert number(Decimal("1E+999999")) is None
    assert number(10**30) is None
    assert [truth(v) for v in ("ON", "off", "Open", 1, 0, 2, True, "overpower", None)] == [
        "true", "false", "true", "true", "false", None, "true", None, None,
    ]  # fmt: skip


def test_deep_and_large_json_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Unreadable, match="too_deep"):
        read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert read_json(b'"' + b"[" * 500 + b'"') == "[" * 500
    with pytest.raises(Unreadable, match="too_large"):
        read_json(b" " * 70_000 + b"1")
    for bad in (b"NaN", b"{", b"\xff", b"9" * 5000):
        with pytest.raises(Unreadable):
            read_json(bad)


@pytest.mark.parametrize(
    ("text", "payload", "value"),
    [
        ("{{ value_json.temperature }}", '{"temperature": 21.50}', Decimal("21.50")),
        ("{{value_json['BME280'].Temperature}}", '{"BME280":{"Temperature":3}}', 3),
        ("{{ value_json['DS18B20-1'].Temperature }}", '{"DS18B20-1":{"Temperature":3}}', 3),
        ("{{ value_json.tempc | is_defined }}", '{"tempc":4}', 4),
        ("{{ value }}", "21.5", "21.5"),
        ("{{ value | float }}", "21.5", Decimal("21.5")),
        ("{{ value_json.power | float * 1000 }}", '{"power":"0.45"}', Decimal("450.00")),
        ("{{ (value_json.total / 1000) | round(2) }}", '{"total": 46791.262}', Decimal("46.79")),
        ("{{ value_json.v | round }}", '{"v": 2.6}', 3),
        ("{{ value_json['x'] | default(0) }}", "{}", 0),
        ("{{ 'ON' if value_json.contact else 'OFF' }}", '{"contact":false}', "OFF"),
        ("{{ value_json.state == 'open' }}", '{"state":"open"}', True),
        ("{{ value_json.a and not value_json.b or false }}", '{"a":1,"b":0}', True),
        ("{{ value_json.l[1] }}", '{"l":[1,2]}', 2),
        ("{{ value_json.x is defined }}", "{}", False),
        ("{{ float(value_json.x) - 3 }}", '{"x":"5"}', Decimal(2)),
        ("v={{ value_json.a }}/{{ value_json.b }}", '{"a":1,"b":2}', "v=1/2"),
        ("{{ value_json.s | upper }}", '{"s":"on"}', "ON"),
    ],
)
def test_templates_of_real_devices(text: str, payload: str, value: Any) -> None:
    try:
        tree = read_json(payload.encode())
    except Unreadable:
        tree = None
    assert template.render(text, payload, tree) == value


@pytest.mark.parametrize(
    "text",
    [
        "{% if value %}1{% endif %}",
        "{{ ''.__class__ }}",
        "{{ value.__class__.__mro__ }}()",
        "{{ states('sensor.x') }}",
        "{{ range(10**9) }}",
        "{{ value ** value }}",
        "{{ value | map('x') }}",
        "{{ value_json.items() }}",
        "{{ cycler }}",
        "{{ value",
        "{{ }}",
        "{{ 1 + }}",
        "{{ (1 }}",
        "{{ value_json[value] }}",
        "{{ " + "(" * 50 + "1" + ")" * 50 + " }}",
        "{{ " + "1+" * 300 + "1 }}",
        "{{ " + "x" * 600 + " }}",
    ],
)
def test_templates_beyond_the_grammar_are_refused(text: str) -> None:
    with pytest.raises((template.BadTemplate, template.NoValue)):
        template.render(text, "x", {"value": 1})


@settings(max_examples=400)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                ["value", "value_json", ".", "a", "[", "]", "(", ")", "'a'", "0", "9.9", "+", "*", "/", "%", "|",
                 "round", "float", "int", "default", "if", "else", "==", "<", "and", "or", "not", "is", "defined",
                 "-", ","]
            ),
            max_size=24,
        ).map(lambda tokens: "{{ " + " ".join(tokens) + " }}"),
    ),
    TREES,
)  # fmt: skip
def test_any_template_gives_a_bounded_value_or_a_refusal(text: str, tree: Any) -> None:
    try:
        value = template.render(text, "payload", tree)
    except (template.BadTemplate, template.NoValue):
        return
    assert not isinstance(value, (dict, list))
    assert len(str(value)) <= 2**8


# --- Home Assistant's discovery ----------------------------------------------------------------------------------

SENSOR = {
    "device_class": "temperature",
    "name": "Temperature",
    "state_topic": "homeassistant/sensor/sensorBedroom/state",
    "unit_of_measurement": "°C",
    "value_template": "{{ value_json.temperature}}",
    "device": {"identifiers": ["bedroom01ae"], "name": "Bedroom", "manufacturer": "Example", "model": "xya"},
}


def _discover(book: Book, topic: str, config: dict[str, Any]) -> None:
    said = homeassistant.read("homeassistant", topic, json.dumps(config).encode(), book.known)
    for one in said:
        assert isinstance(one, Discovered)
        book.discover(one, 0)


def test_discovery_as_documented() -> None:
    """https://www.home-assistant.io/integrations/mqtt/#discovery-examples : sensors, a switch with abbreviations."""
    book = Book([Listening("homeassistant", "homeassistant")])
    _discover(book, "homeassistant/sensor/sensorBedroomT/config", SENSOR)
    humidity = {**SENSOR, "device_class": "humidity", "name": "Humidity", "unit_of_measurement": "%"}
    humidity["value_template"] = "{{ value_json.humidity}}"
    _discover(book, "homeassistant/sensor/sensorBedroomH/config", humidity)
    (readings,) = homeassistant.read(
        "homeassistant",
        "homeassistant/sensor/sensorBedroom/state",
        b'{ "temperature": 23.20, "humidity": 43.70 }',
        book.known,
    )
    assert isinstance(readings, Readings)
    assert readings.base == "homeassistant/bedroom01ae"
    assert map_readings(PROFILES["climate"], readings).values == {"temperature": "23.20", "humidity": "43.70"}
    switch = {"~": "homeassistant/switch/irrigation", "name": "garden", "cmd_t": "~/set", "stat_t": "~/state"}
    _discover(book, "homeassistant/switch/irrigation/config", switch)
    described = book.described("homeassistant/irrigation")
    assert described is not None
    sent = command(described.base, described.handles, PROFILES["switch"].actuators["on"], "on")
    assert sent == Publish("homeassistant/switch/irrigation/set", b"ON")
    light = {
        "~": "homeassistant/light/kitchen", "name": "Kitchen", "unique_id": "kitchen_light", "cmd_t": "~/set",
        "stat_t": "~/state", "schema": "json", "brightness": True,
    }  # fmt: skip
    _discover(book, "homeassistant/light/kitchen/config", light)
    (lit,) = homeassistant.read(
        "homeassistant", "homeassistant/light/kitchen/state", b'{"state": "ON", "brightness": 255}', book.known
    )
    assert isinstance(lit, Readings)
    assert map_readings(PROFILES["dimmer"], lit).values == {"on": "true", "brightness": "100"}


def test_discovery_by_device_and_its_withdrawal() -> None:
    """https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload"""
    book = Book([Listening("homeassistant", "homeassistant")])
    config = {
        "dev": {"ids": "ea334450945afc", "name": "Kitchen", "mf": "Bla electronics", "mdl": "xya"},
        "o": {"name": "bla2mqtt", "sw": "2.1", "url": "https://bla2mqtt.example.com/support"},
        "cmps": {
            "some_unique_component_id1": {
                "p": "sensor", "device_class": "temperature", "unit_of_measurement": "°C",
                "value_template": "{{ value_json.temperature }}", "unique_id": "temp01ae_t",
            },
            "some_unique_id2": {
                "p": "sensor", "device_class": "humidity", "unit_of_measurement": "%",
                "value_template": "{{ value_json.humidity }}", "unique_id": "temp01ae_h",
            },
        },
        "state_topic": "sensorBedroom/state",
        "qos": 2,
    }  # fmt: skip
    _discover(book, "homeassistant/device/0AFFD2/bla/config", config)
    described = book.described("homeassistant/ea334450945afc")
    assert described is not None
    assert [(e.name, e.unit) for e in described.entities] == [("temperature", "Cel"), ("humidity", "%")]
    assert described.title == "Kitchen" and described.model == "Bla electronics xya"
    assert book.topics() == {"sensorBedroom/state"}
    (gone,) = homeassistant.read("homeassistant", "homeassistant/device/0AFFD2/bla/config", b"", book.known)
    assert isinstance(gone, Gone)
    book.withdraw(gone)
    assert book.described("homeassistant/ea334450945afc") is None
    assert not book.topics()


def test_an_esphome_node_with_discovery_is_one_device() -> None:
    """https://esphome.io/components/mqtt.html : discovery with the node's own topics, its status as availability."""
    listening = [Listening("esphome", "+"), Listening("homeassistant", "homeassistant")]
    book = Book(listening)
    config = {
        "dev_cla": "temperature", "unit_of_meas": "°C", "stat_cla": "measurement", "name": "Room",
        "stat_t": "livingroom/sensor/room/state", "avty_t": "livingroom/status", "uniq_id": "ESPsensorroom",
        "dev": {"ids": "a0b1c2d3e4f5", "name": "livingroom", "sw": "esphome v2024.6.0", "mf": "espressif"},
    }  # fmt: skip
    _discover(book, "homeassistant/sensor/livingroom/room/config", config)
    dialect, said = understand(listening, "livingroom/sensor/room/state", b"21.5", book.known)
    assert dialect == "homeassistant"
    assert isinstance(said[0], Readings) and said[0].base == "homeassistant/a0b1c2d3e4f5"
    assert said[0].metrics == (Metric("temperature", "number", "21.5", "Cel"),)
    dialect, said = understand(listening, "livingroom/status", b"offline", book.known)
    assert said == [Availability("homeassistant/a0b1c2d3e4f5", False)]
    # What is not discovered is still the node's own.
    assert understand(listening, "livingroom/sensor/other_humidity/state", b"40", book.known)[0] == "esphome"


def test_discovery_of_what_a_dialect_tells_itself_is_left_to_it() -> None:
    book = Book([Listening("zigbee2mqtt", "zigbee2mqtt"), Listening("homeassistant", "homeassistant")])
    _discover(book, "homeassistant/sensor/0x00/temperature/config", {**SENSOR, "state_topic": "zigbee2mqtt/bedroom"})
    assert not book.topics() and not book.seen


@pytest.mark.parametrize(
    "topic", ["thingroom/1/a/b/down", "$SYS/x", "a/+/b", "#", "", "x" * 300, 5, None, "a\nb"], ids=str
)
def test_discovery_names_no_topic_that_is_not_a_devices_own(topic: Any) -> None:
    config = {**SENSOR, "state_topic": topic, "command_topic": topic, "availability_topic": topic}
    for component in homeassistant.COMPONENTS:
        book = Book([Listening("homeassistant", "homeassistant")])
        _discover(book, f"homeassistant/{component}/x/config", config)
        assert not book.topics()


def test_the_book_does_not_grow() -> None:
    book = Book([Listening("homeassistant", "homeassistant")])
    for index in range(MAX_SEEN + 100):
        book.hear("tasmota", Readings(f"tele/{index}", "SENSOR", (Metric("temperature", "number", "1", "Cel"),)), index)
    assert len(book.seen) == MAX_SEEN and "tele/0" not in book.seen
    for index in range(MAX_DISCOVERIES + 50):
        config = {**SENSOR, "state_topic": f"a/{index}", "device": {"identifiers": [f"d{index % 100}"]}}
        _discover(book, f"homeassistant/sensor/s{index}/config", config)
    assert len(book.topics()) <= MAX_DISCOVERIES
    assert len(book.seen) == MAX_SEEN
    book.kept.add("tele/mine")
    relay = Handle(name="on", kind="switch", topic="cmnd/mine/POWER", on="ON", off="OFF")
    book.remember(Described(base="tele/mine", dialect="tasmota", handles=(relay,)))
    for index in range(MAX_DESCRIBED + 50):
        book.remember(Described(base=f"tele/stranger{index}", dialect="tasmota", model="x"))
    assert book.described("tele/stranger0") is None and book.described("tele/stranger60") is not None
    mine = book.described("tele/mine")
    assert mine is not None and mine.handles == (relay,)


# --- units, mapping, commands ------------------------------------------------------------------------------------


def test_conversions_are_exact() -> None:
    for value, unit_from, unit_to, result in (
        ("21.4", "Cel", "degF", "70.52"),
        ("-40", "degF", "Cel", "-40"),
        ("0", "K", "Cel", "-273.15"),
        ("101325", "Pa", "hPa", "1013.25"),
        ("3600000", "J", "kWh", "1"),
        ("145860", "Wmin", "kWh", "2.431"),
        ("36", "km/h", "m/s", "10"),
        ("0.000000012", "kg/m3", "ug/m3", "12"),
        ("1", "inHg", "mmHg", "25.4"),
        ("30", "dBm", "dBW", "0"),
        ("0.5", "/", "%", "50"),
        ("1", "h", "s", "3600"),
    ):
        assert units.convert(Decimal(value), unit_from, unit_to) == Decimal(result), (unit_from, unit_to)
    assert units.convert_difference(Decimal(5), "Cel", "degF") == 9
    with pytest.raises(units.NotConvertible):
        units.convert(Decimal(1), "Cel", "Pa")


@given(st.decimals(-(10**9), 10**9, places=6), st.sampled_from(sorted(units.UNITS)))
def test_there_and_back_is_where_one_was(value: Decimal, code: str) -> None:
    base = units.UNITS[code].base
    back = units.convert(units.convert(value, code, base), base, code)
    assert abs(back - value) <= abs(value) * Decimal("1e-20") + Decimal("1e-15")


def test_every_unit_has_codes_and_a_base_of_the_same_kind() -> None:
    secondary = [unit for unit in units.UNITS.values() if unit.secondary]
    assert len(secondary) == 33
    for unit in units.UNITS.values():
        assert unit.ucum and (unit.base in units.UNITS)
        assert units.UNITS[unit.base].base == unit.base and units.UNITS[unit.base].factor == 1
        assert units.find(unit.code) is unit
    assert [units.find(text).code for text in ("°C", "µg/m³", "μg/m³", "hPa", "Ω", "m³", "kWh")] == [  # type: ignore[union-attr]
        "Cel", "ug/m3", "ug/m3", "hPa", "Ohm", "m3", "kWh",
    ]  # fmt: skip


def test_texts_are_converted_to_short_exact_texts() -> None:
    assert convert_text("21.70", "Cel", "Cel") == "21.70"
    assert convert_text("988.6", "hPa", "Pa") == "98860"
    assert convert_text("0.1", "degF", "Cel") is not None
    assert convert_text("45", "%", "%RH") == "45"
    assert convert_text("1", "Cel", "Pa") is None
    assert convert_text("7", "", "W") == "7"


def test_the_profile_that_suits_best() -> None:
    def told(*names: str) -> list[Metric]:
        truths = {"on", "motion", "open"}
        return [Metric(n, "boolean", "true") if n in truths else Metric(n, "number", "1", "") for n in names]

    assert best_profile(PROFILES, told("temperature", "humidity")) == "climate"
    assert best_profile(PROFILES, told("temperature", "humidity", "pressure")) == "bme280"
    assert best_profile(PROFILES, told("on")) == "switch"
    assert best_profile(PROFILES, told("on", "power", "energy", "voltage", "current")) == "smart_plug"
    assert best_profile(PROFILES, told("open", "battery")) == "door"
    assert best_profile(PROFILES, told("on", "brightness")) == "dimmer"
    assert best_profile(PROFILES, told("linkquality")) is None


def _handles(dialect: str, topic: str, payload: str, known: Known | None = None) -> Described:
    _, said = understand([Listening(dialect, DEFAULT_PREFIX[dialect])], topic, payload.encode())
    return next(one for one in said if isinstance(one, Described))


BULB = json.dumps(
    [
        {
            "friendly_name": "lamp", "type": "Router",
            "definition": {"model": "LED1624G9", "vendor": "IKEA", "description": "TRADFRI bulb", "exposes": [
                {"type": "light", "features": [
                    {"type": "binary", "name": "state", "property": "state", "value_on": "ON", "value_off": "OFF",
                     "value_toggle": "TOGGLE", "access": 7},
                    {"type": "numeric", "name": "brightness", "property": "brightness", "value_min": 0,
                     "value_max": 254, "access": 7}]},
                {"type": "enum", "name": "effect", "property": "effect", "values": ["blink", "okay"], "access": 2},
                {"type": "numeric", "name": "linkquality", "property": "linkquality", "unit": "lqi", "access": 1}]},
        },
        {"friendly_name": "Coordinator", "type": "Coordinator", "definition": None},
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "topic", "payload", "profile", "actuator", "value", "sent"),
    [
        ("tasmota", "tele/a/b/STATE", '{"POWER":"ON"}', "switch", "on", "off", ("cmnd/a/b/POWER", "OFF")),
        ("tasmota", "stat/board/POWER3", "ON", "relay4", "on_3", "on", ("cmnd/board/POWER3", "ON")),
        ("tasmota", "tele/l/STATE", '{"POWER":"ON","Dimmer":5}', "dimmer", "brightness", "40", ("cmnd/l/Dimmer", "40")),
        ("zigbee2mqtt", "zigbee2mqtt/bridge/devices", BULB, "dimmer", "on", "on",
         ("zigbee2mqtt/lamp/set", '{"state":"ON"}')),
        ("zigbee2mqtt", "zigbee2mqtt/bridge/devices", BULB, "dimmer", "brightness", "50",
         ("zigbee2mqtt/lamp/set", '{"brightness":127}')),
        ("shelly", "shellies/s/relay/0", "on", "switch", "on", "off", ("shellies/s/relay/0/command", "off")),
        ("shelly", "shellyplus1-a8032abe54dc/status/switch:0", '{"id":0,"output":true}', "switch", "on", "on",
         ("shellyplus1-a8032abe54dc/rpc",
          '{"id":1,"src":"thingroom","method":"Switch.Set","params":{"id":0,"on":true}}')),
        ("shelly", "shellyd-1/status/light:0", '{"id":0,"output":true,"brightness":7}', "dimmer", "brightness", "55",
         ("shellyd-1/rpc", '{"id":1,"src":"thingroom","method":"Light.Set","params":{"id":0,"brightness":55}}')),
        ("esphome", "n/switch/lamp/state", "ON", "switch", "on", "off", ("n/switch/lamp/command", "OFF")),
        ("esphome", "n/light/l/state", '{"state":"ON","brightness":9}', "dimmer", "brightness", "100",
         ("n/light/l/command", '{"state":"ON","brightness":255}')),
    ],
)  # fmt: skip
def test_commands(
    dialect: str, topic: str, payload: str, profile: str, actuator: str, value: str, sent: tuple[str, str]
) -> None:
    described = _handles(dialect, topic, payload)
    made = command(described.base, described.handles, PROFILES[profile].actuators[actuator], value)
    assert made == Publish(sent[0], sent[1].encode())


def test_commands_that_cannot_be_sent() -> None:
    on = PROFILES["switch"].actuators["on"]
    assert command("x", [], on, "on") == CannotSend("not_settable")
    assert command("x", [], on, "perhaps") == CannotSend("bad_value")
    narrow = Handle(name="target", kind="number", topic="t", minimum="10", maximum="20")
    target = PROFILES["thermostat"].actuators["target"]
    assert command("x", [narrow], target, "25") == CannotSend("bad_value")
    assert command("x", [narrow], target, "19.5") == Publish("t", b"19.5")


def test_topic_filters() -> None:
    assert matches("tele/#", "tele/a/b") and matches("tele/#", "tele") and matches("+/online", "a/online")
    assert not matches("#", "$SYS/x") and not matches("+/online", "a/b/online") and not matches("a/b", "a")


@given(st.text(max_size=300), st.text(max_size=9000))
def test_an_original_is_bounded_json(topic: str, text: str) -> None:
    topic = topic.encode("utf-8", "ignore").decode()[:200]
    heard = original(topic, text.encode("utf-8", "ignore").decode())
    assert json.loads(heard)["topic"] == topic
    assert len(heard) <= max(MAX_ORIGINAL, 6 * (1000 + 200) + 64)
