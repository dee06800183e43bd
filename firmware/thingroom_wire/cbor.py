"""CBOR (RFC 8949): a deterministic encoder and a strict, bounded decoder.

Imports errors and limits only. The encoder writes core deterministic encoding (section 4.2.1). The decoder accepts
every well-formed encoding of the types below, deterministic or not, and refuses the rest with a reason. Next: senml
and cose, which give the items their meaning.
"""

import struct
from collections import namedtuple

from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_DECIMAL_EXPONENT, MAX_DEPTH, MAX_ENVELOPE, MAX_ITEMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Tag = namedtuple("Tag", ("number", "value"))
"""A tagged item other than a decimal fraction; bignums (tags 2 and 3) stay Tag(2, bytes)."""

Decimal = namedtuple("Decimal", ("mantissa", "exponent"))
"""A decimal fraction (tag 4): mantissa * 10**exponent, both int, the mantissa within 64 bits."""

Simple = namedtuple("Simple", ("number",))
"""A simple value other than false, true and null; Simple(23) is undefined."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_INDEFINITE = 31
_BREAK = 0xFF
_DECIMAL_FRACTION = 4
_ARRAY_OF_TWO = 0x82
_LARGEST = (1 << 64) - 1


# --- encoding -------------------------------------------------------------------------------------------------------


def encode(value: "Any") -> bytes:
    """Return the core deterministic encoding of `value`.

    Takes int (-2**64 to 2**64-1), bytes, bytearray, str, list, tuple, dict with int, bytes or str keys, bool, None,
    float, Tag, Decimal and Simple. Anything else is the caller's bug: TypeError for a type, ValueError for a range.
    """
    out = bytearray()
    _write(out, value)
    return bytes(out)


def encode_head(major: int, argument: int) -> bytes:
    """Return the shortest head (RFC 8949 section 3) of a major type 0 to 7 with an argument below 2**64."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument < 1 << 8:
        return bytes((major << 5 | 24, argument))
    if argument < 1 << 16:
        return bytes((major << 5 | 25, argument >> 8, argument & 0xFF))
    if argument < 1 << 32:
        return bytes((major << 5 | 26,)) + argument.to_bytes(4, "big")
    if argument <= _LARGEST:
        return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")
    raise ValueError("integer beyond 64 bits")


def _write(out: bytearray, value: "Any") -> None:
    kind = type(value)
    if kind is int:
        out.extend(encode_head(_UNSIGNED, value) if value >= 0 else encode_head(_NEGATIVE, -1 - value))
    elif kind is bytes or kind is bytearray:
        out.extend(encode_head(_BYTES, len(value)))
        out.extend(value)
    elif kind is str:
        encoded = value.encode()
        out.extend(encode_head(_TEXT, len(encoded)))
        out.extend(encoded)
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    elif kind is Tag:
        out.extend(encode_head(_TAG, value.number))
        _write(out, value.value)
    elif kind is Decimal:
        out.extend(encode_head(_TAG, _DECIMAL_FRACTION))
        _write(out, [value.exponent, value.mantissa])
    elif kind is Simple:
        _write_simple(out, value.number)
    elif kind is list or isinstance(value, tuple):
        out.extend(encode_head(_ARRAY, len(value)))
        for element in value:
            _write(out, element)
    elif kind is dict:
        _write_map(out, value)
    elif kind is float:
        out.extend(_encode_float(value))
    else:
        raise TypeError("no CBOR encoding for this type")


def _write_map(out: bytearray, value: "dict[Any, Any]") -> None:
    entries = []
    for key in value:
        if type(key) is not int and type(key) is not str and type(key) is not bytes:
            raise TypeError("map keys are int, str or bytes")
        entries.append((encode(key), value[key]))
    entries.sort(key=_first)
    out.extend(encode_head(_MAP, len(entries)))
    for encoded_key, element in entries:
        out.extend(encoded_key)
        _write(out, element)


def _first(entry: "tuple[bytes, Any]") -> bytes:
    return entry[0]


def _write_simple(out: bytearray, number: int) -> None:
    if 24 <= number < 32 or not 0 <= number <= 255:
        raise ValueError("no such simple value")
    out.extend(encode_head(_OTHER, number))


def _encode_float(value: float) -> bytes:
    """Shortest of half, single and double that keeps the value (section 4.2.1); one NaN, f97e00 (4.2.2)."""
    if value != value:
        return b"\xf9\x7e\x00"
    try:
        single = struct.pack(">f", value)
    except OverflowError:
        return b"\xfb" + struct.pack(">d", value)
    if struct.unpack(">f", single)[0] != value:
        return b"\xfb" + struct.pack(">d", value)
    half = _single_to_half(int.from_bytes(single, "big"))
    if half is None:
        return b"\xfa" + single
    return b"\xf9" + half.to_bytes(2, "big")


