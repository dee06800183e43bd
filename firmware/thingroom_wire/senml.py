"""SenML packs in CBOR (RFC 8428, section 6): write ours, read anybody's.

Imports cbor, errors and limits. A pack is the payload of an envelope; the time of a record is kept relative to the
pack's base time, in milliseconds, as the sensor node counts it. Next: envelope.
"""

from collections import namedtuple

from thingroom_wire.cbor import Decimal, decode, encode, encode_head
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_SEQUENCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

Record = namedtuple("Record", ("name", "unit", "value", "time"))
"""One measurement. name: str after the pack's base name; unit: str or None; value: int, float, Decimal, bool, str or
bytes; time: int, milliseconds from the pack's base time (zero or negative in what a node writes)."""

Pack = namedtuple("Pack", ("base_name", "base_time_ms", "records"))
"""A resolved pack. base_name: str; base_time_ms: Unix time in milliseconds, or None where every time in the pack is
relative to the instant at which it was made; records: list of Record."""

# RFC 8428 table 4
_VERSION, _BASE_NAME, _BASE_TIME, _BASE_UNIT, _BASE_VALUE, _BASE_SUM = -1, -2, -3, -4, -5, -6
_NAME, _UNIT, _VALUE, _STRING, _BOOLEAN, _SUM, _TIME, _UPDATE_TIME, _DATA = range(9)

_ARRAY = 4
_SUPPORTED_VERSION = 10
_FIRST_ABSOLUTE_MS = (1 << 28) * 1000
_NAME_STARTS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NAME_CHARACTERS = _NAME_STARTS + "-:./_"


# --- writing --------------------------------------------------------------------------------------------------------


def encode_pack(base_name: str, base_time_ms: "int | None", records: "Collection[Any]") -> bytes:
    """Return the SenML-CBOR pack of `records` (Records, at least one; anything with a length that can be gone through).

    The first record carries the base name and, unless `base_time_ms` is None, the base time. Times are written as
    integers or decimal fractions of seconds. Raises ValueError for an empty list or a name that RFC 8428 section 4.5.1
    forbids, TypeError for a value that is none of the types of Record.
    """
    if not len(records):
        raise ValueError("a pack has at least one record")
    # Record by record: a board has no room for a batch as objects.
    out = bytearray(encode_head(_ARRAY, len(records)))
    is_first = True
    for record in records:
        if not is_name(base_name + record.name):
            raise ValueError("not a SenML name: " + base_name + record.name)
        entry: dict[int, Any] = {}
        if is_first:
            is_first = False
            entry[_BASE_NAME] = base_name
            if base_time_ms is not None:
                entry[_BASE_TIME] = _seconds(base_time_ms)
        if record.name:
            entry[_NAME] = record.name
        if record.unit is not None:
            entry[_UNIT] = record.unit
        if record.time:
            entry[_TIME] = _seconds(record.time)
        entry[_value_label(record.value)] = record.value
        out.extend(encode(entry))
    return bytes(out)


def _value_label(value: "Any") -> int:
    kind = type(value)
    if kind is int or kind is float or kind is Decimal:
        return _VALUE
    if kind is str:
        return _STRING
    if kind is bool:
        return _BOOLEAN
    if kind is bytes:
        return _DATA
    raise TypeError("no SenML value of this type")


def _seconds(milliseconds: int) -> "Any":
    """Seconds as the shortest exact number: an int, or a decimal fraction without trailing zeros."""
    exponent = -3
    while exponent < 0 and milliseconds % 10 == 0:
        milliseconds //= 10
        exponent += 1
    return milliseconds if exponent == 0 else Decimal(milliseconds, exponent)


def is_name(name: str) -> bool:
    """Whether `name` is a concatenated name in the sense of RFC 8428 section 4.5.1."""
    return name != "" and name[0] in _NAME_STARTS and not name.strip(_NAME_CHARACTERS)


# --- reading --------------------------------------------------------------------------------------------------------


