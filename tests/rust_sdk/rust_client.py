"""The Rust SDK under Element X: `async with rust_client(homeserver_url, folder) as client:`.

The other side is client_process.py; its commands are called by name: `await client.ask("send", room_id=..., text=...)`.
Reading goes on in tests/flows/test_rust_sdk.py.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.browser.worked_client import END_SECONDS, LINE_BYTES, WorkedClient
from tests.rust_sdk.environment import rust_sdk_folder

PROGRAM = Path(__file__).with_name("client_process.py")


@asynccontextmanager
async def rust_client(homeserver_url: str, folder: Path) -> AsyncIterator[WorkedClient]:
    """A client that is not signed in yet, with its stores in `folder`; its process ends with the block."""
    sdk = await asyncio.to_thread(rust_sdk_folder)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), homeserver_url, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        env={**os.environ, "PYTHONPATH": str(sdk)},
    )
    try:
        yield WorkedClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
