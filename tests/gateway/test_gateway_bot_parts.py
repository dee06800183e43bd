"""Parts of the bot without a homeserver: units of alerts, what is meant by a name, levels, the upgraded outbox."""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.gateway_support import Thing

from thingroom_common.database import Database
from thingroom_gateway.alerts.defaults import presets
from thingroom_gateway.alerts.rules import Rule
from thingroom_gateway.bot.answer import Attachment, attachment_content, message_content, with_code
from thingroom_gateway.bot.commands.actuate import actuator_meant
from thingroom_gateway.bot.commands.alert import rule_for
from thingroom_gateway.bot.commands.devices_in_and_out import qr_picture
from thingroom_gateway.bot.commands.history import MAX_LINES, step_for
from thingroom_gateway.bot.conversation import Where
from thingroom_gateway.bot.language import parse
from thingroom_gateway.bot.names import vocabulary_of
from thingroom_gateway.bot.people import read_levels
from thingroom_gateway.bot.requests import Actuate, AddAlert, Condition, Latest, Rename, Targets
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.profiles import Profile, load_profiles, parse_profile
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.devices import DeviceRow
from thingroom_gateway.storage.schema import MIGRATIONS

HEATER = """
name = "heater"
title = "Heater"
[[quantities]]
name = "temperature"
title = "Temperature"
unit = "Cel"
shown_unit = "°F"
precision = 1
deadband = "0.5"
[[quantities]]
name = "open"
title = "Window"
kind = "boolean"
words = { true = "open", false = "closed" }
[[quantities]]
name = "battery"
title = "Battery"
unit = "%EL"
[[actuators]]
name = "target"
title = "Target temperature"
kind = "number"
unit = "Cel"
minimum = "5"
maximum = "30"
step = "0.5"
[[actuators]]
name = "mode"
title = "Mode"
kind = "select"
options = ["eco", "comfort"]
[[actuators]]
name = "relay"
title = "Relay"
kind = "switch"
[[examples]]
about = "None."
payload = "80"
refused = "no_records"
"""


def devices(*named: tuple[str, str]) -> list[Device]:
    """Devices (name, profile), each in a place of its own name."""
    profiles: dict[str, Profile] = {**load_profiles(), "heater": parse_profile(HEATER, "test")}
    rows = []
    for number, (name, profile) in enumerate(named, 1):
        thing = Thing(number)
        rows.append(DeviceRow(number, thing.kid, thing.public, b"", b"", name, name, profile, ACTIVE, 0))
    return list(Registry(rows, profiles))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("above", "86"), Rule("above", "temperature", Decimal(30), Decimal("0.5"))),
        (Condition("above", "30", "°C"), Rule("above", "temperature", Decimal(30), Decimal("0.5"))),
        (Condition("above", "30", "C"), Rule("above", "temperature", Decimal(30), Decimal("0.5"))),
        (Condition("below", "303.15", "K", "2"), Rule("below", "temperature", Decimal("30.00"), Decimal(2))),
        (
            Condition("rate", "9", "°F", within_ms=3_600_000, direction="up"),
            Rule("rate", "temperature", Decimal(5), Decimal("1.25"), 3_600_000, "up"),
        ),
    ],
)
def test_thresholds_are_in_the_units_that_people_write(condition: Condition, expected: Rule) -> None:
    assert rule_for(devices(("Heater", "heater"))[0], "temperature", condition) == expected


def test_alerts_that_make_no_sense_say_why() -> None:
    heater = devices(("Heater", "heater"))[0]
    assert "cannot make kg of that" in str(rule_for(heater, "temperature", Condition("above", "3", "kg")))
    assert "is no number" in str(rule_for(heater, "open", Condition("above", "3")))
    assert "is a number" in str(rule_for(heater, "temperature", Condition("is", "true")))
    assert rule_for(heater, "humidity", Condition("above", "3")) == ""
    assert rule_for(heater, "", Condition("battery")) == Rule("battery", "battery", Decimal(15), Decimal(10))


def test_every_device_has_alerts_for_silence_and_its_clock() -> None:
    for profile in load_profiles().values():
        kinds = [rule.kind for rule, on in presets(profile).values() if on]
        assert "clock" in kinds
        assert any(rule.kind == "silence" for rule, _ in presets(profile).values())


def here(*named: tuple[str, str]) -> Where:
    return Where("!r:x", "$e", "@p:x", None, devices(*named))


@pytest.mark.parametrize(
    ("targets", "value", "meant"),
    [
        (Targets((1,)), "on", ("Boiler", "relay")),
        (Targets((1,)), "21.5", ("Boiler", "target")),
        (Targets((1,)), "Eco", ("Boiler", "mode")),
        (Targets((), (), ("mode",)), "comfort", ("Boiler", "mode")),
        (Targets((1,)), "21.3", None),
        (Targets((1,), (), ("target",)), "99", ("Boiler", "target")),
        (Targets((2,)), "on", None),
    ],
)
def test_which_actuator_is_meant(targets: Targets, value: str, meant: tuple[str, str] | None) -> None:
    found = actuator_meant(Actuate(targets, value), here(("Boiler", "heater"), ("Cellar", "soil")))
    if meant is None:
        assert isinstance(found, str)
    else:
        assert not isinstance(found, str)
        assert (found[0].row.name, found[1].name) == meant


