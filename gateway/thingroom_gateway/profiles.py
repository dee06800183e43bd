"""Device profiles: what a device's values mean, read from device_profiles/*.toml and a maker's own folder.

A profile is data: quantities with units and ranges, actuators, alerts that suit it, the policy for notices, and worked
examples that a test runs; profile_file.py has its shape. Here it is checked as a whole and made ready. May import
msgspec, profile_file, units. observation.py applies a profile to a SenML pack; notices.py its policy.
"""

from __future__ import annotations

import importlib.util
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec

from thingroom_gateway import units
from thingroom_gateway.profile_file import (
    ActuatorFile,
    AlertFile,
    ExampleFile,
    ProfileFile,
    QuantityFile,
    SourceFile,
)

AlertKind = Literal["above", "below", "rate", "silence", "battery"]
ActuatorKind = Literal["switch", "dimmer", "number", "select"]


class ProfileError(Exception):
    """A profile file cannot be used; the message names the file.

    `where` is the way to what is wrong, as msgspec writes it ("quantities[1].unit"), and `cure` what to do; both may be
    empty.
    """

    def __init__(self, message: str, where: str = "", cure: str = "") -> None:
        super().__init__(message)
        self.where = where
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity made ready for use. `json_head` is the constant part of a reading in event content.

    `unit` is the SenML unit; people read `shown_unit` (a sign: "°C"), which is the unit `shown_code` (empty: none).
    """

    name: str
    title: str
    icon: str
    kind: str
    unit: str | None
    shown_unit: str
    shown_code: str
    precision: int
    minimum: Decimal | None
    maximum: Decimal | None
    deadband: Decimal | None
    interval_ms: int | None
    cumulative: bool
    words: dict[str, str]
    quiet: bool
    json_head: str

    def for_people(self, value: Decimal) -> Decimal:
        """`value`, in the device's unit, as a number of `shown_unit`; not rounded."""
        unit = self.unit or ""
        return value if unit == self.shown_code else units.convert(value, unit, self.shown_code)

    def difference_for_people(self, value: Decimal) -> Decimal:
        """The same for a difference of two values: a hysteresis, a rate."""
        unit = self.unit or ""
        return value if unit == self.shown_code else units.convert_difference(value, unit, self.shown_code)

    def from_people(self, value: Decimal) -> Decimal:
        """A number that a person gave in `shown_unit`, in the device's unit."""
        unit = self.unit or ""
        return value if unit == self.shown_code else units.convert(value, self.shown_code, unit)


@dataclass(frozen=True, slots=True)
class Alert:
    """A preset. `threshold` and `hysteresis` in the quantity's unit; `within_ms` of a rate's change or a silence."""

    name: str
    kind: AlertKind
    quantity: str
    threshold: Decimal | None
    hysteresis: Decimal
    within_ms: int | None
    text: str
    on: bool


@dataclass(frozen=True, slots=True)
class Actuator:
    """What a device does when told. Values travel as text: "true", "false", a decimal, an option.

    `feedback` names the quantity that tells its state, or is empty.
    `topic` and the payloads are for plain MQTT devices.
    """

    name: str
    title: str
    icon: str
    kind: ActuatorKind
    unit: str | None
    minimum: Decimal | None
    maximum: Decimal | None
    step: Decimal | None
    options: tuple[str, ...]
    feedback: str
    topic: str
    payload: str
    payload_on: str
    payload_off: str

    @property
    def shown_unit(self) -> str:
        """The unit as people read it, empty if there is none; values stay as they are."""
        known = units.UNITS.get(self.unit or "")
        return known.shown if known is not None else self.unit or ""

    def accept(self, text: str) -> str | None:
        """The value as a command carries it, or None if the actuator has no such value. `text` may be a person's."""
        word = text.strip()
        if self.kind == "switch":
            return _TRUTH.get(word.lower())
        if self.kind == "select":
            return next((option for option in self.options if option.casefold() == word.casefold()), None)
        number = _plain_number(word)
        if number is None and self.kind == "dimmer" and word.lower() in _TRUTH:
            number = self.maximum if _TRUTH[word.lower()] == "true" else self.minimum
        if number is None:
            return None
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            return None
        if self.step is not None and (number - (self.minimum or Decimal(0))) % self.step != 0:
            return None
        return format(number, "f")


