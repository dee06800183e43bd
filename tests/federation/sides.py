"""Servers behind the gates of a network, each with users of its own: what tests of agreement are played on.

Two of ours as processes and a Synapse, or only ours. What a server keeps of an event that it shows to nobody is read
from its database file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.federation.network import Network, running_network
from tests.federation.peers import Authority, ProcessPeer, running_process_peer, running_synapse_peer, synapse_client
from tests.federation.shared_room import register_at
from tests.free_port import free_port
from tests.homeserver.running import MatrixClient, escape

CLIENT_SECONDS = 60.0

OURS_SET_ASIDE = "SELECT event_id, CASE WHEN soft_failed THEN 'soft-failed' ELSE 'rejected' END FROM events\
 WHERE room_id = ? AND (soft_failed OR rejected IS NOT NULL)"
SYNAPSE_SET_ASIDE = "SELECT event_id, CASE WHEN rejections.event_id IS NULL THEN 'soft-failed' ELSE 'rejected' END\
 FROM event_json LEFT JOIN rejections USING (event_id) WHERE room_id = ?\
 AND (rejections.event_id IS NOT NULL OR json_extract(internal_metadata, '$.soft_failed'))"


@dataclass
class Side:
    """A server, and those who live there. `anchor` stays in the room; `users` come and go."""

    name: str
    anchor: MatrixClient
    users: list[MatrixClient]
    database: Path
    set_aside_query: str
    process: ProcessPeer | None = None
    """None for Synapse."""

    @property
    def is_ours(self) -> bool:
        return self.process is not None

    @property
    def clients(self) -> list[MatrixClient]:
        return [self.anchor, *self.users]

    def set_aside(self, room_id: str) -> dict[str, str]:
        """Events of the room that the server has and shows to nobody: "soft-failed" or "rejected"."""
        return dict(self._rows(self.set_aside_query, room_id))

    def count(self, query: str, *values: str) -> int:
        """A number out of the server's database."""
        return int(next(iter(self._rows(query, *values)))[0])

    def _rows(self, query: str, *values: str) -> Iterable[tuple]:  # type: ignore[type-arg]
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(query, values).fetchall()


@dataclass
class Sides:
    """All of them."""

    network: Network
    all: list[Side]

    @property
    def ours(self) -> list[Side]:
        return [side for side in self.all if side.is_ours]

    def of(self, user_id: str) -> Side:
        """The side on which that user lives."""
        return next(side for side in self.all if user_id.endswith(f":{side.name}"))

    @property
    def clients(self) -> list[MatrixClient]:
        return [client for side in self.all for client in side.clients]


@contextlib.asynccontextmanager
async def running_sides(
    directory: Path, *, ours: int = 2, synapses: int = 1, users: int = 2, **changes: object
) -> AsyncIterator[Sides]:
    """So many servers, each with an anchor and so many more users. `changes` are of our servers' configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority(directory / "authority")
    names = [f"user{number}" for number in range(users)]
    async with contextlib.AsyncExitStack() as stack:
        network = await stack.enter_async_context(running_network(authority))
        timeout = aiohttp.ClientTimeout(total=CLIENT_SECONDS)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        sides = []
        for number in range(ours):
            gate = await network.open_gate()
            folder = directory / f"ours{number}"
            peer = await stack.enter_async_context(running_process_peer(folder, authority, server_name=gate, **changes))
            network.stands_behind(gate, peer.federation_port)
            clients = [await register_at(http, peer.base_url, name) for name in ("anchor", *names)]
            for client in clients:
                client.sends_odd_events = True  # Synapse puts null where there is no avatar
            database = folder / "data" / "homeserver.db"
            sides.append(Side(gate, clients[0], clients[1:], database, OURS_SET_ASIDE, peer))
        for number in range(synapses):
            gate, port = await network.open_gate(), free_port()
            folder = directory / f"synapse{number}"
            synapse = await stack.enter_async_context(
                running_synapse_peer(folder, authority, server_name=gate, port=port)
            )
            network.stands_behind(gate, port)
            clients = [await synapse_client(http, synapse, name) for name in ("anchor", *names)]
            sides.append(Side(gate, clients[0], clients[1:], folder / "homeserver.db", SYNAPSE_SET_ASIDE))
        yield Sides(network, sides)


async def state_of(client: MatrixClient, room_id: str) -> dict[tuple[str, str], str]:
    """The room's state as the client is told it: event ids by type and state key."""
    answer = await client.get(f"v3/rooms/{escape(room_id)}/state")
    assert answer.status == 200, (client.user_id, answer)
    return {(each["type"], each["state_key"]): each["event_id"] for each in answer.body}


async def differences(sides: Sides, room_id: str) -> list[str]:
    """In what the states of the room differ that the anchors are told, in words."""
    states = [await state_of(side.anchor, room_id) for side in sides.all]
    found = []
    for key in sorted({key for state in states for key in state}):
        values = [state.get(key) for state in states]
        if len(set(values)) > 1:
            found.append(f"{key}: " + ", ".join(f"{s.name} {v}" for s, v in zip(sides.all, values, strict=True)))
    return found
