"""Asking an identity server whether it still stands by the key of a third-party invite.

May import aiohttp and this package's connections. The URL stands in the room's state, so it is fetched over the guarded
session only. Source: Client-Server API, "Third-party invites"; Identity Service API, /pubkey/isvalid.
"""

from __future__ import annotations

import asyncio

import aiohttp
import yarl

from thingroom_homeserver.core.canonical_json import JsonDecodeError, decode_json
from thingroom_homeserver.federation.connections import read_at_most

SECONDS = 10.0
MAX_BYTES = 65_536
MAX_URL = 2000


class KeyValidity:
    """The identity servers' word on their keys. A server that does not federate has no session, and asks nobody."""

    def __init__(self, http: aiohttp.ClientSession | None) -> None:
        self._http = http

    async def is_valid(self, url: str, public_key: str) -> bool:
        """Whether GET `url`?public_key=… says that the key is valid. False for what cannot be asked."""
        if self._http is None:
            return True
        try:
            target = yarl.URL(url).update_query(public_key=public_key)
            if len(url) > MAX_URL or target.scheme not in ("http", "https"):
                return False
            async with asyncio.timeout(SECONDS), self._http.get(target, allow_redirects=False) as response:
                data = await read_at_most(response, MAX_BYTES)
                value = decode_json(data or b"") if response.status == 200 else None
        except (aiohttp.ClientError, OSError, ValueError, JsonDecodeError):
            return False
        return isinstance(value, dict) and value.get("valid") is True
