"""Canonical JSON, and reading JSON from people we do not trust.

May import orjson and the standard library. The encoder refuses what the grammar refuses (floats, integers beyond
2^53-1, lone surrogates) instead of writing something near it. Source: Matrix appendices, "Canonical JSON".
Next: hashing.py and signing.py, the two users of these bytes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeAlias

import orjson

JsonObject: TypeAlias = dict[str, Any]
JsonValue: TypeAlias = Any
"""None, bool, int, str, list of JsonValue, or JsonObject (float only outside canonical JSON)."""

MAX_INTEGER = 2**53 - 1
MAX_NESTING = 128
"""How deep arrays and objects may nest, in what is read and in what is written."""
NESTING_OUTSIDE = 8
"""How many of these levels are left for what wraps a thing that travels: a transaction, and the request around it."""
MAX_JSON_BYTES = 64 * 1024 * 1024
"""The default size limit of `decode_json`; callers with a smaller one of their own pass it."""

_LONG_INTEGER = re.compile(rb"[0-9]{19}")


class CanonicalJsonError(ValueError):
    """A value cannot be written as canonical JSON. `path` says where (`content.levels[2]`), `reason` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path or 'the value'}: {reason}")
        self.path = path
        self.reason = reason


class JsonDecodeError(ValueError):
    """Bytes are not JSON, or more of it than we are ready to read."""


def encode_canonical_json(value: JsonValue, *, strict: bool = True) -> bytes:
    """The canonical JSON of `value`, as UTF-8. Raises CanonicalJsonError.

    `strict=False` is for events of room versions 1 to 5, which may hold floats and integers of any size: those are
    written as Python's and therefore the widespread servers' encoders write them, so that hashes agree.
    """
    if strict:
        check_canonical(value)
        return encode_checked(value)
    try:
        check_canonical(value)
    except CanonicalJsonError:
        return _encode_lax(value)
    return encode_checked(value)


def encode_json(value: JsonValue) -> bytes:
    """`value` as JSON, not canonical: for storage and answers. Integers of any size, which old events may hold."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_length(value: JsonValue) -> int | None:
    """How many bytes `value` has as JSON; None if it holds integers beyond 64 bits, which most parsers would spoil."""
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return None


def encode_checked(value: JsonValue) -> bytes:
    """The canonical JSON of a value which `check_canonical` has passed already, or which is made of such values."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # a lone surrogate: the check leaves strings to the encoder
        raise CanonicalJsonError("", str(error)) from None


def _encode_lax(value: JsonValue) -> bytes:
    _check_lax(value, MAX_NESTING)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise CanonicalJsonError("", "a string holds a lone surrogate") from None


def check_canonical(value: JsonValue, max_nesting: int = MAX_NESTING) -> None:
    """Raise CanonicalJsonError unless `value` is made of JSON types whose numbers are integers in ±(2^53-1)."""
    if (fault := _find_fault(value, max_nesting)) is not None:
        path, reason = fault
        raise CanonicalJsonError(path.removeprefix("."), reason)


def _find_fault(value: JsonValue, nesting: int) -> tuple[str, str] | None:
    """Where the first offending value is, and what is wrong with it. `nesting`: how many more levels are allowed."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return None
    if kind is int:
        return None if -MAX_INTEGER <= value <= MAX_INTEGER else ("", "an integer is beyond 2^53-1")
    if kind is dict:
        if nesting == 0:
            return "", "too many levels of nesting"
        for key, item in value.items():
            if type(key) is not str:
                return "", f"the key {key!r} is not a string"
            if type(item) is not str and (fault := _find_fault(item, nesting - 1)) is not None:
                return f".{key}{fault[0]}", fault[1]
        return None
    if kind is list:
        if nesting == 0:
            return "", "too many levels of nesting"
        for index, item in enumerate(value):
            if type(item) is not str and (fault := _find_fault(item, nesting - 1)) is not None:
                return f"[{index}]{fault[0]}", fault[1]
        return None
    if kind is float:
        return "", "a float"
    return "", f"{kind.__name__} is not a JSON type"


def _check_lax(value: JsonValue, nesting: int) -> None:
    kind = type(value)
    if kind is dict or kind is list:
        if nesting == 0:
            raise CanonicalJsonError("", "too many levels of nesting")
        if kind is dict and not all(type(key) is str for key in value):
            raise CanonicalJsonError("", "a key is not a string")
        for item in value.values() if kind is dict else value:
            _check_lax(item, nesting - 1)
    elif kind is float:
        if not math.isfinite(value):
            raise CanonicalJsonError("", "a number is not finite")
    elif not (kind is str or kind is int or kind is bool or value is None):
        raise CanonicalJsonError("", f"{kind.__name__} is not a JSON type")


def decode_json(data: bytes, *, max_depth: int = MAX_NESTING, max_bytes: int = MAX_JSON_BYTES) -> JsonValue:
    """Read untrusted JSON (UTF-8, no NaN, no lone surrogates; of duplicate keys the last wins). Raises JsonDecodeError.

    Integers keep their value whatever their size, since the hashes of old events depend on it.
    """
    if len(data) > max_bytes:
        raise JsonDecodeError(f"more than {max_bytes} bytes")
    try:
        value = orjson.loads(data)
        if data.count(b"[") + data.count(b"{") > max_depth:
            _check_depth(value, max_depth)
        if _LONG_INTEGER.search(data) is not None:  # orjson makes floats of what has more than 64 bits
            value = json.loads(data)
    except ValueError as error:
        raise JsonDecodeError(str(error)) from None
    return value


def _check_depth(value: JsonValue, max_depth: int) -> None:
    """Raise JsonDecodeError when arrays and objects nest deeper than `max_depth`. Level by level, without recursion."""
    level = [value]
    for _ in range(max_depth):
        level = [
            item
            for container in level
            if type(container) is dict or type(container) is list
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return
    raise JsonDecodeError(f"more than {max_depth} levels of nesting")
