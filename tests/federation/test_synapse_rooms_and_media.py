"""Public rooms, spaces, summaries, media, thumbnails and OpenID between our server and Synapse, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yarl
from tests.federation.peers import Authority, Peer, running_peer, running_synapse_peer, synapse_client
from tests.homeserver.media.media_support import fetch, opened, picture, uploaded
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Sides:
    """A user here and one there, and the servers' names."""

    peer: Peer
    ours: str
    theirs: str
    alice: MatrixClient
    bob: MatrixClient

    def name_of(self, client: MatrixClient) -> str:
        return client.user_id.partition(":")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    folder = tmp_path_factory.mktemp("rooms_and_media")
    authority = Authority(folder / "authority")
    extra = {
        "media_store_path": str(folder / "media"),
        "dynamic_thumbnails": True,
        "enable_authenticated_media": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "url_preview_enabled": False,
    }
    async with (
        aiohttp.ClientSession() as http,
        running_synapse_peer(folder / "synapse", authority, extra=extra) as synapse,
        running_peer(folder / "ours", authority) as ours,
    ):
        alice = await ours.register("alice")
        alice.sends_odd_events = True
        bob = await synapse_client(http, synapse, "bob")
        yield Sides(ours, ours.server_name, synapse.settings.server_name, alice, bob)


@pytest.fixture(params=["here", "there"])
def host_and_guest(request: pytest.FixtureRequest, sides: Sides) -> tuple[MatrixClient, MatrixClient]:
    """Whose server has it, and who asks from the other one."""
    return (sides.alice, sides.bob) if request.param == "here" else (sides.bob, sides.alice)


async def create(client: MatrixClient, **body: Any) -> str:
    return str((await client.post("v3/createRoom", body)).ok()["room_id"])


async def test_public_rooms(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]):
    host, guest = host_and_guest
    room_id = await create(host, name="Greenhouse", topic="Plants", visibility="public", preset="public_chat")
    space = await create(host, name="All", visibility="public", creation_content={"type": "m.space"})
    where = {"server": sides.name_of(host)}
    listed = (await guest.get("v3/publicRooms", **where)).ok()["chunk"]
    [found] = [room for room in listed if room["room_id"] == room_id]
    assert (found["name"], found["topic"], found["num_joined_members"]) == ("Greenhouse", "Plants", 1)
    body = {"filter": {"generic_search_term": "greenh", "room_types": [None]}, "limit": 5}
    assert [room["room_id"] for room in (await guest.post("v3/publicRooms", body, **where)).ok()["chunk"]] == [room_id]
    body = {"filter": {"room_types": ["m.space"]}}
    assert [room["room_id"] for room in (await guest.post("v3/publicRooms", body, **where)).ok()["chunk"]] == [space]
    first = (await guest.get("v3/publicRooms", limit=1, **where)).ok()
    rest = (await guest.get("v3/publicRooms", limit=1, since=first["next_batch"], **where)).ok()
    assert {room["room_id"] for page in (first, rest) for room in page["chunk"]} == {room_id, space}


async def test_spaces(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]):
    host, guest = host_and_guest
    own, other = sides.name_of(guest), sides.name_of(host)
    root = await create(guest, name="Root", preset="public_chat", creation_content={"type": "m.space"})
    below = await create(host, name="Below", preset="public_chat", creation_content={"type": "m.space"})
    leaf, secret = await create(host, name="Leaf", preset="public_chat"), await create(host, name="Secret")
    for client, parent, child, via, content in (
        (guest, root, below, other, {"order": "a", "suggested": True}),
        (host, below, leaf, other, {"order": "a"}),
        (host, below, secret, other, {"order": "b"}),
        (host, below, root, own, {"order": "c"}),
    ):
        path = f"v3/rooms/{escape(parent)}/state/m.space.child/{escape(child)}"
        (await client.put(path, {"via": [via], **content})).ok()
    found = (await guest.get(f"v1/rooms/{escape(root)}/hierarchy")).ok()["rooms"]
    assert [(room["room_id"], room["name"]) for room in found] == [(root, "Root"), (below, "Below"), (leaf, "Leaf")]
    assert [child["state_key"] for child in found[1]["children_state"]] == [leaf, secret, root]
    suggested = (await guest.get(f"v1/rooms/{escape(root)}/hierarchy", suggested_only=True)).ok()["rooms"]
    assert [room["room_id"] for room in suggested] == [root, below]


