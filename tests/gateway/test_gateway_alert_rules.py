"""Alert rules, pure: once per crossing, hysteresis, rates, silence, late readings, wrong clocks."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_gateway.alerts.rules import (
    AHEAD_MS,
    LATE_MS,
    STRETCHES,
    Ended,
    Event,
    Heard,
    Missed,
    Raised,
    Rule,
    Sample,
    State,
    Tick,
    step,
)
from thingroom_gateway.alerts.telling import within_hours

START = 1_760_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
ABOVE = Rule("above", "temperature", Decimal(30), Decimal(2))


def run(rule: Rule, values: list[tuple[int, str]], late: int = 0) -> list[tuple[int, Event]]:
    """What is said about values at minutes; each arrives `late` ms after it was read."""
    state, said = State(), []
    for minute, value in values:
        ts = START + minute * MINUTE
        state, event = step(rule, state, Sample(ts, ts + late, value))
        if event is not None:
            said.append((minute, event))
    return said


def test_a_threshold_is_told_once_per_crossing_and_over_after_the_hysteresis() -> None:
    said = run(ABOVE, [(0, "29"), (1, "30"), (2, "30.1"), (3, "33"), (4, "29"), (5, "30.5"), (6, "28"), (7, "31")])
    assert [(minute, type(event)) for minute, event in said] == [(2, Raised), (6, Ended), (7, Raised)]
    ended = said[1][1]
    assert isinstance(ended, Ended)
    assert (ended.since, ended.worst, ended.value) == (START + 2 * MINUTE, Decimal(33), Decimal(28))


def test_below_and_battery_come_back_above() -> None:
    for kind in ("below", "battery"):
        rule = Rule(kind, "voltage", Decimal("2.9"), Decimal("0.1"))  # type: ignore[arg-type]
        said = run(rule, [(0, "3.0"), (1, "2.89"), (2, "2.95"), (3, "2.7"), (4, "3.0")])
        assert [(minute, type(event)) for minute, event in said] == [(1, Raised), (4, Ended)]
        assert said[1][1].worst == Decimal("2.7")  # type: ignore[union-attr]


def test_a_truth_value() -> None:
    said = run(Rule("is", "leak", Decimal(1)), [(0, "false"), (1, "true"), (2, "true"), (3, "false")])
    assert [(minute, type(event)) for minute, event in said] == [(1, Raised), (3, Ended)]


@pytest.mark.parametrize(
    ("direction", "values", "raised"),
    [
        ("up", ["20", "21", "25"], True),
        ("up", ["25", "21", "20"], False),
        ("down", ["25", "21", "20"], True),
        ("either", ["25", "21", "20"], True),
        ("either", ["20", "25", "20"], True),
        ("either", ["20", "24", "20"], False),
    ],
)
def test_a_rate(direction: str, values: list[str], raised: bool) -> None:
    rule = Rule("rate", "t", Decimal(5), Decimal(1), HOUR, direction)  # type: ignore[arg-type]
    said = run(rule, [(10 * index, value) for index, value in enumerate(values)])
    assert bool(said) is raised


def test_a_rate_looks_back_so_far_and_is_over_when_it_is_steady() -> None:
    rule = Rule("rate", "t", Decimal(5), Decimal(1), HOUR)
    slowly = [(10 * index, str(20 + index * Decimal("0.5"))) for index in range(60)]
    assert run(rule, slowly) == []
    said = run(rule, [(0, "20"), (10, "26"), (20, "26"), (30, "26"), (75, "26"), (90, "26")])
    assert [(minute, type(event)) for minute, event in said] == [(10, Raised), (75, Ended)]
    assert said[0][1].change == Decimal(6)  # type: ignore[union-attr]


@given(st.lists(st.integers(0, 100), max_size=300), st.integers(1, 50))
def test_a_rates_memory_is_bounded(values: list[int], seconds: int) -> None:
    rule, state = Rule("rate", "t", Decimal(50), Decimal(1), HOUR), State()
    for index, value in enumerate(values):
        ts = START + index * seconds * 1000
        state, _ = step(rule, state, Sample(ts, ts, str(value)))
        assert len(state.window) <= STRETCHES + 2


def test_what_comes_late_never_alarms_for_the_present() -> None:
    assert run(ABOVE, [(0, "40"), (1, "41")], late=LATE_MS + 1) == []
    assert len(run(ABOVE, [(0, "40"), (1, "41")], late=LATE_MS)) == 1


def test_a_backlog_between_present_readings_changes_nothing() -> None:
    state, event = step(ABOVE, State(), Sample(START, START, "31"))
    assert isinstance(event, Raised)
    for minutes in (1200, 600, 60, 1):
        after, event = step(ABOVE, state, Sample(START - minutes * MINUTE, START + 1, "10"))
        assert event is None and msgspec.structs.replace(after, late=None) == state


def test_silence_and_a_word() -> None:
    rule = Rule("silence", within_ms=HOUR)
    state, event = step(rule, State(), Tick(START + HOUR - 1, START))
    assert event is None
    state, event = step(rule, state, Tick(START + HOUR, START))
    assert event == Raised(START)
    state, event = step(rule, state, Tick(START + 2 * HOUR, START))
    assert event is None
    again, event = step(rule, state, Heard(START))
    assert event is None, "read once more after a crash, this is no news"
    state, event = step(rule, again, Heard(START + 3 * HOUR))
    assert event == Ended(START + 3 * HOUR, START)


def test_a_clock_that_runs_ahead_is_told_and_its_readings_count_as_of_now() -> None:
    rule, state = Rule("clock"), State()
    state, event = step(rule, state, Sample(START + AHEAD_MS + 1, START, "0"))
    assert isinstance(event, Raised) and event.value == AHEAD_MS + 1
    state, event = step(rule, state, Sample(START + HOUR, START, "0"))
    assert event is None
    state, event = step(rule, state, Sample(START, START, "0", "unset"))
    assert event is None
    state, event = step(rule, state, Sample(START, START, "0"))
    assert isinstance(event, Ended)
    _, event = step(ABOVE, State(), Sample(START + HOUR, START, "31"))
    assert isinstance(event, Raised) and event.ts == START


RULES = st.builds(
    Rule,
    st.sampled_from(["above", "below", "rate", "silence", "battery", "is", "clock"]),
    st.just("q"),
    st.decimals(-50, 50, places=1),
    st.decimals(0, 10, places=1),
    st.integers(1, 10 * HOUR),
    st.sampled_from(["up", "down", "either"]),
)
TIMES = st.integers(START - 2 * HOUR, START + 2 * HOUR)
SEEN = st.one_of(
    st.builds(Sample, TIMES, TIMES, st.sampled_from(["-60", "0", "1.5", "49.9", "true", "false", "x", "NaN", "1e400"])),
    st.builds(Heard, TIMES),
    st.builds(Tick, TIMES, TIMES),
)


@given(RULES, st.lists(SEEN, max_size=60))
def test_begin_and_end_alternate_and_states_survive_storage(rule: Rule, seen: list[Sample | Heard | Tick]) -> None:
    state, raised = State(), False
    for one in seen:
        state, event = step(rule, state, one)
        if event is not None and not isinstance(event, Missed):
            assert isinstance(event, Ended) is raised
            raised = not raised
        assert state.raised is raised
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule


@given(RULES, st.lists(SEEN, max_size=40), st.integers(0, 40))
def test_reading_the_same_again_says_the_same(rule: Rule, seen: list[Sample | Heard | Tick], at: int) -> None:
    """A crash goes back to a saved state and reads on from there."""

    def said(state: State, some: list[Sample | Heard | Tick]) -> list[Event]:
        found = []
        for one in some:
            state, event = step(rule, state, one)
            found += [event] if event is not None else []
        return found

    state = State()
    for one in seen[:at]:
        state, _ = step(rule, state, one)
    saved = msgspec.json.decode(msgspec.json.encode(state), type=State)
    assert said(saved, seen[at:]) == said(state, seen[at:])


@pytest.mark.parametrize(
    ("minute", "first", "last", "quiet"),
    [(1380, 1320, 420, True), (60, 1320, 420, True), (420, 1320, 420, False), (720, 1320, 420, False),
     (780, 720, 840, True), (840, 720, 840, False), (0, 0, 1, True)],
)  # fmt: skip
def test_hours_across_midnight(minute: int, first: int, last: int, quiet: bool) -> None:
    assert within_hours(minute, first, last) is quiet