def decode_pack(payload: bytes) -> "Any":
    """Return the resolved Pack of any SenML-CBOR pack; raise WireError and nothing else.

    Base fields (bn, bt, bu, bv) are applied as RFC 8428 section 4.6 says, wherever in the pack they stand, and every
    number stays what it was: int and Decimal are added exactly, a float makes the sum a float.

    Pack.base_name is the first record's base name. Record.name is the full name with that prefix taken off, or the full
    name where it does not start with it. Pack.base_time_ms is the first record's base time when that is absolute
    (2**28 seconds or more, section 4.5.3), else the latest absolute time in the pack, else None; Record.time is what
    remains, rounded to the nearest millisecond. A pack that mixes absolute and now-relative times is refused.

    Sums (s, bs) and update times (ut) are checked for type and not kept; a record with a sum and no value is refused,
    as is an unknown label that ends with "_" (section 4.4) and a version above 10.
    """
    entries = decode(payload)
    if type(entries) is not list or not entries:
        raise WireError("not_a_pack", "A SenML pack is an array with at least one record.")
    resolver = _Resolver()
    resolved = [resolver.resolve(entry) for entry in entries]
    base_name = entries[0].get(_BASE_NAME, "")
    base_time = _choose_base_time(entries[0], [time for _, _, _, time in resolved])
    prefix = len(base_name)
    records = []
    for name, unit, value, time in resolved:
        if name.startswith(base_name):
            name = name[prefix:]
        records.append(Record(name, unit, value, time if base_time is None else time - base_time))
    return Pack(base_name, base_time, records)


def _choose_base_time(first: "dict[Any, Any]", times: "list[int]") -> "int | None":
    absolute = [time for time in times if time >= _FIRST_ABSOLUTE_MS]
    if not absolute:
        return None
    if len(absolute) != len(times):
        raise WireError("mixed_times", "A pack has both absolute times and times relative to now.")
    base = _milliseconds(first.get(_BASE_TIME, 0))
    return base if base >= _FIRST_ABSOLUTE_MS else max(absolute)


class _Resolver:
    """Carries the base fields from record to record."""

    def __init__(self) -> None:
        self.name = ""
        self.time = 0
        self.unit: str | None = None
        self.value: Any = 0
        self.version: int | None = None

    def resolve(self, entry: "Any") -> "tuple[str, str | None, Any, int]":
        """Return the full name, the unit, the value and the resolved time in milliseconds."""
        if type(entry) is not dict:
            raise WireError("not_a_record", "A SenML record is a map.")
        self._check_labels(entry)
        self._take_base_fields(entry)
        name = self.name + _text(entry[_NAME]) if _NAME in entry else self.name
        if not is_name(name):
            raise WireError("bad_name", "A name is empty or has a character that SenML does not allow.")
        unit = _text(entry[_UNIT]) if _UNIT in entry else self.unit
        time = _within(self.time + _milliseconds(entry[_TIME])) if _TIME in entry else self.time
        return name, unit, self._value(entry), time

    def _check_labels(self, entry: "dict[Any, Any]") -> None:
        for label in entry:
            if type(label) is str and label.endswith("_"):
                raise WireError("must_understand", "A record has a field that the reader must understand.")
        if _VERSION in entry:
            self._check_version(entry[_VERSION])
        elif self.version is None:
            self.version = _SUPPORTED_VERSION
        for label in (_BASE_SUM, _SUM, _UPDATE_TIME):
            if label in entry:
                _number(entry[label])

    def _check_version(self, version: "Any") -> None:
        if type(version) is not int or version < 1:
            raise WireError("bad_version", "The SenML version is not a positive integer.")
        if version > _SUPPORTED_VERSION:
            raise WireError("unsupported_version", "The SenML version is newer than this reader.")
        if self.version is not None and version != self.version:
            raise WireError("mixed_versions", "The records of a pack have different SenML versions.")
        self.version = version

    def _take_base_fields(self, entry: "dict[Any, Any]") -> None:
        if _BASE_NAME in entry:
            self.name = _text(entry[_BASE_NAME])
        if _BASE_TIME in entry:
            self.time = _milliseconds(entry[_BASE_TIME])
        if _BASE_UNIT in entry:
            self.unit = _text(entry[_BASE_UNIT])
        if _BASE_VALUE in entry:
            self.value = _number(entry[_BASE_VALUE])

    def _value(self, entry: "dict[Any, Any]") -> "Any":
        label = None
        for candidate in (_VALUE, _STRING, _BOOLEAN, _DATA):
            if candidate in entry:
                if label is not None:
                    raise WireError("several_values", "A record has more than one value.")
                label = candidate
        if label is None:
            if _SUM in entry:
                raise WireError("sum_only", "A record has a sum and no value; sums are not supported.")
            raise WireError("no_value", "A record has no value.")
        value = entry[label]
        if label == _VALUE:
            return _add(self.value, _number(value))
        if type(value) is not (str if label == _STRING else bool if label == _BOOLEAN else bytes):
            raise WireError("bad_value", "A value is not of its label's type.")
        return value


