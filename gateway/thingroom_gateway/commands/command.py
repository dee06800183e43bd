"""A command that somebody asked for, and the signed message that carries it to its device. Pure.

May import thingroom_wire, PyNaCl, profiles. queue.py keeps commands; storage/commands.py stores them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from nacl.signing import SigningKey

from thingroom_gateway.profiles import Actuator
from thingroom_wire import cbor, command, cose
from thingroom_wire.configured import Configuration

Outcome = Literal["done", "failed", "expired"]
# The value of a command that brings a configuration is JSON, and its actuator this word, which no actuator is called.
CONFIGURATION: Final = "-configuration"


@dataclass(frozen=True, slots=True)
class Command:
    """One command to one device. Times in Unix ms; `value` as Actuator.accept gives it, or JSON of a configuration.

    `counter` is 0 for a plain MQTT device. `room_id` and `event_id` name the message that asked, or are empty.
    """

    id: int
    device: int
    counter: int
    actuator: str
    value: str
    requested_by: str
    room_id: str
    event_id: str
    requested_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a command: `outcome`, and the `reason` in snake_case where it is not "done"."""

    command: Command
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A hello of the device: its nonce, and when it came, Unix ms."""

    nonce: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Settings:
    """A device's configuration as the gateway keeps it: numbers as text, None and absent: as the device came."""

    interval_ms: int | None = None
    longest_ms: int | None = None
    name: str | None = None
    thresholds: Mapping[str, str] | None = None
    calibration: Mapping[str, tuple[str, str]] | None = None

    def changed(self, by: Settings) -> Settings:
        """These settings with what `by` says; quantities are merged one by one."""
        return Settings(
            self.interval_ms if by.interval_ms is None else by.interval_ms,
            self.longest_ms if by.longest_ms is None else by.longest_ms,
            self.name if by.name is None else by.name,
            {**(self.thresholds or {}), **(by.thresholds or {})},
            {**(self.calibration or {}), **(by.calibration or {})},
        )

    def to_json(self, version: int) -> str:
        return json.dumps(
            {
                "version": version,
                "interval_ms": self.interval_ms,
                "longest_ms": self.longest_ms,
                "name": self.name,
                "thresholds": dict(self.thresholds or {}),
                "calibration": {name: list(pair) for name, pair in (self.calibration or {}).items()},
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Settings:
        fields = json.loads(text)
        pairs = {name: (pair[0], pair[1]) for name, pair in fields["calibration"].items()}
        return cls(fields["interval_ms"], fields["longest_ms"], fields["name"], fields["thresholds"], pairs)


def signed(found: Command, key_id: bytes, heard: Heard | None, key: SigningKey, gateway_kid: bytes) -> bytes:
    """The COSE_Sign1 for the device `key_id`; with its last hello it needs no clock to see that it is fresh."""
    nonce = within = None
    if heard is not None and found.expires_at > heard.at:
        nonce, within = heard.nonce, found.expires_at - heard.at
    actuator = value = configuration = None
    if found.actuator == CONFIGURATION:
        configuration = wire_configuration(found.value)
    else:
        actuator, value = found.actuator, wire_value(found.value)
    wire = command.Command(key_id, found.counter, found.expires_at, nonce, within, actuator, value, configuration)
    protected, payload = command.command_parts(gateway_kid, wire)
    signature = key.sign(cose.sig_structure(protected, payload)).signature
    message: bytes = cose.encode_sign1(protected, payload, signature)
    return message


def stored_value(actuator: Actuator, accepted: str) -> str:
    """The text that is kept for a value that `actuator` accepted: JSON, so that wire_value knows its kind."""
    if actuator.kind == "switch":
        return accepted
    return json.dumps(accepted) if actuator.kind == "select" else accepted


def wire_value(stored: str) -> Any:
    """What goes on the wire for a stored value: a bool, an int, a Decimal of the wire format, a str."""
    value = json.loads(stored, parse_float=str, parse_int=str) if stored.startswith('"') else stored
    if stored.startswith('"'):
        return value
    if stored in ("true", "false"):
        return stored == "true"
    return wire_number(stored)


def wire_number(text: str) -> Any:
    """A decimal's text as the wire has it: an int, or a decimal fraction without trailing zeros."""
    sign, digits, exponent = Decimal(text).normalize().as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
    return mantissa * 10**exponent if exponent >= 0 else cbor.Decimal(mantissa, exponent)


def wire_configuration(text: str) -> Any:
    """The Configuration of the wire format in a stored JSON text."""
    settings = Settings.from_json(text)
    return Configuration(
        json.loads(text)["version"],
        settings.interval_ms,
        settings.longest_ms,
        settings.name,
        {name: wire_number(value) for name, value in (settings.thresholds or {}).items()},
        {name: (wire_number(a), wire_number(b)) for name, (a, b) in (settings.calibration or {}).items()},
    )


def shown_value(found: Command) -> str:
    """The value for people's sentences: on, off, 21.5, eco."""
    if found.actuator == CONFIGURATION:
        return ""
    value = wire_value(found.value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else found.value


def same_state(actuator: Actuator, told: str, stored: str) -> bool:
    """Whether the state that a plain device told is the one that was asked for; a dimmer may round by a step."""
    wanted = wire_value(stored)
    if isinstance(wanted, bool):
        return told == stored
    if isinstance(wanted, str):
        return told.casefold() == wanted.casefold()
    tolerance = actuator.step or Decimal(1 if actuator.kind == "dimmer" else 0)
    try:
        return abs(Decimal(told) - Decimal(stored)) <= tolerance
    except ArithmeticError:
        return False
