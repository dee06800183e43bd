"""When an alert begins and when it is over: one rule, one state, one step at a time.

Pure; may import msgspec and late. engine.py feeds stored readings and the passing of time: the same input gives the
same alerts, also when it is read again after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from thingroom_gateway.alerts.late import SETTLED_MS, Late, Stretch, Worse, ended, with_reading, without_open

Kind = Literal["above", "below", "rate", "silence", "battery", "is", "clock"]
# A reading that was under way for longer says nothing about the present.
LATE_MS: Final = 15 * 60 * 1000
# A stamp further ahead than this is the fault of a clock.
AHEAD_MS: Final = 5 * 60 * 1000
# A rate's window is kept as so many stretches, each with its least and greatest value.
STRETCHES: Final = 60


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to watch. Numbers in the device's unit; `threshold` of "is": 1 for true, 0 for false.

    `within_ms`: of the change (rate) or of the silence. `text`: what a profile's maker wants said.
    """

    kind: Kind
    quantity: str = ""
    threshold: Decimal = Decimal(0)
    hysteresis: Decimal = Decimal(0)
    within_ms: int = 0
    direction: Literal["up", "down", "either"] = "either"
    text: str = ""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rule remembers. `since` and `last` are times of readings, Unix ms; `worst` is the most extreme value.

    `window`: for rates, (start, least, greatest) of each stretch. `late`: what is not told yet of readings that came
    late.
    """

    raised: bool = False
    since: int = 0
    last: int = 0
    worst: Decimal | None = None
    window: tuple[tuple[int, Decimal, Decimal], ...] = ()
    late: Late | None = None


class Sample(msgspec.Struct, frozen=True):
    """A stored reading of the rule's quantity: `ts` as stamped, `received` when it arrived, both Unix ms."""

    ts: int
    received: int
    value: str
    clock: str = ""


class Heard(msgspec.Struct, frozen=True):
    """The device said something, whatever and however late."""

    at: int


class Tick(msgspec.Struct, frozen=True):
    """It is `now`; the device was last heard, or could first have been, at `heard`."""

    now: int
    heard: int


class Raised(msgspec.Struct, frozen=True):
    """The alert begins. `value` is what did it: of a rate the value now, and `change` since it was otherwise.

    `since`: it was so before already, as readings told that came late (Unix ms; 0: it was not).
    """

    ts: int
    value: Decimal | None = None
    change: Decimal | None = None
    clock: str = ""
    since: int = 0


class Ended(msgspec.Struct, frozen=True):
    """The alert that began at `since` is over. `worst`: the most extreme value meanwhile.

    `late`: it was over at `ts`, and that is known only now.
    """

    ts: int
    since: int
    value: Decimal | None = None
    worst: Decimal | None = None
    late: bool = False


class Missed(msgspec.Struct, frozen=True):
    """What was not known while it was so: `stretches` beyond the threshold, and how many `more`."""

    ts: int
    stretches: tuple[Stretch, ...]
    more: int = 0


Event = Raised | Ended | Missed
_Stepped = tuple[State, Event | None]


def step(rule: Rule, state: State, seen: Sample | Heard | Tick) -> _Stepped:
    """The state after `seen`, and what it means."""
    if rule.kind == "silence":
        return _silence(rule, state, seen)
    if isinstance(seen, Tick):
        return _settle(state, seen.now)
    if not isinstance(seen, Sample):
        return state, None
    if rule.kind == "clock":
        return _clock(state, seen)
    value = _number(seen.value)
    if value is None:
        return state, None
    # It may be true, but it is not now.
    if seen.received - seen.ts > LATE_MS:
        return (state, None) if rule.kind == "rate" else _late(rule, state, seen, value)
    # Older than what was seen: the present is known better.
    if seen.ts < state.last:
        return state, None
    ts = min(seen.ts, seen.received)
    if rule.kind == "rate":
        return _rate(rule, state, ts, value, seen.clock)
    return _level(rule, state, ts, value, seen.clock)


def _beyond_and_back(rule: Rule, value: Decimal) -> tuple[bool, bool]:
    """Whether `value` begins an alert, and whether it ends one."""
    if rule.kind == "is":
        return value == rule.threshold, value != rule.threshold
    if rule.kind == "above":
        return value > rule.threshold, value <= rule.threshold - rule.hysteresis
    return value < rule.threshold, value >= rule.threshold + rule.hysteresis


def _worse(rule: Rule) -> Worse:
    return max if rule.kind == "above" else min


