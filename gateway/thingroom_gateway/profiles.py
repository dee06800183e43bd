"""Device profiles: what a device's values mean, read from device_profiles/*.toml.

A profile is data: quantities with units, ranges and the policy for notices, and worked examples that a test runs.
May import msgspec and thingroom_wire. observation.py applies a profile to a SenML pack; notices.py its policy.
"""

from __future__ import annotations

import importlib.util
import json
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

DecimalText = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


class ProfileError(Exception):
    """A profile file cannot be used; the message names the file."""


class QuantityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[quantities]] table."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="The SenML name after the base name.")]
    title: Annotated[str, Meta(min_length=1, max_length=40, description="What people call it.")]
    kind: Annotated[
        Literal["number", "boolean", "text"], Meta(description="number (the default), boolean or text.")
    ] = "number"
    unit: Annotated[str, Meta(max_length=16, description="The SenML unit that devices send; empty: none.")] = ""
    shown_unit: Annotated[str, Meta(max_length=16, description="The unit as people read it.")] = ""
    shown_factor: Annotated[
        DecimalText, Meta(description="What a value is multiplied with for people, as a string.")
    ] = "1"
    precision: Annotated[int, Meta(ge=0, le=9, description="Decimals shown to people.")] = 0
    minimum: Annotated[DecimalText, Meta(description="Smallest value a working device sends, as a string.")] | None = (
        None
    )
    maximum: Annotated[DecimalText, Meta(description="Largest value a working device sends.")] | None = None
    deadband: (
        Annotated[DecimalText, Meta(description="The change, in the device's unit, that is worth a notice.")] | None
    ) = None
    words: Annotated[dict[str, str], Meta(description='For booleans: the words for "true" and "false".')] = {}
    quiet: Annotated[bool, Meta(description="Never shown in notices (a battery voltage, say).")] = False


class NoticesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The [notices] table."""

    at_least: Annotated[int, Meta(ge=0, description="Seconds between two notices of a device at the least.")] = 60
    at_most: Annotated[
        int, Meta(ge=1, description="Seconds after which a reading is worth a notice without a change.")
    ] = 3600


class ExampleReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    value: str
    unit: str = ""


class ExampleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[examples]] table: a payload, and the readings and notice text, or the refusal, that come of it."""

    about: str
    payload: Annotated[str, Meta(description="A SenML-CBOR pack in hex.")]
    readings: tuple[ExampleReading, ...] = ()
    text: str = ""
    refused: str = ""


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole device_profiles/*.toml."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    title: Annotated[str, Meta(min_length=1, max_length=60)]
    icon: Annotated[str, Meta(max_length=8)] = ""
    quantities: Annotated[tuple[QuantityFile, ...], Meta(min_length=1, max_length=64)]
    notices: NoticesFile = NoticesFile()
    examples: Annotated[tuple[ExampleFile, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity made ready for use. `json_head` is the constant part of a reading in event content."""

    name: str
    title: str
    kind: str
    unit: str | None
    shown_unit: str
    shown_factor: Decimal
    precision: int
    minimum: Decimal | None
    maximum: Decimal | None
    deadband: Decimal | None
    words: dict[str, str]
    quiet: bool
    json_head: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile made ready for use; `quantities` by SenML name, in the order of the file."""

    name: str
    title: str
    icon: str
    quantities: dict[str, Quantity]
    at_least_ms: int
    at_most_ms: int
    examples: tuple[ExampleFile, ...]


def profile_directory() -> Path:
    """Where the profiles are: in the installed wheel, else in the repository this file is part of."""
    spec = importlib.util.find_spec("thingroom")
    for location in (spec.submodule_search_locations if spec else None) or ():
        packaged = Path(location) / "data" / "device_profiles"
        if packaged.is_dir():
            return packaged
    return Path(__file__).resolve().parents[2] / "device_profiles"


def load_profiles(directory: Path | None = None) -> dict[str, Profile]:
    """All profiles of `directory` by name. Raises ProfileError, naming the file that is at fault."""
    profiles: dict[str, Profile] = {}
    for path in sorted((directory or profile_directory()).glob("*.toml")):
        profile = parse_profile(path.read_text(encoding="utf-8"), str(path))
        if path.stem != profile.name:
            raise ProfileError(f"{path}: the profile is called {profile.name}, so the file must be {profile.name}.toml")
        profiles[profile.name] = profile
    if not profiles:
        raise ProfileError(f"no device profiles in {directory or profile_directory()}")
    return profiles


def parse_profile(text: str, source: str) -> Profile:
    """A profile from TOML `text`; `source` names it in errors. Raises ProfileError."""
    try:
        file = msgspec.convert(tomllib.loads(text), ProfileFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"{source}: {error}") from None
    quantities: dict[str, Quantity] = {}
    for quantity in file.quantities:
        if quantity.name in quantities:
            raise ProfileError(f"{source}: quantity {quantity.name} is there twice")
        quantities[quantity.name] = _ready(quantity)
    return Profile(
        name=file.name,
        title=file.title,
        icon=file.icon,
        quantities=quantities,
        at_least_ms=file.notices.at_least * 1000,
        at_most_ms=file.notices.at_most * 1000,
        examples=file.examples,
    )


def _ready(quantity: QuantityFile) -> Quantity:
    head = f'"name":{json.dumps(quantity.name)},'
    if quantity.unit:
        head += f'"unit":{json.dumps(quantity.unit)},'
    return Quantity(
        name=quantity.name,
        title=quantity.title,
        kind=quantity.kind,
        unit=quantity.unit or None,
        shown_unit=quantity.shown_unit,
        shown_factor=Decimal(quantity.shown_factor),
        precision=quantity.precision,
        minimum=_decimal(quantity.minimum),
        maximum=_decimal(quantity.maximum),
        deadband=_decimal(quantity.deadband),
        words=quantity.words,
        quiet=quantity.quiet,
        json_head=head,
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
