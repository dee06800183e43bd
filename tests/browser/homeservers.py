"""The homeservers that the stock clients are run against: ours, and Synapse as the reference.

A flow that passes with Synapse and fails with ours shows a fault of ours; one that fails with both shows a fault of
the flow or the client. Both run as processes; nothing of ours is imported. Reading goes on in person.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS
from tests.synapse_peer.server import SynapseSettings, running_synapse, wait_until_answers

STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Homeserver:
    """A running homeserver and the secret that makes accounts on it."""

    name: str
    base_url: str
    server_name: str
    registration_shared_secret: str

    async def register(self, localpart: str, password: str) -> None:
        """Make an account with the shared secret. Raises aiohttp.ClientResponseError."""
        url = f"{self.base_url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(url) as response:
                nonce = (await response.json())["nonce"]
            proof = "\0".join((nonce, localpart, password, "notadmin")).encode()
            mac = hmac.new(self.registration_shared_secret.encode(), proof, hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": localpart, "password": password, "admin": False, "mac": mac}
            async with session.post(url, json=body):
                pass


@asynccontextmanager
async def running_thingroom(
    directory: Path, appservice_files: Sequence[Path] = (), port: int = 0
) -> AsyncIterator[Homeserver]:
    """Our homeserver with its data in `directory`, on a free port if `port` is 0.

    Raises TimeoutError with the end of its log.
    """
    port = port or free_port()
    base_url = f"http://127.0.0.1:{port}"
    secret = "not a secret in tests"
    (directory / "data").mkdir(parents=True, exist_ok=True)
    config = directory / "thingroom.toml"
    config.write_text(
        f"""[homeserver]
server_name = "thingroom.test"
listeners = ["127.0.0.1:{port}"]
public_base_url = "{base_url}"
data_directory = "data"
registration = "shared_secret"
registration_shared_secret = "{secret}"
rate_limits = false
appservice_files = {json.dumps([str(path) for path in appservice_files])}
""",
        encoding="utf-8",
    )
    log = directory / "homeserver.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "thingroom_homeserver", "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        try:
            await wait_until_answers(base_url, process, PATIENCE_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from None
        yield Homeserver("thingroom", base_url, "thingroom.test", secret)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def running_reference(directory: Path, appservice_files: Sequence[Path] = ()) -> AsyncIterator[Homeserver]:
    """Synapse with its data in `directory`."""
    settings = SynapseSettings(appservice_files=tuple(appservice_files))
    async with running_synapse(directory, settings) as synapse:
        yield Homeserver("synapse", synapse.base_url, settings.server_name, synapse.registration_shared_secret)