def test_names_of_devices_are_words_of_the_language() -> None:
    words = vocabulary_of(devices(("Living room sensor", "climate"), ("Deep freezer", "climate"), ("Attic", "heater")))
    assert parse("freezer?", words) == Latest(Targets((2,)))
    assert parse("rename living to Salon", words) == Rename((1,), "Salon")
    assert parse("attic eco", words) == Actuate(Targets((3,)), "eco")
    assert parse("alert when window is open", words) == AddAlert(Targets((), ("open",)), Condition("is", "true"))


def test_a_vocabulary_of_a_thousand_devices_is_no_burden() -> None:
    import time

    many = vocabulary_of(devices(*((f"Sensor {number} hall {number % 50}", "climate") for number in range(1000))))
    began = time.process_time()
    parse("snesor 17 hall 3 temprature", many)
    assert time.process_time() - began < 2


def state(type_: str, key: str, content: dict[str, Any], sender: str = "@maker:x") -> dict[str, Any]:
    return {"type": type_, "state_key": key, "content": content, "sender": sender}


def test_levels_of_rooms_old_and_new() -> None:
    levels = state("m.room.power_levels", "", {"users": {"@a:x": 50, "@odd:x": "50"}, "state_default": 40})
    members = [state("m.room.member", "@a:x", {"membership": "join"}), state("m.room.member", "@b:x", {})]
    create = state("m.room.create", "", {"room_version": "12", "additional_creators": ["@co:x", 7]})
    inside, found = read_levels([levels, create, *members])
    assert inside == {"@a:x"}
    assert (found.of("@a:x"), found.of("@odd:x"), found.state_default) == (50, 0, 40)
    assert found.of("@maker:x") > 100 and found.of("@co:x") > 100
    _, old = read_levels([levels, state("m.room.create", "", {"room_version": "11"})])
    assert old.of("@maker:x") == 0


anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
odd_state = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["m.room.member", "m.room.power_levels", "m.room.create"]) | anything,
        "state_key": st.just("") | anything,
        "content": st.dictionaries(
            st.sampled_from(["users", "state_default", "membership", "room_version", "additional_creators"]), anything
        )
        | anything,
        "sender": anything,
    }
)


@given(st.lists(odd_state, max_size=6))
def test_no_state_hurts(events: list[dict[str, Any]]) -> None:
    _, levels = read_levels(events)
    assert isinstance(levels.of("@a:x"), int)


def test_contents_of_messages() -> None:
    content = json.loads(message_content("x" * 50_000, "y" * 90_000, "$e", "$t"))
    assert len(content["body"]) == 16_000 and "formatted_body" not in content
    assert content["m.relates_to"]["rel_type"] == "m.thread"
    assert content["m.mentions"] == {}
    picture = Attachment(b"png", "image/png", "a.png", "A chart", (10, 20))
    content = json.loads(attachment_content(picture, "mxc://x/y", "", ""))
    assert content["info"] == {"mimetype": "image/png", "size": 3, "w": 10, "h": 20}
    assert with_code("a `b<c` d") == "a <code>b&lt;c</code> d"


def test_the_qr_code_is_a_picture() -> None:
    picture = qr_picture("1234 " * 8)
    assert picture.data.startswith(b"\x89PNG") and picture.size is not None and picture.size[0] > 200


@pytest.mark.parametrize("days", [0.01, 1, 7, 30, 365])
def test_a_table_has_few_lines(days: float) -> None:
    sizes = {"5min": 300, "15min": 900, "hour": 3600, "6hours": 21_600, "day": 86_400, "week": 604_800}
    step = step_for(int(days * 86_400_000))
    assert step == "month" or days * 86_400 / sizes[step] <= MAX_LINES


async def test_requests_that_waited_before_the_upgrade_still_wait(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    before = [migration for migration in MIGRATIONS if migration.name == "0001_gateway"]
    database = await Database.open(path, before)
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO devices VALUES (1, x'01', x'', x'', x'', 'K', 'Kitchen', 'climate', 'active', 0)"
        )
        connection.execute("INSERT INTO arrivals VALUES (1, 9, 9)")
        connection.execute("INSERT INTO rooms VALUES ('Kitchen', '!k:x', 1)")
        connection.execute(
            "INSERT INTO outbox VALUES (7, 'txn', 'Kitchen', 1, 't', NULL, '{}', 5, 1, 2, 1, 2, NULL),"
            " (8, 'parked', 'Kitchen', 1, 't', 'k', '{}', 5, NULL, NULL, NULL, NULL, 'why')"
        )
    connection.close()
    database = await Database.open(path, MIGRATIONS)
    try:
        head = database.read(lambda c: outbox.head(c, "Kitchen", 0))
        assert head is not None
        assert (head.id, head.txn_id, head.device, head.sender, head.room_id) == (7, "txn", 1, "ghost", None)
        assert database.read(outbox.sizes) == (1, 1)
        progress = database.read(lambda c: c.execute("SELECT examined FROM alert_progress").fetchone()[0])
        assert progress == 9, "what is old is no news"
    finally:
        await database.close()
