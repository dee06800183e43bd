"""matrix-js-sdk, the library under Element, in Node.

`async with sdk_client(homeserver_url) as client:`. The other side is js_sdk.mjs; its commands are called by name:
`await client.ask("send", room_id=..., text=...)`. Reading goes on in tests/flows/test_js_sdk.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.browser.worked_client import WorkedClient, node_process


@asynccontextmanager
async def sdk_client(homeserver_url: str) -> AsyncIterator[WorkedClient]:
    """A client that is not signed in yet; its process ends with the block."""
    async with node_process("js_sdk.mjs", homeserver_url.rstrip("/")) as process:
        yield WorkedClient(process)
