"""The bot's language: what people write, in a table, and what no text can do to the parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.language import is_plain_question, parse, without_address
from thingroom_gateway.bot.requests import Condition, Span, Targets, Unclear
from thingroom_gateway.bot.vocabulary import Vocabulary, nearest, slips

HOUR, DAY = 3_600_000, 86_400_000
KITCHEN, LAMP, FREEZER, HEATER = 1, 2, 3, 4
WORDS = Vocabulary(
    devices={
        ("kitchen",): (KITCHEN,),
        ("lamp",): (LAMP,),
        ("deep", "freezer"): (FREEZER,),
        ("freezer",): (FREEZER,),
        ("heater",): (HEATER,),
    },
    quantities={
        ("temperature",): "temperature",
        ("humidity",): "humidity",
        ("battery",): "battery",
        ("window",): "open",
        ("leak",): "leak",
    },
    actuators={("lamp",): "lamp", ("target",): "target", ("mode",): "mode"},
    places={("kitchen",): "Kitchen", ("living", "room"): "Living room"},
    states={("open",): "true", ("closed",): "false", ("wet",): "true"},
    options=frozenset({("eco",), ("full", "power")}),
    presets=frozenset({"frost"}),
)
T = Targets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("help", r.Help()),
        ("?", r.Help()),
        ("Help alerts!", r.Help("alerts")),
        ("Hello", r.Hello()),
        ("devices", r.Devices()),
        ("which sensors are in the kitchen", r.Devices(T((KITCHEN,)))),
        ("list the devices", r.Devices()),
        ("kitchen?", r.Latest(T((KITCHEN,)))),
        ("Kitchen", r.Latest(T((KITCHEN,)))),
        ("temperature", r.Latest(T((), ("temperature",)))),
        ("How warm is it in the kitchen?", r.Latest(T((KITCHEN,), ("temperature",)))),
        ("what's the humidity in the living room", r.Latest(T((), ("humidity",), (), ("Living room",)))),
        ("is the lamp on?", r.Latest(T((LAMP,), (), ("lamp",)))),
        ("status", r.Latest()),
        ("deep freezer temp", r.Latest(T((FREEZER,), ("temperature",)))),
        ("temperature yesterday", r.History(T((), ("temperature",)), Span(0, "yesterday"))),
        ("history kitchen humidity 7 days", r.History(T((KITCHEN,), ("humidity",)), Span(7 * DAY))),
        ("chart temperature 24h", r.Chart(T((), ("temperature",)), Span(DAY))),
        ("plot the kitchen temperature and humidity of the last week",
         r.Chart(T((KITCHEN,), ("temperature", "humidity")), Span(7 * DAY))),
        ("Chart", r.Chart(T(), Span(DAY))),
        ("chart temperature 1.5h", r.Chart(T((), ("temperature",)), Span(HOUR * 3 // 2))),
        ("export freezer 30d", r.Export(T((FREEZER,)), Span(30 * DAY))),
        ("pair", r.Pair(10)),
        ("pair a new device 5 min", r.Pair(5)),
        ("stop pairing", r.EndPairing()),
        ("pairing off", r.EndPairing()),
        ("move kitchen to the Winter Garden", r.Move((KITCHEN,), "Winter Garden")),
        ("put the lamp in Bedroom", r.Move((LAMP,), "Bedroom")),
        ("rename the deep freezer to “Ice Box 3”", r.Rename((FREEZER,), "Ice Box 3")),
        ("rename kitchen to Küche", r.Rename((KITCHEN,), "Küche")),
        ("revoke lamp", r.Revoke((LAMP,))),
        ("remove the lamp", r.Revoke((LAMP,))),
        ("replace kitchen with lamp", r.Replace((KITCHEN,), (LAMP,))),
        ("alert when temperature above 30", r.AddAlert(T((), ("temperature",)), Condition("above", "30"))),
        ("alert me if the kitchen's temperature goes over 30,5°C",
         r.AddAlert(T((KITCHEN,), ("temperature",)), Condition("above", "30.5", "°C"))),
        ("tell me when humidity is less than 30 % in the kitchen",
         r.AddAlert(T((KITCHEN,), ("humidity",)), Condition("below", "30", "%"))),
        ("alert freezer temperature > -15 hysteresis 2",
         r.AddAlert(T((FREEZER,), ("temperature",)), Condition("above", "-15", "", "2"))),
        ("alert when temperature rises above 30", r.AddAlert(T((), ("temperature",)), Condition("above", "30"))),
        ("alert when temperature falls by 5 °C in 1h",
         r.AddAlert(T((), ("temperature",)), Condition("rate", "5", "°C", within_ms=HOUR, direction="down"))),
        ("alert when kitchen temperature changes more than 3 within 30 minutes",
         r.AddAlert(T((KITCHEN,), ("temperature",)), Condition("rate", "3", within_ms=HOUR // 2))),
        ("alert when kitchen is silent for 2h", r.AddAlert(T((KITCHEN,)), Condition("silence", within_ms=2 * HOUR))),
        ("alert offline", r.AddAlert(T(), Condition("silence"))),
        ("alert when the battery is low", r.AddAlert(T(), Condition("battery"))),
        ("alert when the window is open", r.AddAlert(T((), ("open",)), Condition("is", "true"))),
        ("alert when the window is closed", r.AddAlert(T((), ("open",)), Condition("is", "false"))),
        ("warn me of a leak", r.AddAlert(T((), ("leak",)), Condition("is", "true"))),
        ("alert frost off", r.SetPreset("frost", False)),
        ("alert frost on kitchen", r.SetPreset("frost", True, T((KITCHEN,)))),
        ("alerts", r.ListAlerts()),
        ("list alerts", r.ListAlerts()),
        ("remove alert 3", r.RemoveAlert(3)),
        ("alert remove 3", r.RemoveAlert(3)),
        ("snooze 3 2h", r.Snooze(3, 2 * HOUR)),
        ("snooze", r.Snooze()),
        ("quiet hours from 22:00 to 7:30", r.SetQuiet(22 * 60, 7 * 60 + 30)),
        ("quiet 22-7", r.SetQuiet(22 * 60, 7 * 60)),
        ("quiet 10 pm to 7 am", r.SetQuiet(22 * 60, 7 * 60)),
        ("quiet off", r.EndQuiet()),
        ("quiet hours", r.ShowQuiet()),
        ("lamp on", r.Actuate(T((LAMP,), (), ("lamp",)), "on")),
        ("turn off the lamp", r.Actuate(T((LAMP,), (), ("lamp",)), "off")),
        ("set heater 21", r.Actuate(T((HEATER,)), "21")),
        ("set heater to 21.5 °C", r.Actuate(T((HEATER,)), "21.5")),
        ("heater 21", r.Actuate(T((HEATER,)), "21")),
        ("heater mode full power", r.Actuate(T((HEATER,), (), ("mode",)), "full power")),
        ("set heater mode to Something Else", r.Actuate(T((HEATER,), (), ("mode",)), "Something Else")),
        ("yes", r.Yes()),
        ("No.", r.No()),
        ("what can you do?", r.Help()),
        ("who are you", r.Help()),
        ("thank you very much", r.Hello(thanks=True)),
        ("is everything ok?", r.Latest()),
        ("show me everything", r.Latest()),
        ("which sensors do I have", r.Devices()),
        ("when did you last hear from the kitchen?", r.Devices(T((KITCHEN,)))),
        ("is the freezer online?", r.Devices(T((FREEZER,)))),
        ("chart humidity since yesterday", r.Chart(T((), ("humidity",)), Span(0, "since yesterday"))),
        ("export everything as csv", r.Export(T())),
        ("alert me if it gets warmer than 25 degrees in the kitchen",
         r.AddAlert(T((KITCHEN,), ("temperature",)), Condition("above", "25", "degrees"))),
        ("tell me when there is frost", r.SetPreset("frost", True)),
        ("add a new sensor", r.Pair(10)),
        ("stop alert 3", r.RemoveAlert(3)),
        ("stop quiet hours", r.EndQuiet()),
        ("live on", r.SetLive(True)),
        ("live kitchen off", r.SetLive(False, T((KITCHEN,)))),
        ("one message per device please", r.SetLive(True)),
        ("live", r.ShowLive()),
        ("SWITCH THE LAMP ON, please!", r.Actuate(T((LAMP,), (), ("lamp",)), "on")),
        ("lamp ausschalten", r.Actuate(T((LAMP,), (), ("lamp",)), "off")),
        ("heater 21,5", r.Actuate(T((HEATER,)), "21.5")),
        ("set the heater to 21°", r.Actuate(T((HEATER,)), "21")),
        ("heater 21 degrees", r.Actuate(T((HEATER,)), "21")),
        ("heater 70 F", r.Actuate(T((HEATER,)), "70 F")),
        ("turn off the radio", r.Actuate(T(), "off", "radio")),
        ("radio on", r.Actuate(T(), "on", "radio")),
        ("set the ceiling light to 50 %", r.Actuate(T(), "50", "ceiling light")),
        ("boiler 60", r.Actuate(T(), "60", "boiler")),
        ("kitchen thing please", r.Latest(T((KITCHEN,)))),
        ("kitchen is a mess today", r.History(T((KITCHEN,)), Span(0, "today"))),
    ],
)  # fmt: skip
def test_what_people_write(text: str, expected: r.Request | None) -> None:
    found = parse(text, WORDS)
    if expected is None:
        assert isinstance(found, Unclear)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("tempratur", "temperature"),
        ("chrat temperatrue 24h", "chart temperature 24h"),
        ("kitchn?", "kitchen?"),
        ("lmap on", "lamp on"),
        ("alret when humidty above 60", "alert when humidity above 60"),
        ("revok lamp", "revoke lamp"),
    ],
)
def test_slips_are_suggested_and_not_done(text: str, suggestion: str) -> None:
    found = parse(text, WORDS)
    assert isinstance(found, Unclear)
    assert found.suggestion == suggestion


@pytest.mark.parametrize(
    "text",
    ["the weather is nice", "what is it", "1", "chart of accounts", "on", "set", "alert",
     "quiet 25:00 to 3", "quiet 7 to 7", "snooze 1 2 3", "move kitchen", "lamp and heater",
     "remove alert", "alert temperature above", "alert above 30"],
)  # fmt: skip
def test_what_is_no_command(text: str) -> None:
    found = parse(text, WORDS)
    assert isinstance(found, Unclear | r.Latest | r.ListAlerts), found
    if isinstance(found, r.Latest):
        assert text in ("lamp and heater",)


def test_a_vague_alert_is_told_how() -> None:
    found = parse("alert when something happens", WORDS)
    assert isinstance(found, Unclear)
    assert "alert when temperature above 30" in found.why


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("kitchen?", True),
        ("Deep Freezer temperature ?", True),
        ("kitchen", False),
        ("is anybody in the kitchen?", False),
        ("?", False),
        ("lunch?", False),
    ],
)
def test_a_plain_question_needs_no_address(text: str, plain: bool) -> None:
    assert is_plain_question(text, WORDS) is plain


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("!chart", "chart"),
        ("! chart", "chart"),
        ("Thingroom: lamp on", "lamp on"),
        ("thingroom, help", "help"),
        ("@thingroom:home.test help", "help"),
        ("thingrooms are nice", None),
        ("lamp on", None),
        ("", None),
    ],
)
def test_who_is_addressed(text: str, rest: str | None) -> None:
    assert without_address(text, ["thingroom", "@thingroom", "@thingroom:home.test"]) == rest


VERBS = ["alert", "chart", "quiet", "set", "rename", "move", "replace", "history", "snooze", "pair", "when", "above"]
PIECES = st.sampled_from(
    [*VERBS, "kitchen", "temperature", "lamp", "30", "-3,5", "°C", "24h", "to", "in", "on", "off", "22:00", "yesterday",
     "rises", "by", "is", "open", "silent", "frost", "99999999999999999999999", "١٢", "²", "µg/m³", "?", "\x00", "’"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=14).map(" ".join)))
def test_no_text_hurts(text: str) -> None:
    found = parse(text, WORDS)
    if isinstance(found, Unclear) and found.suggestion:
        assert not isinstance(parse(found.suggestion, WORDS), Unclear), "a suggestion is something that works"
    is_plain_question(text, WORDS)
    without_address(text, ["thingroom"])


@given(st.lists(PIECES, max_size=14).map(" ".join))
def test_case_and_spaces_do_not_matter(text: str) -> None:
    found = parse(text, WORDS)
    again = parse(f"  {text.upper().replace(' ', '   ')} ", WORDS)
    if not isinstance(found, Unclear | r.Rename | r.Move | r.Actuate | r.AddAlert):
        assert again == found


def test_a_huge_text_is_refused_at_once() -> None:
    found = parse("kitchn " * 100_000, WORDS)
    assert isinstance(found, Unclear) and not found.suggestion


@given(st.text("abcd", max_size=7), st.text("abcd", max_size=7))
def test_slips_count_both_ways_alike(first: str, second: str) -> None:
    assert slips(first, second, 3) == slips(second, first, 3)
    assert slips(first, first, 0) == 0


def test_the_nearest_word() -> None:
    assert nearest("kitchne", ["kitchen", "kitten"]) == "kitchen"
    assert nearest("qqqqq", ["kitchen"]) is None
