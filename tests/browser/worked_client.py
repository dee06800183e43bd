"""A Matrix client in a Node process, told what to do by JSON lines: what both clients of these tests have in common.

Each command is one line on the process's stdin and is answered by one line on its stdout: {"result": ...}, or
{"error": ...} and, where there is a screen, {"on_screen": ...}. The process's complaints go to our stderr. Imports
nothing of the programs under test. Reading goes on in browser_client.py and sdk_client.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_SECONDS

FOLDER = Path(__file__).resolve().parent
# The client waits PATIENCE_SECONDS for each thing, and one command may need two.
ANSWER_SECONDS = 2 * PATIENCE_SECONDS + 10
END_SECONDS = 10.0
LINE_BYTES = 16 * 1024 * 1024


class ClientFailed(Exception):
    """The client did not do or show within its time what was asked; the message says what it showed instead."""


class WorkedClient:
    """The parent's end of the two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str, **parameters: Any) -> Any:
        """Send one command and return its result. Raises ClientFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **parameters}).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.result(command)

    async def result(self, command: str) -> Any:
        """The next line's result; `command` is for the message. Raises ClientFailed."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ClientFailed(f"{command}: no answer within {ANSWER_SECONDS:g} s") from None
        if not line:
            raise ClientFailed(f"{command}: the client's process ended")
        answer = json.loads(line)
        if "error" in answer:
            screen = f"\n--- on the screen:\n{answer['on_screen']}" if "on_screen" in answer else ""
            raise ClientFailed(f"{command}: {answer['error']}{screen}")
        return answer["result"]


@asynccontextmanager
async def node_process(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script of this folder; at the end close its stdin, which ends it, and wait for it."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(FOLDER / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
