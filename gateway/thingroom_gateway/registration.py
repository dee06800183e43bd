"""The application service registration: the file that homeserver and gateway share (Application Service API).

`make_registration` is pure; `write_registration` and `load_registration` touch the file. May import msgspec (whose yaml
module needs PyYAML). The file is written as JSON, which every YAML reader reads.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from thingroom_gateway.gateway_keys import write_private

SENDER_LOCALPART: Final = "thingroom"
GHOST_PREFIX: Final = "thing_"
ALIAS_PREFIX: Final = "thingroom_"


class RegistrationError(Exception):
    """The registration cannot be used; the message says which file and why."""


class _Namespace(msgspec.Struct, frozen=True, kw_only=True):
    regex: str = ""


class _Namespaces(msgspec.Struct, frozen=True, kw_only=True):
    users: tuple[_Namespace, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    as_token: str
    hs_token: str
    sender_localpart: str
    url: str | None = None
    namespaces: _Namespaces = _Namespaces()


@dataclass(frozen=True, slots=True)
class Registration:
    """What the gateway needs of its registration. `users` are the regular expressions of its users' ids."""

    id: str
    as_token: str
    hs_token: str
    sender_localpart: str
    url: str
    users: tuple[str, ...]

    def covers(self, user: str) -> bool:
        """Whether the file gives that user to the gateway."""
        return any(re.match(pattern, user) for pattern in self.users)


def make_registration(server_name: str, url: str, as_token: str, hs_token: str) -> dict[str, object]:
    """The registration as an object: bot `thingroom`, exclusive users `@thing_*` and aliases `#thingroom_*`."""
    server = re.escape(server_name)
    return {
        "id": "thingroom",
        "url": url,
        "as_token": as_token,
        "hs_token": hs_token,
        "sender_localpart": SENDER_LOCALPART,
        "rate_limited": False,
        "namespaces": {
            "users": [{"exclusive": True, "regex": f"@{GHOST_PREFIX}.*:{server}"}],
            "aliases": [{"exclusive": True, "regex": f"#{ALIAS_PREFIX}.*:{server}"}],
            "rooms": [],
        },
    }


def write_registration(path: Path, server_name: str, url: str, replace: bool = False) -> Registration:
    """Make a registration with new tokens; leave the one that is there, unless it is to be replaced.

    Raises RegistrationError, OSError.
    """
    if replace or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make_registration(server_name, url, secrets.token_hex(32), secrets.token_hex(32))
        write_private(path, (json.dumps(made, indent=2) + "\n").encode())
    return load_registration(path)


def load_registration(path: Path) -> Registration:
    """Read the registration, JSON or YAML. Raises RegistrationError."""
    try:
        file = msgspec.yaml.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        raise RegistrationError(f"{path} does not exist. Write one with: thingroom gateway register") from None
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RegistrationError(f"{path} is no registration: {error}") from None
    try:
        users = tuple(re.compile(one.regex).pattern for one in file.namespaces.users)
    except re.error as error:
        raise RegistrationError(f"{path} has a namespace that is no regular expression: {error}") from None
    return Registration(file.id, file.as_token, file.hs_token, file.sender_localpart, file.url or "", users)
