"""Whether a room's m.room.server_acl lets a server take part.

Pure; imports glob only. Source: Client-Server API, "Server Access Control Lists (ACLs) for rooms". Asked for every
request of another server that concerns a room.
"""

from __future__ import annotations

import ipaddress
import re

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.glob import matches_whole

_PORT = re.compile(r":[0-9]{1,5}$", re.ASCII)


def server_allowed(content: JsonObject | None, server_name: str) -> bool:
    """Whether the server may take part. `content` is that of the room's m.room.server_acl, None if there is none.

    The port in `server_name` does not count. What has the wrong type counts as missing.
    """
    # 1. If there is no m.room.server_acl event in the room state, allow.
    if content is None:
        return True
    host = _PORT.sub("", server_name).lower()
    # 2. If the server name is an IP address literal, and allow_ip_literals is present and false, deny.
    if content.get("allow_ip_literals") is False and _is_ip_literal(host):
        return False
    # 3. If the server name matches an entry in the deny list, deny.
    if _matches_one(content.get("deny"), host):
        return False
    # 4. If the server name matches an entry in the allow list, allow. 5. Otherwise, deny.
    return _matches_one(content.get("allow"), host)


def _is_ip_literal(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _matches_one(patterns: object, host: str) -> bool:
    if not isinstance(patterns, list):
        return False
    return any(isinstance(pattern, str) and matches_whole(pattern.lower(), host) for pattern in patterns)
