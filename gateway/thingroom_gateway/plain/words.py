"""Reading what foreign devices send: bounded JSON, numbers as exact text, truth, names and units in their own words.

Pure; may import units. Every dialect beside this module uses it; said.py has what they make of it.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from thingroom_gateway import units

MAX_PAYLOAD: Final = 65_536
MAX_DEPTH: Final = 24
MAX_NUMBER_TEXT: Final = 40
MAX_TEXT: Final = 256
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_TRUE: Final = frozenset({"on", "true", "1", "yes", "open", "opened", "detected", "online", "wet", "motion"})
_FALSE: Final = frozenset({"off", "false", "0", "no", "close", "closed", "clear", "offline", "dry", "none"})


class Unreadable(Exception):
    """A payload is not what it should be; the word is for counters."""


def read_text(payload: bytes, limit: int = MAX_PAYLOAD) -> str:
    """UTF-8 text of at most `limit` bytes. Raises Unreadable."""
    if len(payload) > limit:
        raise Unreadable("too_large")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("not_utf8") from None


def read_json(payload: bytes, limit: int = MAX_PAYLOAD) -> Any:
    """JSON of at most `limit` bytes and 24 levels; fractions as Decimal, no NaN. Raises Unreadable."""
    text = read_text(payload, limit)
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable("too_deep")
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, InvalidOperation, RecursionError):
        raise Unreadable("not_json") from None


def _no_constant(_word: str) -> Any:
    raise ValueError


def read_object(payload: bytes, limit: int = MAX_PAYLOAD) -> dict[str, Any]:
    """A JSON object. Raises Unreadable."""
    value = read_json(payload, limit)
    if not isinstance(value, dict):
        raise Unreadable("not_an_object")
    return value


def number(value: object) -> str | None:
    """An exact decimal in plain notation, of at most 40 characters; None for anything that is no number."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > MAX_NUMBER_TEXT or not _NUMBER.fullmatch(text):
            return None
        value = Decimal(text)
    if type(value) is int:
        return str(value) if -(10**20) < value < 10**20 else None
    if type(value) is not Decimal or not value.is_finite():
        return None
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if not -18 <= exponent <= 18 or value.adjusted() > 20:
        return None
    text = format(value, "f")
    return text if len(text) <= MAX_NUMBER_TEXT else None


