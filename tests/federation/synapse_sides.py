"""A server of ours and a Synapse with a user on each, for tests that share them; what these users see of a room."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.federation.peers import Authority, Peer, running_peer, running_synapse_peer, synapse_client
from tests.federation.shared_room import until
from tests.homeserver.running import MatrixClient, escape

VERSIONS = tuple(str(number) for number in range(1, 13))
"""All that Synapse supports, as we do."""
_COUNTER = itertools.count()


@dataclass
class Sides:
    """A user here and one there. `ours` and `theirs` are the servers' names."""

    peer: Peer
    theirs: str
    alice: MatrixClient
    bob: MatrixClient

    @property
    def ours(self) -> str:
        return self.peer.server_name

    def servers(self, client: MatrixClient) -> str:
        """The name of the client's own server."""
        return client.user_id.partition(":")[2]

    def via(self, client: MatrixClient) -> str:
        """The query of a join or knock by way of the client's server. Synapse also wants its old name."""
        return f"via={self.servers(client)}&server_name={self.servers(client)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    folder = tmp_path_factory.mktemp("sides")
    authority = Authority(folder / "authority")
    async with (
        aiohttp.ClientSession() as http,
        running_synapse_peer(folder / "synapse", authority) as synapse,
        running_peer(folder / "ours", authority) as ours,
    ):
        alice = await ours.register("alice")
        alice.sends_odd_events = True  # Synapse puts null where there is no avatar
        bob = await synapse_client(http, synapse, "bob")
        yield Sides(ours, synapse.settings.server_name, alice, bob)


async def create(client: MatrixClient, version: str, **body: Any) -> str:
    made = await client.post("v3/createRoom", {"room_version": version, **body})
    return str(made.ok()["room_id"])


async def membership(client: MatrixClient, room_id: str, user_id: str) -> str | None:
    answer = await client.get(f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(user_id)}")
    return answer.body.get("membership") if answer.status == 200 else None


async def becomes(client: MatrixClient, room_id: str, user_id: str, wanted: str) -> None:
    """Wait until the client sees that membership."""

    async def check() -> bool:
        return await membership(client, room_id, user_id) == wanted

    await until(check)


async def rooms_in_sync(client: MatrixClient, kind: str) -> dict[str, Any]:
    """The rooms of a kind in a first /sync. Synapse keeps its answers to equal questions for a while."""
    found: dict[str, Any] = (await client.get("v3/sync", timeout=next(_COUNTER))).ok().get("rooms", {})
    return found.get(kind, {})


async def shown(client: MatrixClient, kind: str, room_id: str) -> Any:
    """What /sync has of the room among those of a kind: waits for it."""

    async def check() -> Any:
        return (await rooms_in_sync(client, kind)).get(room_id)

    return await until(check)


async def not_shown(client: MatrixClient, kind: str, room_id: str) -> None:
    async def check() -> bool:
        return room_id not in await rooms_in_sync(client, kind)

    await until(check)


async def state_of(client: MatrixClient, room_id: str) -> dict[tuple[str, str], str]:
    answer = await client.get(f"v3/rooms/{escape(room_id)}/state")
    assert answer.status == 200, answer
    return {(each["type"], each["state_key"]): each["event_id"] for each in answer.body}


async def agree(sides: Sides, room_id: str) -> None:
    async def check() -> bool:
        return await state_of(sides.alice, room_id) == await state_of(sides.bob, room_id)

    await until(check)


@pytest.fixture(params=["here", "there"])
def host_and_guest(request: pytest.FixtureRequest, sides: Sides) -> tuple[MatrixClient, MatrixClient]:
    """Who makes the room, and who comes from the other server."""
    return (sides.alice, sides.bob) if request.param == "here" else (sides.bob, sides.alice)
