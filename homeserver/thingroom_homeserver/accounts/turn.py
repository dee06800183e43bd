"""Credentials for a TURN server that last for a while, as coturn's `use-auth-secret` checks them. Pure.

The name is "expiry:user", the password is HMAC-SHA1 of it in base64 (draft-uberti-behave-turn-rest-00, section 2.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from thingroom_homeserver.config_accounts import Turn


def turn_credentials(turn: Turn, user_id: str, now_ms: int) -> dict[str, Any]:
    """The answer of /voip/turnServer: {} without a TURN server."""
    if not turn.uris:
        return {}
    name = f"{now_ms // 1000 + turn.lifetime}:{user_id}"
    mac = hmac.new(turn.shared_secret.encode(), name.encode(), hashlib.sha1)
    return {
        "username": name,
        "password": base64.b64encode(mac.digest()).decode(),
        "uris": list(turn.uris),
        "ttl": turn.lifetime,
    }