def _level(rule: Rule, state: State, ts: int, value: Decimal, clock: str) -> _Stepped:
    beyond, back = _beyond_and_back(rule, value)
    late = state.late
    if not state.raised:
        if not beyond:
            return replace(state, last=ts, late=late and ended(late, ts)), None
        # What came late joins the present where nothing better known lies between.
        since = late.since if late is not None and late.since > state.last else 0
        worst = _worse(rule)(late.worst, value) if since and late is not None and late.worst is not None else value
        if late is not None:
            late = without_open(late) if since else ended(late, late.last, cut=True)
        return State(True, since or ts, ts, worst, late=late), Raised(ts, value, clock=clock, since=since)
    worst = _worse(rule)(state.worst if state.worst is not None else value, value)
    if not back:
        return replace(state, last=ts, worst=worst), None
    return State(last=ts, late=late), Ended(ts, state.since, value, worst)


def _late(rule: Rule, state: State, seen: Sample, value: Decimal) -> _Stepped:
    """A reading that came late: it can end an alert that was told, and begins none."""
    beyond, back = _beyond_and_back(rule, value)
    if not state.raised or seen.ts < state.last:
        late = with_reading(state.late, seen.ts, seen.received, value, beyond, back, _worse(rule))
        return replace(state, late=late), None
    worst = _worse(rule)(state.worst if state.worst is not None else value, value)
    if not back:
        return replace(state, last=seen.ts, worst=worst), None
    return State(last=seen.ts, late=state.late), Ended(seen.ts, state.since, value, worst, late=True)


def _settle(state: State, now: int) -> _Stepped:
    """Tell what came late, once nothing more does."""
    if state.late is None or now - state.late.received < SETTLED_MS:
        return state, None
    late = ended(state.late, state.late.last, cut=True)
    return replace(state, late=None), Missed(late.last, late.done, late.more) if late.done else None


def _rate(rule: Rule, state: State, ts: int, value: Decimal, clock: str) -> _Stepped:
    window = _windowed(state.window, ts, value, rule.within_ms)
    rise = value - min(least for _, least, _ in window)
    fall = max(greatest for _, _, greatest in window) - value
    change = _change(rule.direction, rise, fall)
    if not state.raised:
        if abs(change) < rule.threshold:
            return State(last=ts, window=window), None
        return State(True, ts, ts, change, window), Raised(ts, value, change, clock)
    worst = state.worst if state.worst is not None and abs(state.worst) >= abs(change) else change
    if abs(change) >= rule.threshold - rule.hysteresis:
        return State(True, state.since, ts, worst, window), None
    return State(last=ts, window=window), Ended(ts, state.since, value, worst)


def _change(direction: str, rise: Decimal, fall: Decimal) -> Decimal:
    """The change that counts, negative for a fall."""
    if direction == "up":
        return rise
    if direction == "down":
        return -fall
    return rise if rise >= fall else -fall


def _windowed(
    window: Sequence[tuple[int, Decimal, Decimal]], ts: int, value: Decimal, within_ms: int
) -> tuple[tuple[int, Decimal, Decimal], ...]:
    """`window` with `value`, without what is older than `within_ms`; never more than STRETCHES + 2 entries."""
    stretch = max(1, within_ms // STRETCHES)
    start = ts - ts % stretch
    kept = [entry for entry in window if entry[0] >= ts - within_ms]
    if kept and kept[-1][0] == start:
        _, least, greatest = kept.pop()
        kept.append((start, min(least, value), max(greatest, value)))
    else:
        kept.append((start, value, value))
    return tuple(kept)


def _silence(rule: Rule, state: State, seen: Sample | Heard | Tick) -> _Stepped:
    if isinstance(seen, Tick):
        if state.raised or seen.now - seen.heard < rule.within_ms:
            return state, None
        return State(True, seen.heard, seen.now), Raised(seen.heard)
    if isinstance(seen, Heard) and state.raised and seen.at > state.since:
        return State(last=seen.at), Ended(seen.at, state.since)
    return state, None


def _clock(state: State, seen: Sample) -> _Stepped:
    ahead = seen.ts - seen.received
    if not state.raised and ahead > AHEAD_MS:
        return State(True, seen.received, seen.received, Decimal(ahead)), Raised(seen.received, Decimal(ahead))
    if state.raised and ahead <= AHEAD_MS and seen.received - seen.ts <= LATE_MS and not seen.clock:
        return State(last=seen.received), Ended(seen.received, state.since)
    return state, None


def _number(text: str) -> Decimal | None:
    if text in ("true", "false"):
        return Decimal(1 if text == "true" else 0)
    try:
        value = Decimal(text)
    except ArithmeticError:
        return None
    return value if value.is_finite() else None
