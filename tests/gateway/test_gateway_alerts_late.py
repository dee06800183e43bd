"""Readings of a device that was away: never an alarm for the present, told once and as past."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.bot_home import BotHome, person, running_gateway_here, running_homeserver_for_gateway
from tests.gateway.gateway_support import Thing
from tests.gateway.test_gateway_alerts import is_alert
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.alerts.late import SETTLED_MS, STRETCHES_TOLD
from thingroom_gateway.alerts.rules import Ended, Event, Missed, Raised, Rule, Sample, State, Tick, step
from thingroom_gateway.alerts.texts import event_text, missed_text
from thingroom_gateway.profiles import load_profiles
from thingroom_gateway.storage import alerts as store

PROFILE = load_profiles()["climate"]
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR = 60_000, 3_600_000
MIDNIGHT = 1_782_770_400_000  # 2026-06-30 00:00 in Berlin
NOW = MIDNIGHT + 12 * HOUR
ABOVE = Rule("above", "temperature", Decimal(30), Decimal(2))


class Ruled:
    """A rule at work on readings at hours of the day; late ones come at NOW."""

    def __init__(self, rule: Rule = ABOVE) -> None:
        self.rule = rule
        self.state = State()
        self.said: list[Event] = []

    def _step(self, seen: Sample | Tick) -> None:
        self.state, event = step(self.rule, self.state, seen)
        if event is not None:
            self.said.append(event)

    def late(self, *values: tuple[float, str]) -> Ruled:
        for hour, value in values:
            self._step(Sample(MIDNIGHT + round(hour * HOUR), NOW, value))
        return self

    def now(self, hour: float, value: str) -> Ruled:
        ts = MIDNIGHT + round(hour * HOUR)
        self._step(Sample(ts, ts, value))
        return self

    def settle(self, later: int = 0) -> Ruled:
        self._step(Tick(NOW + SETTLED_MS + later, NOW))
        return self

    def texts(self) -> list[str]:
        found = []
        for event in self.said:
            if isinstance(event, Missed):
                found.append(missed_text("Kitchen", [(PROFILE, self.rule, event)], BERLIN, NOW))
            else:
                found.append(event_text("Kitchen", PROFILE, self.rule, event, BERLIN))
        return found


def test_a_summary_once_and_nothing_before_all_is_here() -> None:
    ruled = Ruled().now(2, "25").late((3, "29"), (3.5, "31"), (4, "31.5"), (5, "29"), (5.5, "28"), (6, "25"))
    assert ruled.said == []
    ruled.now(12, "25")
    assert ruled.said == []
    ruled.settle().settle(HOUR)
    assert ruled.texts() == [
        "📋 Kitchen, while it was away: Temperature was above 30 °C from 03:30 to 05:30 (31.5 °C at most)."
    ]
    assert ruled.state == State(last=NOW)


def test_nothing_is_told_of_a_backlog_without_anything_in_it() -> None:
    assert Ruled().late((1, "20"), (2, "30"), (3, "29")).now(12, "25").settle().said == []


def test_what_goes_on_in_the_present_is_an_alert_with_its_beginning() -> None:
    ruled = Ruled().late((1, "31"), (2, "25"), (9, "33"), (10, "32")).now(12, "31").settle()
    assert ruled.texts() == [
        "⚠️ Kitchen: Temperature is 31.0 °C, above 30 °C since 09:00.",
        "📋 Kitchen, while it was away: Temperature was above 30 °C from 01:00 to 02:00 (31.0 °C at most).",
    ]
    ruled.now(13, "27")
    assert ruled.texts()[-1] == "✅ Kitchen: Temperature is 27.0 °C again, after 4 h (it was 33.0 °C at most)."


def test_the_end_of_an_alert_that_was_told_comes_late_with_its_time() -> None:
    ruled = Ruled().now(1, "31").late((2, "32"), (3, "27"), (5, "31"), (6, "26")).now(12, "25").settle()
    assert ruled.texts() == [
        "⚠️ Kitchen: Temperature is 31.0 °C, above 30 °C.",
        "✅ Kitchen: Temperature was 27.0 °C again at 2026-06-30 03:00, after 2 h (it was 32.0 °C at most).",
        "📋 Kitchen, while it was away: Temperature was above 30 °C from 05:00 to 06:00 (31.0 °C at most).",
    ]


def test_an_alert_that_was_told_and_goes_on_is_not_told_again() -> None:
    ruled = Ruled().now(1, "31").late((2, "32"), (3, "33")).now(12, "31").settle().now(12.5, "27")
    assert [type(event) for event in ruled.said] == [Raised, Ended]
    assert ruled.said[1].worst == Decimal(33)  # type: ignore[union-attr]


def test_a_device_that_leaves_again_had_a_last_word() -> None:
    assert Ruled().late((3, "31"), (4, "34")).settle().texts() == [
        "📋 Kitchen, while it was away: Temperature was above 30 °C from 03:00 until its last word at 04:00"
        " (34.0 °C at most)."
    ]
    assert Ruled().late((-20, "31")).settle().texts() == [
        "📋 Kitchen, while it was away: Temperature was above 30 °C at 2026-06-29 04:00, its last word"
        " (31.0 °C at most)."
    ]


def test_the_present_is_known_better_than_what_comes_after_it() -> None:
    """Fresh readings first, then the backlog: a stretch before a fresh normal reading does not join the present."""
    ruled = Ruled().now(12, "25").late((3, "31"), (4, "32")).now(12.1, "31").settle()
    assert ruled.texts() == [
        "⚠️ Kitchen: Temperature is 31.0 °C, above 30 °C.",
        "📋 Kitchen, while it was away: Temperature was above 30 °C from 03:00 until its last word at 04:00"
        " (32.0 °C at most).",
    ]


def test_many_stretches_are_counted_and_the_state_stays_small() -> None:
    ruled = Ruled()
    for number in range(200):
        ruled.late((number / 40, "31"), (number / 40 + 0.01, "20"))
    assert len(msgspec.json.encode(ruled.state)) < 2000
    [text] = ruled.settle().texts()
    assert f"and {200 - STRETCHES_TOLD} times more" in text
    below = Ruled(Rule("below", "temperature", Decimal(5), Decimal(1))).late((1, "4"), (2, "3"), (3, "7")).settle()
    assert below.texts() == [
        "📋 Kitchen, while it was away: Temperature was below 5 °C from 01:00 to 03:00 (3.0 °C at least)."
    ]


def test_a_state_is_told_in_its_own_words() -> None:
    profile = load_profiles()["door"]
    rule = Rule("is", "open", Decimal(1))
    state, event = State(), None
    for hour, value in ((1, "true"), (2, "false")):
        state, event = step(rule, state, Sample(MIDNIGHT + hour * HOUR, NOW, value))
        assert event is None
    state, event = step(rule, state, Tick(NOW + SETTLED_MS, NOW))
    assert isinstance(event, Missed)
    text = missed_text("Door", [(profile, rule, event), (profile, rule, event)], BERLIN, NOW)
    quantity = profile.quantities["open"]
    line = f"• {quantity.title} was {quantity.words['true']} from 01:00 to 02:00"
    assert text == f"📋 Door, while it was away:\n{line}\n{line}"


@given(st.lists(st.tuples(st.integers(0, 11 * 60), st.sampled_from(["20", "29", "31", "40"])), max_size=60))
def test_stretches_do_not_overlap_and_lie_in_the_past(readings: list[tuple[int, str]]) -> None:
    ruled = Ruled()
    for minute, value in readings:
        ruled.late((minute / 60, value))
    ruled.settle()
    assert all(isinstance(event, Missed) for event in ruled.said) and len(ruled.said) <= 1
    at = 0
    for event in ruled.said:
        assert isinstance(event, Missed)
        for stretch in event.stretches:
            assert at <= stretch.since <= stretch.until < NOW and stretch.worst > 30
            at = stretch.until


async def examined(home: BotHome, arrival: int) -> None:
    """Wait until the readings up to `arrival` of the only device went through its rules."""

    async def saved() -> dict[int, int]:
        await home.gateway.alerts.save()
        return home.gateway.core.database.read(store.progress)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while (await saved()).get(1) != arrival:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_day_offline_in_the_room_also_over_a_restart(tmp_path: Path) -> None:
    kitchen = Thing(1, "Kitchen")
    async with running_homeserver_for_gateway(tmp_path) as (server, config), person(server, "owner") as owner:
        async with running_gateway_here(server, config) as home:
            await home.enrol(kitchen)
            await home.reading(kitchen, 214, 25 * HOUR)
            room = await owner.room("Kitchen")
            await owner.ask(room, "!alert when temperature above 30")
            await owner.ask(room, "!alert when humidity above 45")
            for hours, tenths in ((24, 310), (23, 315), (22, 250), (3, 250)):
                await home.reading(kitchen, tenths, hours * HOUR)
            await examined(home, 5)
        async with running_gateway_here(server, config) as home:
            await home.reading(kitchen, 250)
            await examined(home, 6)
            now = time.time_ns() // 1_000_000
            await home.gateway.alerts.tick(now + SETTLED_MS)
            await home.gateway.alerts.tick(now + 2 * SETTLED_MS)
            told = await owner.until(room, lambda e: is_alert(e) and e["content"]["body"].startswith("📋"))
            text = told["content"]["body"]
            assert text.startswith("📋 Kitchen, while it was away: Temperature was above 30 °C from "), text
            assert text.endswith("(31.5 °C at most).")
            assert told["content"]["m.mentions"] == {"user_ids": [owner.user_id]}
            assert told["content"]["org.thingroom.alert"]["state"] == "missed"
            await owner.silent(room)
            said = [e["content"]["body"] for where, e in owner.seen if where == room and is_alert(e)]
            assert sorted(text[0] for text in said) == ["⚠", "📋"], said
            humid = next(text for text in said if text[0] == "⚠")
            assert humid.startswith("⚠️ Kitchen: Humidity is 45.2 %, above 45 % since 20"), humid
