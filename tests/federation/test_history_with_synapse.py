"""History that crosses between our server and Synapse: paged back to, missed and fetched, in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.federation.federated_house import eventually
from tests.federation.peers import Authority, Peer, running_peer, running_synapse_peer, synapse_client
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

VERSIONS = tuple(str(number) for number in range(1, 13))


@dataclass
class Sides:
    """Our server and one of its users, Synapse's name and one of its users."""

    ours: Peer
    alice: MatrixClient
    synapse_name: str
    bob: MatrixClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    folder = tmp_path_factory.mktemp("history")
    authority = Authority(folder / "authority")
    async with (
        aiohttp.ClientSession() as http,
        running_synapse_peer(folder / "synapse", authority) as synapse,
        running_peer(folder / "ours", authority) as ours,
    ):
        alice = await ours.register("alice")
        alice.sends_odd_events = True
        bob = await synapse_client(http, synapse, "bob")
        yield Sides(ours, alice, synapse.settings.server_name, bob)


async def send(client: MatrixClient, room_id: str, *bodies: str) -> None:
    for body in bodies:
        content = {"msgtype": "m.text", "body": body}
        (await client.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/{body}", content)).ok()


async def page_back(client: MatrixClient, room_id: str, limit: int = 30) -> list[dict[str, Any]]:
    """All events down to the beginning, newest first."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {}
    for _ in range(40):
        page = (await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=limit, **query)).ok()
        found += page["chunk"]
        if "end" not in page or (not page["chunk"] and query.get("from") == page["end"]):
            return found
        query = {"from": page["end"]}
    raise AssertionError("no end")


def bodies_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", VERSIONS)
async def test_synapses_history_is_read_here(sides: Sides, version: str) -> None:
    made = await sides.bob.post("v3/createRoom", {"preset": "public_chat", "room_version": version})
    room_id = made.ok()["room_id"]
    told = [f"m{number}" for number in range(40)]
    await send(sides.bob, room_id, *told)
    (await sides.alice.post(f"v3/join/{escape(room_id)}", via=sides.synapse_name)).ok()
    found = await page_back(sides.alice, room_id)
    assert bodies_of(found) == told[::-1]
    assert found[-1]["type"] == "m.room.create"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", VERSIONS)
async def test_our_history_is_read_at_synapse(sides: Sides, version: str) -> None:
    made = await sides.alice.post("v3/createRoom", {"preset": "public_chat", "room_version": version})
    room_id = made.ok()["room_id"]
    told = [f"m{number}" for number in range(40)]
    await send(sides.alice, room_id, *told)
    (await sides.bob.post(f"v3/join/{escape(room_id)}", {}, server_name=sides.ours.server_name)).ok()

    async def has_all() -> bool:
        return bodies_of(await page_back(sides.bob, room_id, 100)) == told[::-1]

    await eventually(has_all, PATIENCE_SECONDS, 0.2)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_synapse_said_while_we_were_away(sides: Sides) -> None:
    room_id = (await sides.bob.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await sides.alice.post(f"v3/join/{escape(room_id)}", via=sides.synapse_name)).ok()
    await sides.ours.stop()
    told = [f"m{number}" for number in range(60)]
    await send(sides.bob, room_id, *told)
    await sides.ours.start()
    sides.ours.again(sides.alice)
    await send(sides.bob, room_id, "now")

    async def has_all() -> bool:
        return bodies_of(await page_back(sides.alice, room_id, 100)) == ["now", *told[::-1]]

    await eventually(has_all, PATIENCE_SECONDS, 0.2)
