"""How a request to another server is signed: what the signature covers, and the Authorization header it travels in.

May import core. Pure. Outgoing requests are signed in client.py, incoming ones checked in authentication.py.
Source: Server-Server API, "Request Authentication"; RFC 9110, sections 5.6.2, 5.6.4 and 11.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from thingroom_homeserver.core.canonical_json import encode_checked

SCHEME = "X-Matrix"
MAX_HEADER = 4096
MAX_PARAMETERS = 20

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LAX_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z:/=-]+")
"""A value without quotes. Colons are allowed for old servers; base64 has slashes, and padding some of them leave on."""
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_COMMAS = re.compile(r"[ \t]*(?:,[ \t]*)+")
_SPACES = re.compile(r" +")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One X-Matrix header. `destination` is None from servers older than its introduction."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def parse_authorization(header: str) -> Credentials | None:
    """The credentials in the value of an Authorization header; None for another scheme and for what is malformed."""
    if len(header) > MAX_HEADER or header[: len(SCHEME)].lower() != SCHEME.lower():
        return None
    spaces = _SPACES.match(header, len(SCHEME))
    parameters = None if spaces is None else _parameters(header, spaces.end())
    if parameters is None:
        return None
    origin, key_id, signature = (parameters.get(name) for name in ("origin", "key", "sig"))
    if origin is None or key_id is None or signature is None:
        return None
    return Credentials(origin, parameters.get("destination"), key_id, signature)


def authorization(credentials: Credentials) -> str:
    """The header's value, in the form that servers of every age read. The names and ids must be of their grammars."""
    assert credentials.destination is not None, "a destination is always sent"
    return (
        f'{SCHEME} origin="{credentials.origin}",destination="{credentials.destination}",'
        f'key="{credentials.key_id}",sig="{credentials.signature}"'
    )


def signed_bytes(method: str, uri: str, origin: str, destination: str, content: bytes | None) -> bytes:
    """The canonical JSON that is signed. `uri` is path and query as they are sent; `content` is canonical JSON."""
    fields = {"destination": destination, "method": method, "origin": origin, "uri": uri}
    rest = encode_checked(fields)
    return rest if content is None else b'{"content":' + content + b"," + rest[1:]


def _parameters(text: str, at: int) -> Mapping[str, str] | None:
    """The name=value pairs from `at` to the end, names in lower case; None unless all of it is that."""
    found: dict[str, str] = {}
    while True:
        name = _TOKEN.match(text, at)
        equals = _EQUALS.match(text, name.end()) if name else None
        if name is None or equals is None or len(found) == MAX_PARAMETERS:
            return None
        quoted = _QUOTED.match(text, equals.end())
        plain = None if quoted else _LAX_TOKEN.match(text, equals.end())
        if quoted is not None:
            value, at = _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
        elif plain is not None:
            value, at = plain[0], plain.end()
        else:
            return None
        key = name[0].lower()
        if key in found:
            return None  # whoever reads the first and whoever reads the last would not agree
        found[key] = value
        if at == len(text):
            return found
        comma = _COMMAS.match(text, at)
        if comma is None:
            return None
        at = comma.end()
        if at == len(text):
            return found