def _single_to_half(bits: int) -> "int | None":
    """The half-precision bits of the same value, None where half precision cannot hold it."""
    sign = bits >> 16 & 0x8000
    exponent = (bits >> 23 & 0xFF) - 127
    mantissa = bits & 0x7FFFFF
    if exponent == 128:
        return sign | 0x7C00
    if exponent == -127:
        return sign if mantissa == 0 else None
    if -14 <= exponent <= 15:
        return None if mantissa & 0x1FFF else sign | (exponent + 15) << 10 | mantissa >> 13
    if -24 <= exponent < -14:
        mantissa |= 0x800000
        dropped = -1 - exponent
        return None if mantissa & ((1 << dropped) - 1) else sign | mantissa >> dropped
    return None


# --- decoding -------------------------------------------------------------------------------------------------------


def decode(data: bytes, max_bytes: int = MAX_ENVELOPE, max_depth: int = MAX_DEPTH, max_items: int = MAX_ITEMS) -> "Any":
    """Return the value of the one data item that `data` is; raise WireError and nothing else.

    Arrays become list, maps dict, tag 4 Decimal, other tags Tag, simple values Simple, floats float (rounded to single
    precision on a board whose floats have 32 bits). Indefinite lengths are accepted. Refused: trailing bytes, duplicate
    keys, keys other than int, str and bytes, invalid UTF-8, reserved values, and whatever passes a limit. A declared
    length is compared with the bytes that are left before anything is allocated for it.
    """
    if len(data) > max_bytes:
        raise WireError("too_large", "The encoding is longer than the limit.")
    if type(data) is not bytes:
        data = bytes(data)
    items, position = _read_items(data, 0, 1, max_depth, [max_items - 1])
    if position != len(data):
        raise WireError("trailing_bytes", "Bytes follow the data item.")
    return items[0]


def _truncated() -> WireError:
    return WireError("truncated", "The input ends inside a data item.")


def _too_many_items() -> WireError:
    return WireError("too_many_items", "There are more data items than the limit.")


def _read_items(data: bytes, position: int, count: int, depth: int, budget: "list[int]") -> "tuple[list[Any], int]":
    """Read `count` items from `position` on, with at most `depth` containers; return them and the position after them.

    `budget` holds how many items may still come; who holds an item (container, tag, string in chunks) pays for it.
    A gateway spends much of its time in here: what is not a container is read without a further call.
    """
    end = len(data)
    items: list[Any] = []
    for _ in range(count):
        if position >= end:
            raise _truncated()
        initial = data[position]
        position += 1
        if initial < 24:
            items.append(initial)
            continue
        major = initial >> 5
        argument = initial & 31
        if argument >= 24:
            if major == _OTHER or argument == _INDEFINITE:
                value, position = _read_special(data, position, major, argument, depth, budget)
                items.append(value)
                continue
            if argument == 24 and position < end:
                argument = data[position]
                position += 1
            else:
                argument, position = _read_argument(data, position, argument)
        if major == _UNSIGNED:
            items.append(argument)
        elif major == _NEGATIVE:
            items.append(-1 - argument)
        elif major == _TEXT or major == _BYTES:
            stop = position + argument
            if stop > end:
                raise WireError("length_exceeds_input", "A declared length is longer than the input.")
            items.append(data[position:stop] if major == _BYTES else _text(data[position:stop]))
            position = stop
        elif major == _OTHER:
            items.append(_simple(argument))
        else:
            if depth <= 0:
                raise WireError("too_deep", "Containers are nested deeper than the limit.")
            if major == _TAG:
                value, position = _read_tagged(data, position, argument, depth, budget)
                items.append(value)
                continue
            held = argument if major == _ARRAY else 2 * argument
            if held > end - position:
                raise WireError("length_exceeds_input", "A declared length is longer than the input.")
            budget[0] -= held
            if budget[0] < 0:
                raise _too_many_items()
            children, position = _read_items(data, position, held, depth - 1, budget)
            items.append(children if major == _ARRAY else _map(children))
    return items, position


def _read_tagged(data: bytes, position: int, tag: int, depth: int, budget: "list[int]") -> "tuple[Any, int]":
    """Read the content of a tag; `depth` counts the tag itself."""
    if tag == _DECIMAL_FRACTION and depth > 1 and position < len(data) and data[position] == _ARRAY_OF_TWO:
        # What every fraction in definite lengths looks like: spare the array a turn of its own.
        _spend(budget, 3)
        parts, position = _read_items(data, position + 1, 2, depth - 2, budget)
        return _decimal(parts), position
    _spend(budget, 1)
    content, position = _read_items(data, position, 1, depth - 1, budget)
    return (_decimal(content[0]) if tag == _DECIMAL_FRACTION else Tag(tag, content[0])), position


def _read_special(
    data: bytes, position: int, major: int, argument: int, depth: int, budget: "list[int]"
) -> "tuple[Any, int]":
    if major == _OTHER:
        return _read_other(data, position, argument)
    return _read_indefinite(data, position, major, depth, budget)


def _map(children: "list[Any]") -> "dict[Any, Any]":
    """The map of keys and values in turn."""
    entries: dict[Any, Any] = {}
    for index in range(0, len(children), 2):
        key = children[index]
        kind = type(key)
        if kind is not int and kind is not str and kind is not bytes:
            raise WireError("bad_key", "A map key is neither an integer nor a string.")
        entries[key] = children[index + 1]
    if 2 * len(entries) != len(children):
        raise WireError("duplicate_key", "A map has the same key twice.")
    return entries