_TRUTH = {"true": "true", "on": "true", "1": "true", "false": "false", "off": "false", "0": "false"}


def _plain_number(text: str) -> Decimal | None:
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18 or text.endswith("."):
        return None
    return Decimal(text)


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile made ready for use; `quantities` by SenML name and `actuators` by name, in the order of the file."""

    name: str
    title: str
    icon: str
    about: str
    quantities: dict[str, Quantity]
    actuators: dict[str, Actuator]
    alerts: tuple[Alert, ...]
    sources: tuple[SourceFile, ...]
    at_least_ms: int
    at_most_ms: int
    sleeps: bool
    silent_after_ms: int
    examples: tuple[ExampleFile, ...]


def profile_directory() -> Path:
    """Where our profiles are: in the installed wheel, else in the repository this file is part of."""
    spec = importlib.util.find_spec("thingroom")
    for location in (spec.submodule_search_locations if spec else None) or ():
        packaged = Path(location) / "data" / "device_profiles"
        if packaged.is_dir():
            return packaged
    return Path(__file__).resolve().parents[2] / "device_profiles"


def load_profiles(
    directory: Path | None = None, own: Path | None = None, choices: Mapping[str, str] | None = None
) -> dict[str, Profile]:
    """All profiles of `directory` (ours) and of `own`, a maker's folder, by name.

    `choices`: what people want to read, a key of units.CHOICES to a unit. Raises ProfileError, naming the file that is
    at fault; a profile of the own folder never takes the place of one of ours.
    """
    profiles = _load_folder(directory or profile_directory(), choices or {})
    if own is None:
        return profiles
    for name, profile in _load_folder(own, choices or {}).items():
        if name in profiles:
            raise ProfileError(
                f"{own / name}.toml: there is a profile {name} already, and devices rely on it",
                "name",
                f"give yours another name, for example my_{name}, in the file and as the file's name",
            )
        profiles[name] = profile
    return profiles


def _load_folder(directory: Path, choices: Mapping[str, str]) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for path in sorted(directory.glob("*.toml")):
        profiles[path.stem] = load_profile(path, choices)
    if not profiles:
        raise ProfileError(f"no device profiles in {directory}")
    return profiles


def load_profile(path: Path, choices: Mapping[str, str] | None = None) -> Profile:
    """The profile of one file. Raises ProfileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from None
    profile = parse_profile(text, str(path), choices)
    if path.stem != profile.name:
        raise ProfileError(
            f"{path}: the profile is called {profile.name}, so the file must be {profile.name}.toml", "name"
        )
    return profile


