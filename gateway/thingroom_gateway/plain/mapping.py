"""What a plain MQTT device said becomes readings of its profile: names, units, ranges.

Pure; may import profiles, units, said, words. A profile's [[sources]] go first; then a value goes to the quantity of
its name, or of a name that means the same, if its unit can be converted exactly. devices.py stores what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from thingroom_gateway import units
from thingroom_gateway.observation import Observation
from thingroom_gateway.plain.said import Metric, Readings
from thingroom_gateway.plain.words import number, plain_text, truth
from thingroom_gateway.profile_file import SourceFile
from thingroom_gateway.profiles import Profile, Quantity
from thingroom_gateway.series.reading import SeriesReading
from thingroom_wire.envelope import SYNCHRONISED, UNSET

# A value of this name may also be meant by these quantities, the first that the profile has and whose unit fits.
_ALIASES: Final = {
    "battery": ("battery_level", "charge"),
    "voltage": ("battery_voltage", "battery"),
    "battery_voltage": ("battery", "voltage"),
    "count": ("pulses",),
    "energy": ("total",),
    "volume": ("total",),
}
_PERCENT: Final = frozenset({"%", "%RH", "%EL", "/100"})
MAX_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class Mapped:
    """`values`: exact text by quantity name, in the device profile's units. `refused`: reason words by metric name.

    `ignored`: names that the profile has no quantity for.
    """

    values: dict[str, str]
    refused: dict[str, str]
    ignored: tuple[str, ...]


def map_readings(profile: Profile, readings: Readings) -> Mapped:
    """The readings of a message in the profile's words."""
    values: dict[str, str] = {}
    refused: dict[str, str] = {}
    ignored: list[str] = []
    used: set[str] = set()
    for source in profile.sources:
        quantity = profile.quantities[source.quantity]
        for path, found in _found(source, readings):
            text = _by_source(quantity, source, found)
            reason = "wrong_kind_of_value" if text is None else out_of_range(quantity, text)
            used.add(path)
            if reason:
                refused[quantity.name] = reason
            elif text is not None and quantity.name not in values:
                values[quantity.name] = text
    for metric in readings.metrics:
        if metric.path in used and (metric.path or profile.sources):
            continue
        quantity_found = _quantity(profile, metric, values)
        if quantity_found is None:
            ignored.append(metric.name)
            continue
        text = _converted(quantity_found, metric)
        reason = "wrong_unit" if text is None else out_of_range(quantity_found, text)
        if reason:
            refused[quantity_found.name] = reason
        elif text is not None:
            values[quantity_found.name] = text
    return Mapped({name: values[name] for name in profile.quantities if name in values}, refused, tuple(ignored))


def fit(profile: Profile, metrics: Iterable[Metric]) -> tuple[int, int]:
    """How well a profile suits what a device tells: values it understands, and (negative) quantities it has beside."""
    mapped = map_readings(profile, Readings("", "", tuple(metrics)))
    understood = set(mapped.values) | {name for name, reason in mapped.refused.items() if reason != "wrong_unit"}
    return len(understood), -len(set(profile.quantities) - understood)


def best_profile(profiles: Mapping[str, Profile], metrics: Iterable[Metric]) -> str | None:
    """The profile that understands most of what a device tells, with the least that it does not tell; None: none."""
    told = tuple(metrics)
    scores = {name: fit(profile, told) for name, profile in profiles.items()}
    best = max(scores, key=lambda name: (*scores[name], name == "climate"), default=None)
    return best if best is not None and scores[best][0] > 0 else None


def observed(profile: Profile, mapped: Mapped, ts: int, sequence: int, clock_sure: bool) -> Observation:
    """An Observation like that of a signed envelope; `ts` in Unix ms, only that of arrival without `clock_sure`."""
    clock = "" if clock_sure else '"clock":"unset",'
    state = SYNCHRONISED if clock_sure else UNSET
    parts = []
    for name, text in mapped.values.items():
        quantity = profile.quantities[name]
        quoted = json.dumps(text) if quantity.kind == "text" else f'"{text}"'
        parts.append(f'{{"sequence":{sequence},"ts":{ts},{clock}{quantity.json_head}"value":{quoted}}}')
    samples = tuple(SeriesReading(name, ts, text, state, sequence) for name, text in mapped.values.items())
    return Observation(",".join(parts), ts, dict(mapped.values), samples)


