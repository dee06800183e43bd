"""Two servers of a kind that federate over TLS on loopback, as processes: two of ours, or two Synapses."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.federation.peers import Authority, running_process_peer, running_synapse_peer


@dataclass(frozen=True)
class Federating:
    """A server that answers clients at `base_url`, and other servers at its name."""

    server_name: str
    base_url: str
    pid: int
    registration_shared_secret: str


@contextlib.asynccontextmanager
async def our_pair(directory: Path, authority: Authority) -> AsyncIterator[tuple[Federating, Federating]]:
    """Two of ours without rate limits."""
    async with contextlib.AsyncExitStack() as stack:
        pair = []
        for name in ("one", "two"):
            secret = secrets.token_hex(16)
            settings = {"registration": "shared_secret", "registration_shared_secret": secret}
            peer = await stack.enter_async_context(running_process_peer(directory / name, authority, **settings))
            assert peer.process is not None
            pair.append(Federating(peer.server_name, peer.base_url, peer.process.pid, secret))
        yield pair[0], pair[1]


@contextlib.asynccontextmanager
async def synapse_pair(directory: Path, authority: Authority) -> AsyncIterator[tuple[Federating, Federating]]:
    """Two Synapses with SQLite and without rate limits."""
    async with contextlib.AsyncExitStack() as stack:
        pair = []
        for name in ("one", "two"):
            server = await stack.enter_async_context(running_synapse_peer(directory / name, authority))
            secret = server.registration_shared_secret
            pair.append(Federating(server.settings.server_name, server.base_url, server.pid, secret))
        yield pair[0], pair[1]