def _spend(budget: "list[int]", items: int) -> None:
    budget[0] -= items
    if budget[0] < 0:
        raise _too_many_items()


def _read_argument(data: bytes, position: int, additional: int) -> "tuple[int, int]":
    if additional == 24 and position < len(data):
        return data[position], position + 1
    if additional > 27:
        raise WireError("reserved_value", "Additional information 28 to 30 is reserved.")
    end = position + (1 << (additional - 24))
    if end > len(data):
        raise _truncated()
    if additional == 25:
        return data[position] << 8 | data[position + 1], end
    return int.from_bytes(data[position:end], "big"), end


def _read_indefinite(data: bytes, position: int, major: int, depth: int, budget: "list[int]") -> "tuple[Any, int]":
    if major == _BYTES or major == _TEXT:
        return _read_chunks(data, position, major, budget)
    if major != _ARRAY and major != _MAP:
        raise WireError("reserved_value", "This major type has no indefinite length.")
    if depth <= 0:
        raise WireError("too_deep", "Containers are nested deeper than the limit.")
    elements: list[Any] = []
    step = 2 if major == _MAP else 1
    while not _at_break(data, position):
        _spend(budget, step)
        children, position = _read_items(data, position, step, depth - 1, budget)
        elements.extend(children)
    return (_map(elements) if major == _MAP else elements), position + 1


def _read_chunks(data: bytes, position: int, major: int, budget: "list[int]") -> "tuple[Any, int]":
    chunks = []
    while not _at_break(data, position):
        if data[position] >> 5 != major or data[position] & 31 == _INDEFINITE:
            raise WireError("bad_chunk", "A chunk of a string is not a definite-length string of its type.")
        _spend(budget, 1)
        chunk, position = _read_items(data, position, 1, 0, budget)
        chunks.extend(chunk)
    return (b"" if major == _BYTES else "").join(chunks), position + 1


def _at_break(data: bytes, position: int) -> bool:
    if position >= len(data):
        raise _truncated()
    return data[position] == _BREAK


def _simple(number: int) -> "Any":
    if number == 20 or number == 21:
        return number == 21
    return None if number == 22 else Simple(number)


def _read_other(data: bytes, position: int, additional: int) -> "tuple[Any, int]":
    """Read what follows an initial byte of major type 7 with this additional information, 24 or more."""
    if additional == _INDEFINITE:
        raise WireError("unexpected_break", "A break stands where a data item should.")
    bits, end = _read_argument(data, position, additional)
    if additional == 24:
        if bits < 32:
            raise WireError("reserved_value", "A simple value below 32 is written in two bytes.")
        return Simple(bits), end
    if additional == 25:
        return _half(bits), end
    return struct.unpack(">f" if additional == 26 else ">d", data[position:end])[0], end


def _half(bits: int) -> float:
    exponent = bits >> 10 & 31
    mantissa = bits & 0x3FF
    if exponent == 31:
        value = float("nan") if mantissa else float("inf")
    elif exponent == 0:
        value = mantissa / 16777216.0
    else:
        value = (mantissa + 1024) * 2.0 ** (exponent - 25)
    return -value if bits & 0x8000 else value


def _decimal(content: "Any") -> "Decimal":
    if type(content) is not list or len(content) != 2:
        raise WireError("bad_decimal", "A decimal fraction is not an array of two.")
    exponent, mantissa = content
    if type(exponent) is not int or type(mantissa) is not int:
        raise WireError("bad_decimal", "The parts of a decimal fraction are not integers of at most 64 bits.")
    if not -MAX_DECIMAL_EXPONENT <= exponent <= MAX_DECIMAL_EXPONENT:
        raise WireError("decimal_out_of_range", "The exponent of a decimal fraction is beyond the limit.")
    return Decimal(mantissa, exponent)


def is_utf8(data: bytes) -> bool:
    """Whether `data` is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.

    MicroPython's own decoder checks only the shape of the bytes.
    """
    index = 0
    end = len(data)
    while index < end:
        lead = data[index]
        index += 1
        if lead < 0x80:
            continue
        if 0xC2 <= lead <= 0xDF:
            following = 1
        elif 0xE0 <= lead <= 0xEF:
            following = 2
        elif 0xF0 <= lead <= 0xF4:
            following = 3
        else:
            return False
        if index + following > end:
            return False
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if not low <= data[index] <= high:
            return False
        for offset in range(1, following):
            if data[index + offset] >> 6 != 2:
                return False
        index += following
    return True


def _decoder_is_strict() -> bool:
    try:
        b"\xed\xa0\x80".decode()
    except UnicodeError:
        return True
    return False


_STRICT = _decoder_is_strict()


def _text(data: bytes) -> str:
    if not _STRICT and not is_utf8(data):
        raise WireError("bad_utf8", "A text string is not UTF-8.")
    try:
        return data.decode()
    except UnicodeError:
        pass
    raise WireError("bad_utf8", "A text string is not UTF-8.")