def out_of_range(quantity: Quantity, text: str) -> str:
    """A reason word, or nothing: as observation.py judges signed values."""
    if quantity.kind != "number":
        return ""
    value = Decimal(text)
    if quantity.minimum is not None and value < quantity.minimum:
        return "below_range"
    if quantity.maximum is not None and value > quantity.maximum:
        return "above_range"
    return ""


def _quantity(profile: Profile, metric: Metric, taken: Mapping[str, str]) -> Quantity | None:
    """The quantity of the metric's name or of one that means the same; among several the first whose unit fits."""
    named = [profile.quantities.get(name) for name in (metric.name, *_ALIASES.get(metric.name, ()))]
    candidates = [
        quantity
        for quantity in named
        if quantity is not None and quantity.kind == metric.kind and quantity.name not in taken
    ]
    for quantity in candidates:
        if metric.kind != "number" or _fits(metric.unit, quantity.unit or ""):
            return quantity
    return candidates[0] if candidates and metric.name == candidates[0].name else None


def _fits(unit_from: str, unit_to: str) -> bool:
    if not unit_from or unit_from == unit_to or {unit_from, unit_to} <= _PERCENT:
        return True
    if unit_to == "count" and unit_from in ("", "/"):
        return True
    return units.convertible(unit_from, unit_to)


def _converted(quantity: Quantity, metric: Metric) -> str | None:
    if quantity.kind != "number":
        return metric.value
    return convert_text(metric.value, metric.unit, quantity.unit or "")


def convert_text(text: str, unit_from: str, unit_to: str) -> str | None:
    """`text` in another unit, exact; None if it cannot be. Without a unit the value is taken as it is."""
    if not _fits(unit_from, unit_to):
        return None
    same = not unit_from or unit_from == unit_to or {unit_from, unit_to} <= _PERCENT
    if same or not units.convertible(unit_from, unit_to):
        return text
    converted = format(units.convert(Decimal(text), unit_from, unit_to), "f")
    if len(converted) > MAX_DIGITS:
        converted = format(round(Decimal(converted), 12), "f")
    if "." in converted:
        converted = converted.rstrip("0").rstrip(".")
    return converted if len(converted) <= MAX_DIGITS else None


# --- a profile's sources ------------------------------------------------------------------------------------------


def _found(source: SourceFile, readings: Readings) -> Iterator[tuple[str, Any]]:
    if source.topic and not _below(source.topic, readings.rest):
        return
    if not source.path:
        if not isinstance(readings.tree, (dict, list)):
            yield "", readings.tree
        return
    yield from _walk(readings.tree, source.path.split("."), ())


def _below(pattern: str, rest: str) -> bool:
    wanted, levels = pattern.split("/"), rest.split("/")
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))


def _walk(tree: Any, steps: list[str], walked: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Values at the end of `steps`; a key that has dots of its own is found too. Depth is bounded by the path's."""
    if not steps:
        if not isinstance(tree, (dict, list)):
            yield ".".join(walked), tree
        return
    if isinstance(tree, list) and steps[0].isdigit() and len(steps[0]) < 4:
        if int(steps[0]) < len(tree):
            yield from _walk(tree[int(steps[0])], steps[1:], (*walked, steps[0]))
        return
    if not isinstance(tree, dict):
        return
    if steps[0] == "*":
        for key, value in list(tree.items())[:64]:
            yield from _walk(value, steps[1:], (*walked, key))
        return
    for length in range(1, len(steps) + 1):
        key = ".".join(steps[:length])
        if key in tree:
            yield from _walk(tree[key], steps[length:], (*walked, key))
            return


def _by_source(quantity: Quantity, source: SourceFile, value: Any) -> str | None:
    if source.values:
        word = value if isinstance(value, str) else str(value).lower() if type(value) is bool else str(value)
        mapped = source.values.get(word)
        if mapped is None:
            return None
        value = mapped
    if quantity.kind == "boolean":
        return truth(value)
    if quantity.kind == "text":
        return plain_text(value)
    text = number(value)
    return None if text is None else convert_text(text, source.unit or quantity.unit or "", quantity.unit or "")