def _text(value: "Any") -> str:
    if type(value) is not str:
        raise WireError("bad_field", "A name or unit is not text.")
    return value


def _number(value: "Any") -> "Any":
    kind = type(value)
    if kind is float and (value != value or value - value != 0):
        raise WireError("not_finite", "A number is infinite or not a number.")
    if kind is not int and kind is not float and kind is not Decimal:
        raise WireError("bad_number", "A number is neither an integer nor a float nor a decimal fraction.")
    return value


_FAR = 40
"""Decimal digits between two exponents beyond which the sum of two decimal fractions cannot fit 64 bits."""


def _add(base: "Any", value: "Any") -> "Any":
    if type(base) is int and base == 0:
        return value
    if type(base) is float or type(value) is float:
        return _number(_to_float(base) + _to_float(value))
    one, two = _as_decimal(base), _as_decimal(value)
    exponent = min(one.exponent, two.exponent)
    if one.exponent - exponent > _FAR or two.exponent - exponent > _FAR:
        raise WireError("number_out_of_range", "A base value and a value are too far apart to be added.")
    mantissa = one.mantissa * 10 ** (one.exponent - exponent) + two.mantissa * 10 ** (two.exponent - exponent)
    if not -(1 << 64) <= mantissa < 1 << 64:
        raise WireError("number_out_of_range", "The sum of a base value and a value does not fit 64 bits.")
    return mantissa if type(base) is int and type(value) is int else Decimal(mantissa, exponent)


def _as_decimal(number: "Any") -> "Any":
    return Decimal(number, 0) if type(number) is int else number


def _to_float(number: "Any") -> float:
    if type(number) is not Decimal:
        return float(number)
    if number.exponent > 300:
        raise WireError("number_out_of_range", "A decimal fraction is too large for a float.")
    return float(str(number.mantissa) + "e" + str(number.exponent))


def _milliseconds(seconds: "Any") -> int:
    """Whole milliseconds nearest to a SenML time; a WireError beyond 2**53 ms."""
    kind = type(_number(seconds))
    milliseconds: int
    if kind is Decimal:
        mantissa, exponent = seconds.mantissa, seconds.exponent + 3
        if mantissa == 0 or exponent < -_FAR:
            return 0
        if exponent > 20:
            raise WireError("time_out_of_range", "A time is beyond the limit.")
        scale = 10 ** abs(exponent)
        milliseconds = mantissa * scale if exponent >= 0 else (mantissa + scale // 2) // scale
    elif kind is int:
        milliseconds = seconds * 1000
    else:
        if not -1e15 < seconds < 1e15:
            raise WireError("time_out_of_range", "A time is beyond the limit.")
        milliseconds = round(seconds * 1000)
    return _within(milliseconds)


def _within(milliseconds: int) -> int:
    if not -MAX_SEQUENCE <= milliseconds <= MAX_SEQUENCE:
        raise WireError("time_out_of_range", "A time is beyond the limit.")
    return milliseconds
