"""The grammar of Matrix identifiers: server names, user, room and event IDs, room aliases.

Imports only the standard library. Identifiers travel through the server as plain strings; these functions are asked
once, where bytes come in. Source: Matrix appendices, "Identifier Grammar". Next: event.py, which uses them on PDUs.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

MAX_IDENTIFIER_BYTES = 255
"""User IDs, room IDs, event IDs and aliases are at most this long, sigil and domain included."""

_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z.-]{1,255}))(?::[0-9]{1,5})?", re.ASCII
)
_NEW_LOCALPART = re.compile(r"[a-z0-9._=/+-]+", re.ASCII)
_URL_SAFE_HASH = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def is_valid_server_name(name: str) -> bool:
    """Whether `name` is a hostname, IPv4 or bracketed IPv6 address, with an optional port."""
    return len(name) <= MAX_IDENTIFIER_BYTES and _is_server_name(name)


@lru_cache(maxsize=4096)
def _is_server_name(name: str) -> bool:
    match = _HOST_AND_PORT.fullmatch(name)
    if match is None:
        return False
    if (ipv6 := match["ipv6"]) is None:
        return True
    try:
        ipaddress.IPv6Address(ipv6)
    except ValueError:
        return False
    return True


def _parse(text: str, sigil: str) -> tuple[str, str] | None:
    """Split `<sigil>localpart:domain`; None unless it is whole, short enough and has a valid domain."""
    if not text.startswith(sigil) or len(text) > MAX_IDENTIFIER_BYTES:
        return None
    localpart, colon, domain = text[1:].partition(":")
    if not colon or not _is_server_name(domain):
        return None
    if not text.isascii():
        try:
            if len(text.encode()) > MAX_IDENTIFIER_BYTES:
                return None
        except UnicodeEncodeError:  # a lone surrogate
            return None
    if "\0" in localpart:
        return None
    return localpart, domain


def parse_user_id(text: str) -> tuple[str, str] | None:
    """The localpart and server name of a user ID, or None.

    Accepts historical user IDs (any code points but `:` and NUL, even an empty localpart), as servers must. For
    accounts made here use `is_valid_new_localpart`.
    """
    return _parse(text, "@")


@lru_cache(maxsize=8192)
def _is_user_id(text: str) -> bool:
    return _parse(text, "@") is not None


def is_valid_user_id(text: object) -> bool:
    """Whether `text` is a string that is a user ID, historical ones included."""
    return isinstance(text, str) and len(text) <= MAX_IDENTIFIER_BYTES and _is_user_id(text)


def is_valid_new_localpart(localpart: str, server_name: str) -> bool:
    """Whether an account may be made here with this localpart: the strict grammar, and short enough with the domain."""
    if _NEW_LOCALPART.fullmatch(localpart) is None:
        return False
    return len(localpart) + len(server_name) + 2 <= MAX_IDENTIFIER_BYTES


def is_valid_room_alias(text: object) -> bool:
    """Whether `text` is a string that is a room alias."""
    return isinstance(text, str) and _parse(text, "#") is not None


def is_valid_room_id(text: object) -> bool:
    """Whether `text` is a room ID of any room version: `!localpart:domain`, or `!` and a hash (version 12)."""
    return isinstance(text, str) and (is_domainless_room_id(text) or _parse(text, "!") is not None)


def is_domainless_room_id(text: str) -> bool:
    """Whether `text` is `!` and the 43 characters of a create event's reference hash (room version 12)."""
    return text[:1] == "!" and _URL_SAFE_HASH.fullmatch(text, 1) is not None


def is_valid_event_id(text: object) -> bool:
    """Whether `text` can be an event ID of some room version: `$`, something, at most 255 bytes."""
    if not isinstance(text, str) or not 1 < len(text) <= MAX_IDENTIFIER_BYTES or text[0] != "$":
        return False
    return text.isascii() or len(text.encode("utf-8", "surrogatepass")) <= MAX_IDENTIFIER_BYTES


def parse_event_id(text: str) -> tuple[str, str] | None:
    """The opaque part and server name of a room version 1 or 2 event ID, or None (later versions have no domain)."""
    return _parse(text, "$")


def localpart_of(identifier: str) -> str:
    """What stands between the sigil and the first colon: `alice` in `@alice:example.org`."""
    return identifier[1:].partition(":")[0]


def server_name_of(identifier: str) -> str:
    """The server name in an identifier: `example.org:8448` in `@alice:example.org:8448`.

    Raises ValueError when there is none, as in version 12 room IDs; identifiers of parsed events that must have one do.
    """
    _, colon, domain = identifier.partition(":")
    if not colon:
        raise ValueError(f"{identifier!r} has no server name")
    return domain