async def test_room_summaries(sides: Sides):
    room_id = await create(sides.bob, name="Cellar", preset="public_chat", room_alias_name="cellar")
    named = escape(f"#cellar:{sides.theirs}")
    summary = (await sides.alice.get(f"v1/room_summary/{named}")).ok()
    assert (summary["room_id"], summary["name"], summary["join_rule"]) == (room_id, "Cellar", "public")
    room_id = await create(sides.alice, name="Attic", preset="public_chat")
    path = f"unstable/im.nheko.summary/rooms/{escape(room_id)}/summary"
    assert (await sides.bob.get(path, via=sides.ours)).ok()["name"] == "Attic"


async def test_media_and_thumbnails(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]):
    host, guest = host_and_guest
    data = picture(400, 300, "PNG")
    name = await uploaded(host, data, filename="gärten.png")
    got = await fetch(guest, f"client/v1/media/download/{name}")
    assert (got.status, got.data, got.headers["Content-Type"]) == (200, data, "image/png")
    assert "g%C3%A4rten.png" in got.headers["Content-Disposition"]
    small = await fetch(guest, f"client/v1/media/thumbnail/{name}", width="96", height="96", method="crop")
    assert (small.status, opened(small.data).size) == (200, (96, 96))
    other = await uploaded(host, picture(640, 480, "PNG"))
    small = await fetch(guest, f"client/v1/media/thumbnail/{other}", width="320", height="240", method="scale")
    assert small.status == 200
    assert opened(small.data).size[0] <= 640
    missing = await fetch(guest, f"client/v1/media/download/{sides.name_of(host)}/nothinghere")
    assert missing.status == 404


async def test_a_large_file(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]):
    host, guest = host_and_guest
    data = bytes(range(256)) * 20_000
    name = await uploaded(host, data, "application/octet-stream")
    assert (await fetch(guest, f"client/v1/media/download/{name}")).data == data


async def test_a_file_that_comes_late(sides: Sides):
    made = (await sides.bob.post("/_matrix/media/v1/create")).ok()
    name = made["content_uri"].removeprefix("mxc://")
    waiting = asyncio.create_task(fetch(sides.alice, f"client/v1/media/download/{name}", timeout_ms="15000"))
    await asyncio.sleep(0.3)
    url = yarl.URL(f"{sides.bob.base_url}/_matrix/media/v3/upload/{name}")
    headers = {"Authorization": f"Bearer {sides.bob.token}", "Content-Type": "text/plain"}
    async with sides.bob.http.put(url, data=b"late", headers=headers) as response:
        assert response.status == 200
    got = await waiting
    assert (got.status, got.data) == (200, b"late")


async def test_openid(sides: Sides):
    """What a third party does: it asks the server that the token names."""
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as http:
        for client in (sides.alice, sides.bob):
            made = (await client.post(f"v3/user/{escape(client.user_id)}/openid/request_token", {})).ok()
            url = f"https://{made['matrix_server_name']}/_matrix/federation/v1/openid/userinfo"
            async with http.get(url, params={"access_token": made["access_token"]}) as response:
                assert (response.status, await response.json()) == (200, {"sub": client.user_id})


async def test_people_are_found_on_both_sides(sides: Sides):
    room_id = await create(sides.alice, name="Kitchen", preset="public_chat")
    (await sides.bob.post(f"v3/join/{escape(room_id)}?server_name={sides.ours}&via={sides.ours}")).ok()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = (await sides.alice.post("v3/user_directory/search", {"search_term": "bob"})).ok()["results"]
            if [person["user_id"] for person in found] == [sides.bob.user_id]:
                break
            await asyncio.sleep(0.1)
