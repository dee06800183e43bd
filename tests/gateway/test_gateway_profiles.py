"""Every profile's worked examples, the schema's refusals, exact decimals, and when a device speaks up."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from thingroom_gateway.notices import Said, worth_a_notice
from thingroom_gateway.observation import Observation, Unusable, describe, observe
from thingroom_gateway.plain.command import Publish, command
from thingroom_gateway.plain.dialects import Listening, understand
from thingroom_gateway.plain.mapping import map_readings
from thingroom_gateway.plain.said import Readings
from thingroom_gateway.profile_examples import run
from thingroom_gateway.profile_file import ExampleFile, json_schema
from thingroom_gateway.profiles import (
    Profile,
    ProfileError,
    load_profiles,
    parse_profile,
    profile_directory,
)
from thingroom_gateway.values import decimal_text, shown
from thingroom_wire.cbor import Decimal as WireDecimal
from thingroom_wire.senml import Record

PROFILES = load_profiles()
EXAMPLES = [(profile, example) for profile in PROFILES.values() for example in profile.examples]
CLIMATE = PROFILES["climate"]
NOW = 1_770_000_000_000


@pytest.mark.parametrize(("profile", "example"), EXAMPLES, ids=[f"{p.name}: {e.about}" for p, e in EXAMPLES])
def test_worked_example(profile: Profile, example: ExampleFile) -> None:
    assert run(profile, example) == []


def test_every_profile_shows_a_good_and_a_refused_example() -> None:
    for profile in PROFILES.values():
        assert any(example.refused for example in profile.examples), profile.name
        assert any(not example.refused for example in profile.examples), profile.name


def test_profiles_are_found_in_the_repository() -> None:
    assert (profile_directory() / "climate.toml").is_file()
    assert {"climate", "soil"} <= set(PROFILES)


GOOD = (profile_directory() / "climate.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("precision = 1", "precision = 1\nunits = 1", "units"),
        ('minimum = "-60"', "minimum = -60", "Expected `str"),
        ('minimum = "-60"', 'minimum = "minus sixty"', "matching regex"),
        ("precision = 1", "precision = 12", "<= 9"),
        ('name = "temperature"\n', 'name = "humidity"\n', "twice"),
        ('name = "temperature"\n', 'name = "Temperature!"\n', "matching regex"),
        ("[[examples]]", "[[samples]]", "samples"),
        ("[notices]", "[notices", "climate"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_file(old: str, new: str, message: str) -> None:
    with pytest.raises(ProfileError, match=r"climate\.toml") as caught:
        parse_profile(GOOD.replace(old, new), "climate.toml")
    assert message in str(caught.value)


def test_a_profile_is_named_like_its_file(tmp_path: Path) -> None:
    (tmp_path / "weather.toml").write_text(GOOD)
    with pytest.raises(ProfileError, match=r"climate\.toml"):
        load_profiles(tmp_path)
    with pytest.raises(ProfileError, match="no device profiles"):
        load_profiles(tmp_path / "nowhere")


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-40, 40))
def test_decimals_are_exact_or_refused(mantissa: int, exponent: int) -> None:
    text = decimal_text(WireDecimal(mantissa, exponent))
    if text is None:
        assert abs(exponent) > 18 or len(str(mantissa)) > 20
        return
    digits = Decimal(text).as_tuple()
    assert Decimal(text) == Decimal(mantissa) * Decimal(10) ** exponent
    assert "E" not in text.upper()
    assert len(text) <= 40
    if exponent <= 0:
        assert digits.exponent == exponent


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_floats_read_back_as_the_same_or_are_refused(value: float) -> None:
    text = decimal_text(value)
    if text is not None:
        assert float(text) == value
        assert "e" not in text
        assert len(text) <= 40


def test_other_values_are_no_numbers() -> None:
    assert [decimal_text(value) for value in (True, "1", b"1", None, 10**21)] == [None] * 5
    assert decimal_text(-5) == "-5"
    assert [shown("-0.05", 1), shown("21.45", 1), shown("2.5", 0), shown("1e3", 0)] == ["0.0", "21.4", "2", "1000"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["temperature", "humidity", "x"]),
            st.sampled_from(["Cel", "%RH", None]),
            st.one_of(st.integers(-100, 200), st.floats(), st.booleans(), st.text(max_size=3), st.binary(max_size=3)),
            st.integers(-(2**53), 2**53),
        ),
        max_size=300,
    ),
    st.integers(-(2**53), 2**53),
    st.integers(0, 2),
)
def test_any_records_give_an_observation_or_a_reason(
    records: list[tuple[str, str | None, object, int]], base: int, clock: int
) -> None:
    observed = observe(CLIMATE, [Record(*record) for record in records], base, clock, 1)
    if isinstance(observed, Unusable):
        assert observed.reason.replace("_", "").isalpha()
        return
    readings = json.loads(f"[{observed.readings}]")
    assert len(readings) == len(records)
    assert all(isinstance(reading["value"], str) and isinstance(reading["ts"], int) for reading in readings)
    assert ("clock" in readings[0]) == (clock != 0)


def test_when_a_device_speaks_up() -> None:
    said = Said({"temperature": "21.0", "humidity": "45"}, NOW)

    def worth(ts: int, **latest: str) -> bool:
        return worth_a_notice(CLIMATE, said, latest, NOW + ts)

    assert worth_a_notice(CLIMATE, None, {"temperature": "1"}, NOW)
    assert not worth(59_000, temperature="30.0", humidity="45")
    assert not worth(60_000, temperature="21.2", humidity="46")
    assert worth(60_000, temperature="21.3", humidity="45")
    assert worth(60_000, temperature="20.7", humidity="45")
    assert worth(60_000, temperature="21.0", humidity="47")
    assert worth(3_600_000, temperature="21.0", humidity="45")
    assert not worth(-1, temperature="30.0")
    soil = PROFILES["soil"]
    dry = Said({"moisture": "37", "battery": "3.0"}, NOW)
    assert not worth_a_notice(soil, dry, {"moisture": "37", "battery": "1.0"}, NOW + 300_000)
    assert worth_a_notice(soil, dry, {"moisture": "34"}, NOW + 300_000)


SWITCH = """
name = "switch"
title = "Switch"
[[quantities]]
name = "on"
title = "Light"
kind = "boolean"
words = { true = "lit", false = "dark" }
[[quantities]]
name = "scene"
title = "Scene"
kind = "text"
[[quantities]]
name = "level"
title = "Level"
unit = "/"
shown_unit = "%"
minimum = "0"
maximum = "1"
[[examples]]
about = "none"
payload = ""
"""


def test_booleans_texts_and_factors() -> None:
    profile = parse_profile(SWITCH, "switch.toml")
    records = [Record("on", None, True, 0), Record("scene", None, 'a "b"', 0), Record("level", "/", 0.5, 0)]
    observed = observe(profile, records, NOW, 0, 1)
    assert isinstance(observed, Observation)
    assert [r["value"] for r in json.loads(f"[{observed.readings}]")] == ["true", 'a "b"', "0.5"]
    assert describe(profile, observed.latest) == 'lit, a "b", 50 %'
    for bad in ("x" * 257, "a\nb", "\u202e", b"b"):
        assert isinstance(observe(profile, [Record("scene", None, bad, 0)], NOW, 0, 1), Unusable)
    assert observe(profile, [Record("on", None, 1, 0)], NOW, 0, 1) == Unusable("wrong_kind_of_value")
    said = Said({"on": "true"}, NOW)
    assert worth_a_notice(profile, said, {"on": "false"}, NOW + 60_000)
    assert not worth_a_notice(profile, said, {"on": "true"}, NOW + 60_000)


def test_the_schema_for_editors_is_the_one_of_the_structs() -> None:
    """After a change of profile_file.py: python -m thingroom_gateway.profile_file > device_profiles/schema.json."""
    assert (profile_directory() / "schema.json").read_text() == json_schema()


def test_every_profile_file_obeys_the_schema() -> None:
    validator = Draft202012Validator(json.loads(json_schema()))
    for path in profile_directory().glob("*.toml"):
        assert [error.message for error in validator.iter_errors(tomllib.loads(path.read_text()))] == []


def test_there_are_many_profiles_and_each_says_what_it_is_for() -> None:
    assert len(PROFILES) >= 20
    for profile in PROFILES.values():
        assert profile.icon and profile.title
        assert all(quantity.title for quantity in profile.quantities.values())
        assert profile.alerts, profile.name
    with_actuators = {actuator.kind for profile in PROFILES.values() for actuator in profile.actuators.values()}
    assert with_actuators == {"switch", "dimmer", "number", "select"}
    assert {alert.kind for p in PROFILES.values() for alert in p.alerts} == {
        "above",
        "below",
        "rate",
        "silence",
        "battery",
    }


def test_people_of_a_home_choose_their_units() -> None:
    american = load_profiles(choices={"temperature": "degF", "pressure": "inHg", "speed": "mph"})
    latest = {"temperature": "21.4", "humidity": "45.2", "pressure": "101325"}
    assert describe(american["bme280"], latest) == "70.5 °F, 45 %, 29.921 inHg"
    assert american["bme280"].quantities["temperature"].unit == "Cel"
    assert american["bme280"].quantities["temperature"].from_people(Decimal("212")) == 100
    assert american["bme280"].quantities["temperature"].difference_for_people(Decimal("5")) == 9
    assert describe(PROFILES["bme280"], latest) == "21.4 °C, 45 %, 1013.2 hPa"


@pytest.mark.parametrize(
    ("profile", "actuator", "said", "accepted"),
    [
        ("switch", "on", " ON ", "true"),
        ("switch", "on", "off", "false"),
        ("switch", "on", "maybe", None),
        ("dimmer", "brightness", "40", "40"),
        ("dimmer", "brightness", "on", "100"),
        ("dimmer", "brightness", "off", "0"),
        ("dimmer", "brightness", "40.5", None),
        ("dimmer", "brightness", "101", None),
        ("dimmer", "brightness", "-1", None),
        ("dimmer", "brightness", "٣", None),
        ("thermostat", "target", "21.5", "21.5"),
        ("thermostat", "target", "21.3", None),
        ("thermostat", "target", "1e1", None),
        ("thermostat", "target", "NaN", None),
        ("light", "colour", "Warm White", "warm white"),
        ("light", "colour", "octarine", None),
    ],
)
def test_what_an_actuator_accepts(profile: str, actuator: str, said: str, accepted: str | None) -> None:
    assert PROFILES[profile].actuators[actuator].accept(said) == accepted


@given(st.text(max_size=40))
def test_an_actuator_accepts_only_what_it_has(said: str) -> None:
    for profile in PROFILES.values():
        for actuator in profile.actuators.values():
            accepted = actuator.accept(said)
            if accepted is not None:
                assert actuator.accept(accepted) == accepted


HOMEMADE = """
name = "homemade"
title = "Homemade"
[[quantities]]
name = "temperature"
title = "Temperature"
unit = "Cel"
precision = 1
maximum = "60"
[[quantities]]
name = "pump"
title = "Pump"
kind = "boolean"
[[actuators]]
name = "pump"
title = "Pump"
kind = "switch"
feedback = "pump"
topic = "{base}/pump/set"
payload_on = "1"
payload_off = "0"
[[sources]]
quantity = "temperature"
topic = "probe/+"
path = "readings.*.f"
unit = "degF"
[[sources]]
quantity = "pump"
topic = "pump"
values = { running = "true", idle = "false" }
[[examples]]
about = "A value deep in somebody's JSON, in Fahrenheit."
topic = "greenhouse/1/probe/a"
message = '{"readings":{"x":{"f":68,"c":20}}}'
readings = [{ name = "temperature", value = "20", unit = "Cel" }]
text = "20.0 °C"
[[examples]]
about = "A word of its own."
topic = "greenhouse/1/pump"
message = "running"
readings = [{ name = "pump", value = "true" }]
text = "Pump on"
[[examples]]
about = "Too hot to be true."
topic = "greenhouse/1/probe/a"
message = '{"readings":{"x":{"f":680}}}'
refused = "above_range"
[[examples]]
about = "A word that nobody explained."
topic = "greenhouse/1/pump"
message = "exploded"
refused = "wrong_kind_of_value"
"""


def test_sources_find_what_names_do_not_tell() -> None:
    profile = parse_profile(HOMEMADE, "homemade.toml")
    for example in profile.examples:
        assert run(profile, example) == []
    listening = [Listening("topics", "greenhouse/+/#")]
    dialect, said = understand(listening, "greenhouse/1/probe/a", b'{"readings":{"x":{"f":50}}}')
    assert dialect == "topics"
    (readings,) = said
    assert isinstance(readings, Readings)
    assert (readings.base, readings.rest) == ("greenhouse/1", "probe/a")
    assert map_readings(profile, readings).values == {"temperature": "10"}
    sent = command(readings.base, [], profile.actuators["pump"], "on")
    assert sent == Publish("greenhouse/1/pump/set", b"1")