def truth(value: object) -> str | None:
    """ "true" or "false" of a boolean, of 0 and 1, and of the words that devices use; None for anything else."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return {0: "false", 1: "true"}.get(value)
    if isinstance(value, str):
        word = value.strip().lower()
        return "true" if word in _TRUE else "false" if word in _FALSE else None
    return None


def opposite(text: str) -> str:
    return "false" if text == "true" else "true"


def plain_text(value: object) -> str | None:
    """A printable text of 1 to 256 characters, or None."""
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable():
        return value
    return None


_UNITS: Final = {"C": "Cel", "F": "degF", "K": "K", "m": "m", "%": "%", "S": "", "h": "h", "B": "B", "lqi": ""}


def foreign_unit(spelling: object) -> str:
    """Our code of a unit as other systems write it ("°C", "C", "µg/m³"); empty if we know none."""
    if not isinstance(spelling, str) or len(spelling) > 16:
        return ""
    known = _UNITS.get(spelling)
    if known is not None:
        return known
    unit = units.find(spelling)
    return unit.code if unit is not None else ""


# What other systems call it: the quantity's name here, and the unit where none is told.
_NAMES: Final[dict[str, tuple[str, str]]] = {
    "temperature": ("temperature", "Cel"),
    "temp": ("temperature", "Cel"),
    "tc": ("temperature", "Cel"),
    "local_temperature": ("temperature", "Cel"),
    "current_temperature": ("temperature", "Cel"),
    "humidity": ("humidity", "%RH"),
    "rh": ("humidity", "%RH"),
    "dewpoint": ("dew_point", "Cel"),
    "dew_point": ("dew_point", "Cel"),
    "pressure": ("pressure", "hPa"),
    "atmospheric_pressure": ("pressure", "hPa"),
    "illuminance": ("illuminance", "lx"),
    "illuminance_lux": ("illuminance", "lx"),
    "lux": ("illuminance", "lx"),
    "carbondioxide": ("co2", "ppm"),
    "carbon_dioxide": ("co2", "ppm"),
    "co2": ("co2", "ppm"),
    "tvoc": ("tvoc", "ppb"),
    "voc": ("tvoc", "ppb"),
    "volatile_organic_compounds_parts": ("tvoc", "ppb"),
    "pm1": ("pm1", "ug/m3"),
    "pm1.0": ("pm1", "ug/m3"),
    "pm2.5": ("pm25", "ug/m3"),
    "pm2_5": ("pm25", "ug/m3"),
    "pm25": ("pm25", "ug/m3"),
    "pm10": ("pm10", "ug/m3"),
    "distance": ("distance", "m"),
    "weight": ("weight", "kg"),
    "power": ("power", "W"),
    "apower": ("power", "W"),
    "apparent_power": ("apparent_power", "VA"),
    "apparentpower": ("apparent_power", "VA"),
    "reactive_power": ("reactive_power", "var"),
    "reactivepower": ("reactive_power", "var"),
    "power_factor": ("power_factor", "/"),
    "factor": ("power_factor", "/"),
    "pf": ("power_factor", "/"),
    "voltage": ("voltage", "V"),
    "current": ("current", "A"),
    "energy": ("energy", "kWh"),
    "frequency": ("frequency", "Hz"),
    "ac_frequency": ("frequency", "Hz"),
    "freq": ("frequency", "Hz"),
    "battery": ("battery", "%EL"),
    "moisture": ("moisture", "%"),
    "soil_moisture": ("moisture", "%"),
    "linkquality": ("link_quality", ""),
    "water": ("volume", "m3"),
    "gas": ("volume", "m3"),
    "volume": ("volume", "m3"),
    "occupied_heating_setpoint": ("target", "Cel"),
    "current_heating_setpoint": ("target", "Cel"),
    "target_temperature": ("target", "Cel"),
    "position": ("position", "%"),
    "brightness": ("brightness", ""),
    "speed": ("speed", ""),
    "fanspeed": ("speed", ""),
    "signal_strength": ("signal", "dBm"),
}
# Truths, and whether the foreign word means the opposite of ours.
_TRUTHS: Final[dict[str, tuple[str, bool]]] = {
    "state": ("on", False),
    "power_state": ("on", False),
    "output": ("on", False),
    "occupancy": ("motion", False),
    "presence": ("motion", False),
    "motion": ("motion", False),
    "moving": ("motion", False),
    "contact": ("open", True),
    "door": ("open", False),
    "window": ("open", False),
    "opening": ("open", False),
    "garage_door": ("open", False),
    "water_leak": ("leak", False),
    "moisture": ("leak", False),
    "flood": ("leak", False),
    "leak": ("leak", False),
    "smoke": ("smoke", False),
    "gas": ("gas", False),
    "carbon_monoxide": ("gas", False),
    "vibration": ("vibration", False),
    "tamper": ("tamper", False),
    "battery_low": ("battery_low", False),
}


def number_name(foreign: str) -> tuple[str, str] | None:
    """Our name and default unit of a number that others call `foreign`."""
    return _NAMES.get(foreign.lower())


def truth_name(foreign: str) -> tuple[str, bool] | None:
    """Our name of a truth that others call `foreign`, and whether theirs is the opposite (a contact that is closed)."""
    return _TRUTHS.get(foreign.lower())


def slug(foreign: str) -> str:
    """A name as profiles have them, of any text; empty if nothing is left."""
    words = re.sub(r"[^a-z0-9]+", "_", foreign.lower()).strip("_")[:32].strip("_")
    return words if words[:1].isalpha() else ""


def name_in(foreign: str, table: dict[str, Any] | None = None) -> str | None:
    """The word of our vocabulary that `foreign` ends with: "living_room_temperature" gives "temperature"."""
    words = slug(foreign).split("_")
    known = _NAMES if table is None else table
    for start in range(len(words)):
        tail = "_".join(words[start:])
        if tail in known:
            return tail
    return None


TRUTH_WORDS: Final = _TRUTHS
