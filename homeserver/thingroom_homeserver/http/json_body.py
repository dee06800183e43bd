"""Request bodies: bytes become a JSON object here.

May import core's JSON reader, which limits the nesting. Size is limited while reading, in `frame.py`.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from thingroom_homeserver.core.canonical_json import JsonDecodeError, decode_json
from thingroom_homeserver.http.errors import MatrixError

_LONG_INTEGER = re.compile(rb"[0-9]{19}")


def parse_json_object(data: bytes, *, any_integers: bool = False) -> dict[str, Any]:
    """The JSON object in `data`. `any_integers`: also beyond 64 bits, which events of old room versions may hold.

    Raises MatrixError: M_NOT_JSON for what is not JSON or nested too deeply, M_BAD_JSON for a value of another kind.
    """
    try:
        value = decode_json(data)
    except JsonDecodeError as error:
        raise MatrixError(400, "M_NOT_JSON", f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MatrixError(400, "M_BAD_JSON", "The body must be a JSON object")
    if not any_integers and _LONG_INTEGER.search(data) is not None and not _can_be_written(value):
        raise MatrixError(400, "M_BAD_JSON", "The body holds an integer beyond 64 bits")
    return value


def _can_be_written(value: dict[str, Any]) -> bool:
    """Whether the value can be encoded again: what is read here is stored and sent on."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
