"""The shape of a profile file, device_profiles/*.toml, as structs: what may stand in it and what each key means.

May import msgspec only. profiles.py makes it ready for use; profile_commands.py explains what is wrong with a file; the
JSON schema for editors (device_profiles/schema.json) is generated from these structs.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

DecimalText = Annotated[str, Meta(pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Title = Annotated[str, Meta(min_length=1, max_length=40)]
Icon = Annotated[str, Meta(max_length=8)]
Seconds = Annotated[int, Meta(ge=1, le=31_536_000)]
SCHEMA_TITLE: Final = "A Thingroom device profile"


class QuantityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[quantities]] table: something that the device measures or knows of itself."""

    name: Annotated[Name, Meta(description="The SenML name after the base name.")]
    title: Annotated[Title, Meta(description="What people call it.")]
    icon: Annotated[Icon, Meta(description="An emoji for lists and charts.")] = ""
    kind: Annotated[
        Literal["number", "boolean", "text"], Meta(description="number (the default), boolean or text.")
    ] = "number"
    unit: Annotated[
        str, Meta(max_length=16, description="The SenML unit that devices send (RFC 8428, RFC 8798); empty: none.")
    ] = ""
    shown_unit: (
        Annotated[
            str,
            Meta(
                max_length=16,
                description="The unit as people read it: a code or a sign of units.py into which `unit` can be "
                "converted. Left out: `unit`.",
            ),
        ]
        | None
    ) = None
    precision: Annotated[int, Meta(ge=0, le=9, description="Decimals shown to people.")] = 0
    minimum: Annotated[DecimalText, Meta(description="Smallest value a working device sends, as a string.")] | None = (
        None
    )
    maximum: Annotated[DecimalText, Meta(description="Largest value a working device sends, as a string.")] | None = (
        None
    )
    deadband: (
        Annotated[DecimalText, Meta(description="The change, in the device's unit, that is worth a notice.")] | None
    ) = None
    interval: Annotated[Seconds, Meta(description="Seconds from one sample to the next, as expected.")] | None = None
    cumulative: Annotated[bool, Meta(description="A counter that only grows (energy, water): charts show its use.")] = (
        False
    )
    words: Annotated[dict[str, str], Meta(description='For booleans: the words for "true" and "false".')] = {}
    quiet: Annotated[bool, Meta(description="Never shown in notices (a battery voltage, say).")] = False


class NoticesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The [notices] table: how often the device is worth a sentence in the room."""

    at_least: Annotated[int, Meta(ge=0, description="Seconds between two notices of a device at the least.")] = 60
    at_most: Annotated[
        int, Meta(ge=1, description="Seconds after which a reading is worth a notice without a change.")
    ] = 3600


class PresenceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The [presence] table: when silence means something."""

    sleeps: Annotated[bool, Meta(description="The device sleeps between samples: not connected is normal.")] = False
    silent_after: Annotated[Seconds, Meta(description="Seconds without a word after which it counts as silent.")] = 3600


class AlertFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[alerts]] table: an alert that people can turn on by its name, with sensible numbers."""

    name: Annotated[Name, Meta(description="What the alert is called: frost.")]
    kind: Annotated[
        Literal["above", "below", "rate", "silence", "battery"],
        Meta(
            description="above or below a threshold; rate: a change beyond it within `within` seconds; silence: no "
            "word for `within` seconds; battery: below a threshold, told once."
        ),
    ]
    quantity: Annotated[str, Meta(max_length=32, description="Which quantity; empty for silence.")] = ""
    threshold: Annotated[DecimalText, Meta(description="In the device's unit, as a string.")] | None = None
    hysteresis: Annotated[
        DecimalText, Meta(description="How far the value must come back before the alert is over, as a string.")
    ] = "0"
    within: Annotated[Seconds, Meta(description="Seconds: of the change (rate) or of the silence.")] | None = None
    text: Annotated[str, Meta(max_length=120, description="What is said: It freezes.")] = ""
    on: Annotated[bool, Meta(description="On from the start, without anybody asking for it.")] = False


class ActuatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[actuators]] table: something that the device does when it is told."""

    name: Annotated[Name, Meta(description="The SenML name in a command.")]
    title: Annotated[Title, Meta(description="What people call it.")]
    icon: Annotated[Icon, Meta(description="An emoji.")] = ""
    kind: Annotated[
        Literal["switch", "dimmer", "number", "select"],
        Meta(
            description="switch (true, false), dimmer (a number from minimum to maximum, 0 is off), number, or select "
            "(one of options)."
        ),
    ]
    unit: Annotated[str, Meta(max_length=16, description="The SenML unit of the value; empty: none.")] = ""
    minimum: Annotated[DecimalText, Meta(description="The smallest value, as a string.")] | None = None
    maximum: Annotated[DecimalText, Meta(description="The largest value, as a string.")] | None = None
    step: Annotated[DecimalText, Meta(description="Values are minimum plus a multiple of this.")] | None = None
    options: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=40)], ...],
        Meta(max_length=64, description="What a select can be set to."),
    ] = ()
    feedback: Annotated[
        str, Meta(max_length=32, description="The quantity that tells the actuator's state; empty: none.")
    ] = ""
    topic: Annotated[
        str,
        Meta(
            max_length=200,
            description="For a plain MQTT device of no dialect that the gateway knows: the topic of commands; {base} "
            "is the topic it was adopted by.",
        ),
    ] = ""
    payload: Annotated[
        str,
        Meta(max_length=200, description="And the payload, with {value} in it. For a switch see payload_on, _off."),
    ] = "{value}"
    payload_on: Annotated[str, Meta(max_length=200, description="What turns a plain device's switch on.")] = "ON"
    payload_off: Annotated[str, Meta(max_length=200, description="And off.")] = "OFF"


class SourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[sources]] table: where a plain MQTT device (not signed, no Thingroom firmware) says a quantity.

    Needed only where names do not speak for themselves: readings of the dialects the gateway knows find a quantity of
    the same name and of a unit that can be converted.
    """

    quantity: Annotated[Name, Meta(description="Which quantity this is.")]
    topic: Annotated[
        str,
        Meta(
            max_length=200,
            description="The topic below the one the device was adopted by, + for any one level; empty: any.",
        ),
    ] = ""
    path: Annotated[
        str,
        Meta(
            max_length=120,
            description="The way into the JSON, with dots, * for any one name: *.Temperature. Empty: the payload is "
            "the value.",
        ),
    ] = ""
    unit: Annotated[str, Meta(max_length=16, description="The unit there, if it is another: degF, hPa.")] = ""
    values: Annotated[dict[str, str], Meta(description='What words there mean: { ON = "true", OFF = "false" }.')] = {}


class ExampleReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reading as event content has it: exact, in the device's unit."""

    name: Annotated[str, Meta(description="The quantity.")]
    value: Annotated[str, Meta(description="The value as text.")]
    unit: Annotated[str, Meta(description="The SenML unit; empty: none.")] = ""


class ExampleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[examples]] table: a payload, and the readings and notice text, or the refusal, that come of it."""

    about: Annotated[str, Meta(min_length=1, max_length=200, description="What this shows.")]
    payload: Annotated[str, Meta(description="A SenML-CBOR pack in hex.")] = ""
    senml: Annotated[str, Meta(description="Or a SenML-JSON pack (RFC 8428) as text, easier to write.")] = ""
    topic: Annotated[str, Meta(description="Or a plain MQTT message: its topic,")] = ""
    message: Annotated[str, Meta(description="and its payload as text.")] = ""
    readings: Annotated[tuple[ExampleReading, ...], Meta(description="What comes of it, in order.")] = ()
    text: Annotated[str, Meta(description="What people read.")] = ""
    refused: Annotated[str, Meta(description="Or why it is refused, one word: above_range.")] = ""


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole device_profiles/*.toml."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="The profile's name, and that of its file.")
    ]
    title: Annotated[str, Meta(min_length=1, max_length=60, description="What people call such a device.")]
    icon: Annotated[Icon, Meta(description="An emoji.")] = ""
    about: Annotated[str, Meta(max_length=500, description="Which parts, whose data sheet, what to know.")] = ""
    quantities: Annotated[
        tuple[QuantityFile, ...], Meta(min_length=1, max_length=64, description="What the device measures.")
    ]
    actuators: Annotated[tuple[ActuatorFile, ...], Meta(max_length=32, description="What it does when told.")] = ()
    alerts: Annotated[tuple[AlertFile, ...], Meta(max_length=32, description="Alerts that suit it.")] = ()
    sources: Annotated[tuple[SourceFile, ...], Meta(max_length=64, description="Where plain MQTT devices say it.")] = ()
    notices: Annotated[NoticesFile, Meta(description="How often it speaks up.")] = NoticesFile()
    presence: Annotated[PresenceFile, Meta(description="When silence means something.")] = PresenceFile()
    examples: Annotated[tuple[ExampleFile, ...], Meta(min_length=1, description="Worked examples; tests run them.")]


def json_schema() -> str:
    """The JSON schema (draft 2020-12) of a profile file, for editors that complete TOML (schema.json)."""
    schema = msgspec.json.schema(ProfileFile)
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA_TITLE}
    return json.dumps({**heading, **schema}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
