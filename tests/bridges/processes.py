"""Programs of others that the tests start: with a log in the test's folder, and gone when the block ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

STOP_SECONDS = 5.0
TAIL_BYTES = 4000


@contextlib.asynccontextmanager
async def running(log: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`command` as a process, in the folder of its `log`, while the block runs. A failing block ends with the log."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=log.parent, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    except BaseException as error:
        error.add_note(f"{command[0]} said:\n{log.read_bytes()[-TAIL_BYTES:].decode(errors='replace')}")
        raise
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL when that takes too long. Safe to call twice."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until 127.0.0.1:port takes connections; fails when the process ends before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            assert process.returncode is None, f"it ended with {process.returncode}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def until_it_says(process: asyncio.subprocess.Process, log: Path, text: str) -> None:
    """Wait until `text` is in the log; fails when the process ends before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while text not in log.read_text(errors="replace"):
            assert process.returncode is None, f"it ended with {process.returncode}"
            await asyncio.sleep(0.05)


async def output_of(folder: Path, *command: str) -> str:
    """What a command that ends by itself prints; fails if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0, output.decode(errors="replace")
    return output.decode()