def parse_profile(text: str, source: str, choices: Mapping[str, str] | None = None) -> Profile:
    """A profile from TOML `text`; `source` names it in errors. Raises ProfileError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{source}: {error}") from None
    try:
        file = msgspec.convert(tables, ProfileFile)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise ProfileError(f"{source}: {error}", where.rstrip("`").removeprefix("."), message) from None
    try:
        return _ready(file, choices or {})
    except ProfileError as error:
        raise ProfileError(f"{source}: {error}", error.where, error.cure) from None


# --- making ready ------------------------------------------------------------------------------------------------


def _ready(file: ProfileFile, choices: Mapping[str, str]) -> Profile:
    quantities: dict[str, Quantity] = {}
    for index, quantity in enumerate(file.quantities):
        where = f"quantities[{index}]"
        if quantity.name in quantities:
            raise ProfileError(f"quantity {quantity.name} is there twice", f"{where}.name", "names are unique")
        quantities[quantity.name] = _ready_quantity(quantity, where, choices)
    actuators: dict[str, Actuator] = {}
    for index, actuator in enumerate(file.actuators):
        where = f"actuators[{index}]"
        if actuator.name in actuators:
            raise ProfileError(f"actuator {actuator.name} is there twice", f"{where}.name", "names are unique")
        actuators[actuator.name] = _ready_actuator(actuator, where, quantities)
    alerts = tuple(_ready_alert(alert, f"alerts[{i}]", quantities) for i, alert in enumerate(file.alerts))
    if len({alert.name for alert in alerts}) != len(alerts):
        raise ProfileError("two alerts have the same name", "alerts", "names are unique")
    for index, source in enumerate(file.sources):
        _check_source(source, f"sources[{index}]", quantities)
    return Profile(
        name=file.name,
        title=file.title,
        icon=file.icon,
        about=file.about,
        quantities=quantities,
        actuators=actuators,
        alerts=alerts,
        sources=file.sources,
        at_least_ms=file.notices.at_least * 1000,
        at_most_ms=file.notices.at_most * 1000,
        sleeps=file.presence.sleeps,
        silent_after_ms=file.presence.silent_after * 1000,
        examples=file.examples,
    )


def _ready_quantity(quantity: QuantityFile, where: str, choices: Mapping[str, str]) -> Quantity:
    _check_unit(quantity.unit, f"{where}.unit")
    shown = _shown(quantity, where)
    minimum, maximum = _decimal(quantity.minimum), _decimal(quantity.maximum)
    if minimum is not None and maximum is not None and minimum >= maximum:
        raise ProfileError(
            f"{quantity.name}: the minimum {minimum} is not below the maximum {maximum}",
            f"{where}.minimum",
            "exchange them, or widen the range",
        )
    if quantity.kind != "number" and (quantity.unit or minimum is not None or maximum is not None):
        raise ProfileError(
            f"{quantity.name}: a {quantity.kind} has no unit and no range", f"{where}.kind", "take them out"
        )
    if set(quantity.words) - {"true", "false"} or (quantity.words and quantity.kind != "boolean"):
        raise ProfileError(
            f'{quantity.name}: words are for booleans, and there are two: "true" and "false"',
            f"{where}.words",
            'write words = { true = "open", false = "closed" }',
        )
    head = f'"name":{json.dumps(quantity.name)},'
    if quantity.unit:
        head += f'"unit":{json.dumps(quantity.unit)},'
    precision = quantity.precision
    for choice, wanted in choices.items():
        replaced, preferences = units.CHOICES[choice]
        if shown is not None and shown.code in replaced and shown.code != wanted:
            shown = units.UNITS[preferences[wanted].code]
            precision += preferences[wanted].more_digits
    return Quantity(
        name=quantity.name,
        title=quantity.title,
        icon=quantity.icon,
        kind=quantity.kind,
        unit=quantity.unit or None,
        shown_unit=shown.shown if shown else quantity.shown_unit or "",
        shown_code=shown.code if shown else "",
        precision=precision,
        minimum=minimum,
        maximum=maximum,
        deadband=_decimal(quantity.deadband),
        interval_ms=None if quantity.interval is None else quantity.interval * 1000,
        cumulative=quantity.cumulative,
        words=quantity.words,
        quiet=quantity.quiet,
        json_head=head,
    )


def _check_unit(code: str, where: str) -> None:
    if not code:
        return
    unit = units.UNITS.get(code)
    if unit is not None and unit.senml:
        return
    meant = units.find(code)
    cure = "see RFC 8428, section 12.1, and RFC 8798, or leave the unit out"
    if meant is not None and meant.senml:
        cure = f'"{meant.code}" is how SenML writes {meant.title}; shown_unit = "{meant.shown}" is what people read'
    elif meant is not None:
        cure = f"{meant.title} is for people only: put it into shown_unit, and let the device send another unit"
    raise ProfileError(f'"{code}" is no unit of SenML', where, cure)


def _shown(quantity: QuantityFile, where: str) -> units.Unit | None:
    """The unit that people read, None if there is none (shown_unit is then a mere word)."""
    own = units.UNITS.get(quantity.unit)
    if quantity.shown_unit is None or own is None:
        return own
    if quantity.shown_unit == own.shown:
        return own
    shown = units.find(quantity.shown_unit)
    if shown is None or not units.convertible(own.code, shown.code):
        fit = ", ".join(unit.shown for unit in units.UNITS.values() if unit.base == own.base and unit.shown)
        raise ProfileError(
            f'{quantity.name}: "{quantity.unit}" cannot be shown as "{quantity.shown_unit}"',
            f"{where}.shown_unit",
            f"what it can be shown as: {fit or 'itself only'}",
        )
    return shown


def _ready_actuator(actuator: ActuatorFile, where: str, quantities: Mapping[str, Quantity]) -> Actuator:
    _check_unit(actuator.unit, f"{where}.unit")
    minimum, maximum, step = _decimal(actuator.minimum), _decimal(actuator.maximum), _decimal(actuator.step)
    if actuator.feedback and actuator.feedback not in quantities:
        raise ProfileError(
            f"{actuator.name}: there is no quantity {actuator.feedback}",
            f"{where}.feedback",
            f"it is one of: {', '.join(quantities)}",
        )
    ranged = actuator.kind in ("dimmer", "number")
    if ranged and (minimum is None or maximum is None or minimum >= maximum):
        raise ProfileError(
            f"{actuator.name}: a {actuator.kind} has a minimum and a greater maximum",
            f"{where}.minimum",
            'write, for example, minimum = "0" and maximum = "100"',
        )
    if not ranged and (minimum is not None or maximum is not None or step is not None):
        raise ProfileError(
            f"{actuator.name}: a {actuator.kind} has no range and no step", f"{where}.kind", "take them out"
        )
    if step is not None and step <= 0:
        raise ProfileError(f"{actuator.name}: a step is greater than 0", f"{where}.step")
    if (actuator.kind == "select") != bool(actuator.options):
        raise ProfileError(
            f"{actuator.name}: options are what a select has, and nothing else",
            f"{where}.options",
            'write, for example, options = ["low", "high"], or take them out',
        )
    if "{value}" not in actuator.payload:
        raise ProfileError(f"{actuator.name}: the payload has no {{value}}", f"{where}.payload")
    return Actuator(
        name=actuator.name,
        title=actuator.title,
        icon=actuator.icon,
        kind=actuator.kind,
        unit=actuator.unit or None,
        minimum=minimum,
        maximum=maximum,
        step=step,
        options=actuator.options,
        feedback=actuator.feedback,
        topic=actuator.topic,
        payload=actuator.payload,
        payload_on=actuator.payload_on,
        payload_off=actuator.payload_off,
    )


def _ready_alert(alert: AlertFile, where: str, quantities: Mapping[str, Quantity]) -> Alert:
    quantity = quantities.get(alert.quantity)
    if alert.kind == "silence":
        if alert.quantity or alert.threshold is not None or alert.within is None:
            raise ProfileError(
                f"{alert.name}: silence has `within` and neither a quantity nor a threshold", where, "within = 7200"
            )
    elif quantity is None or quantity.kind != "number":
        numbers = ", ".join(name for name, known in quantities.items() if known.kind == "number")
        raise ProfileError(
            f"{alert.name}: there is no number {alert.quantity}", f"{where}.quantity", f"it is one of: {numbers}"
        )
    elif alert.threshold is None:
        raise ProfileError(f"{alert.name}: the threshold is missing", where, 'write threshold = "25"')
    if (alert.kind in ("rate", "silence")) != (alert.within is not None):
        raise ProfileError(
            f"{alert.name}: `within` belongs to rate and silence, and they need it", f"{where}.within", "within = 3600"
        )
    hysteresis = Decimal(alert.hysteresis)
    if hysteresis < 0:
        raise ProfileError(f"{alert.name}: a hysteresis is not below 0", f"{where}.hysteresis")
    return Alert(
        name=alert.name,
        kind=alert.kind,
        quantity=alert.quantity,
        threshold=_decimal(alert.threshold),
        hysteresis=hysteresis,
        within_ms=None if alert.within is None else alert.within * 1000,
        text=alert.text,
        on=alert.on,
    )


def _check_source(source: SourceFile, where: str, quantities: Mapping[str, Quantity]) -> None:
    quantity = quantities.get(source.quantity)
    if quantity is None:
        raise ProfileError(
            f"there is no quantity {source.quantity}", f"{where}.quantity", f"it is one of: {', '.join(quantities)}"
        )
    if source.unit and not units.convertible(source.unit, quantity.unit or ""):
        raise ProfileError(
            f'"{source.unit}" cannot be converted to "{quantity.unit or ""}"', f"{where}.unit", "see units.py"
        )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
