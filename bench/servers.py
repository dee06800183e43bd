"""The two homeservers under comparison, started and stopped in the same way, each over its own data directory.

Ours is the program `python -m thingroom_homeserver`; Synapse comes from tests/synapse_peer. The time from the start of
the process to the first answer is taken by the same code for both.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.free_port import free_port
from tests.synapse_peer.server import SynapseSettings, running_synapse, wait_until_answers

SERVER_NAME = "bench.test"


@dataclass(frozen=True)
class Running:
    """A server that answers. `started_in` is seconds from the start of the process to the first answer."""

    name: str
    base_url: str
    pid: int
    started_in: float
    registration_shared_secret: str


class ServerFailed(Exception):
    """The server did not start; the message ends with what it printed."""


@asynccontextmanager
async def synapse(directory: Path, appservice_files: tuple[Path, ...] = ()) -> AsyncIterator[Running]:
    """Synapse with SQLite and without rate limits."""
    settings = SynapseSettings(server_name=SERVER_NAME, appservice_files=appservice_files)
    async with running_synapse(directory, settings) as server:
        yield Running("Synapse", server.base_url, server.pid, server.started_in, server.registration_shared_secret)


@asynccontextmanager
async def ours(directory: Path, appservice_files: tuple[Path, ...] = ()) -> AsyncIterator[Running]:
    """Our homeserver without rate limits."""
    directory.mkdir(parents=True, exist_ok=True)
    secret, port = secrets.token_hex(16), free_port()
    config = directory / "thingroom.toml"
    config.write_text(_our_configuration(directory, port, secret, appservice_files), encoding="utf-8")
    config.chmod(0o600)
    log = directory / "homeserver.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "thingroom_homeserver", "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    base_url = f"http://127.0.0.1:{port}"
    try:
        try:
            await wait_until_answers(base_url, process, 30)
        except TimeoutError as error:
            tail = log.read_bytes()[-4000:].decode(errors="replace")
            raise ServerFailed(f"our homeserver did not start: {error}\n{tail}") from None
        yield Running("Thingroom", base_url, process.pid, time.perf_counter() - began, secret)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 15)


def _our_configuration(directory: Path, port: int, secret: str, appservice_files: tuple[Path, ...]) -> str:
    # A JSON string or array of strings is a TOML one too.
    return f"""\
[homeserver]
server_name = "{SERVER_NAME}"
listeners = ["127.0.0.1:{port}"]
data_directory = {json.dumps(str(directory))}
registration = "shared_secret"
registration_shared_secret = "{secret}"
appservice_files = {json.dumps([str(path) for path in appservice_files])}
rate_limits = false
"""
