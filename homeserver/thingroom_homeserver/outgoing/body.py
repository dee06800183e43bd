"""Reading what somebody else's server answers, of which nobody knows how long it is.

May import aiohttp. Used by federation/connections.py and media/guarded_fetch.py.
"""

from __future__ import annotations

import aiohttp


async def body_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, or None if it is longer."""
    if response.content_length is not None and response.content_length > max_bytes:
        return None
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            return None
    return bytes(data)
