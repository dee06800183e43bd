"""A SenML pack and a profile give an observation: readings as exact text, ready for event content.

Pure; may import thingroom_wire, profiles, stamps, values, series.reading. examination.py calls `observe` for envelopes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from thingroom_gateway.profiles import Profile, Quantity
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.stamps import AHEAD
from thingroom_gateway.values import decimal_text, shown
from thingroom_wire.envelope import DRIFTING, SYNCHRONISED

MAX_TIME_MS: Final = 253_402_300_800_000  # the year 10000
MAX_TEXT: Final = 256
MAX_RECORDS: Final = 256
_CLOCK_JSON: Final = {SYNCHRONISED: "", DRIFTING: '"clock":"drifting",', AHEAD: '"clock":"ahead",'}
_UNSET_JSON: Final = '"clock":"unset",'


@dataclass(frozen=True, slots=True)
class Observation:
    """What one envelope says.

    `readings` is UTF-8 JSON: objects separated by commas, as `matrix_event.readings_content` puts them into an array.
    `ts` is the Unix time of the newest reading in milliseconds; `latest` its newest value by quantity name; `samples`
    every reading for the series.
    """

    readings: str
    ts: int
    latest: dict[str, str]
    samples: tuple[SeriesReading, ...]


@dataclass(frozen=True, slots=True)
class Unusable:
    """The content cannot be used; `reason` is a snake_case word and goes back to the device."""

    reason: str


def observe(
    profile: Profile, records: Sequence[Any], base_ms: int, clock_state: int, sequence: int
) -> Observation | Unusable:
    """Check the SenML `records` (thingroom_wire.senml.Record) against `profile`.

    `base_ms` is the Unix time, in ms, that the records' times are relative to. Refused are: no record or more than
    256, an unknown quantity, a wrong unit or kind of value, a value outside the profile's range, a time before 1970 or
    after 9999.
    """
    if not records:
        return Unusable("no_records")
    if len(records) > MAX_RECORDS:
        return Unusable("too_many_records")
    clock = _CLOCK_JSON.get(clock_state, _UNSET_JSON)
    parts: list[str] = []
    latest: dict[str, str] = {}
    samples: list[SeriesReading] = []
    newest = -1
    for name, unit, value, time in records:
        quantity = profile.quantities.get(name)
        if quantity is None:
            return Unusable("unknown_quantity")
        if unit != quantity.unit:
            return Unusable("wrong_unit")
        ts = base_ms + time
        if not 0 <= ts < MAX_TIME_MS:
            return Unusable("time_out_of_range")
        text = _text(quantity, value)
        if isinstance(text, Unusable):
            return text
        quoted = json.dumps(text) if quantity.kind == "text" else f'"{text}"'
        parts.append(f'{{"sequence":{sequence},"ts":{ts},{clock}{quantity.json_head}"value":{quoted}}}')
        latest[name] = text
        samples.append(SeriesReading(name, ts, text, clock_state, sequence))
        if ts > newest:
            newest = ts
    return Observation(",".join(parts), newest, latest, tuple(samples))


def _text(quantity: Quantity, value: object) -> str | Unusable:
    kind = quantity.kind
    if kind == "number":
        text = decimal_text(value)
        if text is None:
            return Unusable("wrong_kind_of_value")
        if quantity.minimum is not None or quantity.maximum is not None:
            number = Decimal(text)
            if quantity.minimum is not None and number < quantity.minimum:
                return Unusable("below_range")
            if quantity.maximum is not None and number > quantity.maximum:
                return Unusable("above_range")
        return text
    if kind == "boolean":
        return ("true" if value else "false") if type(value) is bool else Unusable("wrong_kind_of_value")
    if type(value) is not str:
        return Unusable("wrong_kind_of_value")
    return value if len(value) <= MAX_TEXT and value.isprintable() else Unusable("bad_text")


def describe(profile: Profile, latest: dict[str, str]) -> str:
    """For people: "21.4 °C, 45 %" in the profile's order; quiet quantities are left out."""
    words = []
    for name, quantity in profile.quantities.items():
        if name in latest and not quantity.quiet:
            words.append(_words(quantity, latest[name]))
    return ", ".join(words)


def _words(quantity: Quantity, text: str) -> str:
    if quantity.kind == "number":
        text = shown(format(quantity.for_people(Decimal(text)), "f"), quantity.precision)
    elif quantity.kind == "boolean":
        return quantity.words.get(text, f"{quantity.title} {'on' if text == 'true' else 'off'}")
    return f"{text} {quantity.shown_unit}" if quantity.shown_unit else text
