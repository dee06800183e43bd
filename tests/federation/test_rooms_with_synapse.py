"""What is said and found in rooms between our server and Synapse, whichever of them made the room."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.federation.peers import Authority, running_peer, running_synapse_peer, synapse_client
from tests.federation.shared_room import history, say, until
from tests.federation.synapse_sides import VERSIONS, Sides, agree, becomes, create
from tests.homeserver.media.media_support import fetch, opened, picture, uploaded
from tests.homeserver.running import MatrixClient, escape

Pair = tuple[MatrixClient, MatrixClient]

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def send(client: MatrixClient, room_id: str, kind: str, number: int, content: dict[str, Any]) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/{kind}/n{number}"
    return str((await client.put(path, content)).ok()["event_id"])


async def redact(client: MatrixClient, room_id: str, event_id: str) -> str:
    path = f"v3/rooms/{escape(room_id)}/redact/{escape(event_id)}/r{abs(hash(event_id))}"
    return str((await client.put(path, {"reason": "A mistake"})).ok()["event_id"])


async def has(client: MatrixClient, room_id: str, *event_ids: str) -> None:
    """Wait until the client can see these events."""

    async def check() -> bool:
        return set(event_ids) <= {event["event_id"] for event in await history(client, room_id)}

    await until(check)


async def related(client: MatrixClient, room_id: str, event_id: str, kind: str) -> list[str]:
    """The events that relate to one in that way, as the client's server finds them."""
    path = f"v1/rooms/{escape(room_id)}/relations/{escape(event_id)}/{kind}"
    return [event["event_id"] for event in (await client.get(path)).ok()["chunk"]]


def bare(events: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The events as both servers must show them: the rest is each server's own word."""
    return {event["event_id"]: (event["type"], event.get("state_key"), event["content"]) for event in events}


async def shared(sides: Sides, host: MatrixClient, guest: MatrixClient, version: str) -> str:
    """A room in which both have power."""
    users = {guest.user_id: 50} if version == "12" else {host.user_id: 100, guest.user_id: 50}
    levels = {"users": users}
    room_id = await create(host, version, preset="public_chat", power_level_content_override=levels)
    (await guest.post(f"v3/join/{escape(room_id)}?{sides.via(host)}")).ok()
    await becomes(host, room_id, guest.user_id, "join")
    return room_id


@pytest.mark.parametrize("version", VERSIONS)
async def test_messages_relations_state_and_redactions(sides: Sides, host_and_guest: Pair, version: str):
    host, guest = host_and_guest
    room_id = await shared(sides, host, guest, version)
    for one, other in ((host, guest), (guest, host)):
        first = await say(one, room_id, f"said-by-{one.user_id[1:4]}")
        await has(other, room_id, first)
        answer = {"msgtype": "m.text", "body": "yes", "m.relates_to": {"m.in_reply_to": {"event_id": first}}}
        in_thread = {"rel_type": "m.thread", "event_id": first}
        edit = {"rel_type": "m.replace", "event_id": first}
        new = {"msgtype": "m.text", "body": "said otherwise"}
        like = {"rel_type": "m.annotation", "event_id": first, "key": "👍"}
        reply = await send(other, room_id, "m.room.message", 1, answer)
        threaded = await send(other, room_id, "m.room.message", 2, {**new, "m.relates_to": in_thread})
        reaction = await send(other, room_id, "m.reaction", 3, {"m.relates_to": like})
        edited = await send(one, room_id, "m.room.message", 4, {**new, "m.new_content": new, "m.relates_to": edit})
        await has(one, room_id, reply, threaded, reaction)
        await has(other, room_id, edited)
        for client in (one, other):
            assert await related(client, room_id, first, "m.annotation") == [reaction]
            assert await related(client, room_id, first, "m.thread") == [threaded]
            assert await related(client, room_id, first, "m.replace") == [edited]
            found = (await client.get(f"v3/rooms/{escape(room_id)}/event/{escape(first)}")).ok()
            assert found["unsigned"]["m.relations"]["m.replace"]["event_id"] == edited
            assert found["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"] == threaded
        # One's own, and with power that of another, who is of the other server.
        await has(other, room_id, await redact(one, room_id, edited))
        await has(other, room_id, await redact(one, room_id, reply))
        await has(one, room_id, await redact(other, room_id, reaction))
        for client in (one, other):
            for event_id in (edited, reply, reaction):
                event = (await client.get(f"v3/rooms/{escape(room_id)}/event/{escape(event_id)}")).ok()
                assert event["content"] == {}
                assert event["unsigned"]["redacted_because"]["type"] == "m.room.redaction"
            assert await related(client, room_id, first, "m.annotation") == []
        kind = f"v3/rooms/{escape(room_id)}/state/m.room.topic"
        (await one.put(kind, {"topic": f"Of {one.user_id}"})).ok()
        (await one.put(f"v3/rooms/{escape(room_id)}/state/org.example.state/key", {"by": one.user_id})).ok()
        await agree(sides, room_id)
        assert (await other.get(kind)).ok()["topic"] == f"Of {one.user_id}"

    async def equal() -> bool:
        ours, theirs = await history(sides.alice, room_id), await history(sides.bob, room_id)
        return bare(ours) == bare(theirs)

    await until(equal)


async def test_files_and_thumbnails(sides: Sides, host_and_guest: Pair):
    owner, reader = host_and_guest
    data = picture(320, 160, "PNG")
    name = await uploaded(owner, data, filename="meter.png")
    got = await fetch(reader, f"client/v1/media/download/{name}")
    assert (got.status, got.data, got.headers["Content-Type"]) == (200, data, "image/png")
    assert "meter.png" in got.headers["Content-Disposition"]
    small = await fetch(reader, f"client/v1/media/thumbnail/{name}", width="32", height="32", method="crop")
    assert (small.status, opened(small.data).size) == (200, (32, 32))
    assert (await fetch(reader, f"client/v1/media/download/{sides.servers(owner)}/nothing")).status == 404


async def test_public_rooms_and_aliases(sides: Sides, host_and_guest: Pair):
    host, guest = host_and_guest
    server = sides.servers(host)
    names = ("Winter garden", "Winter shed")
    rooms = {
        name: await create(host, "12", preset="public_chat", name=name, visibility="public", topic="Plants")
        for name in names
    }
    alias = f"#winter:{server}"
    path = f"v3/directory/room/{escape(alias)}"
    (await guest.get(path)).is_error(404, "M_NOT_FOUND")
    (await host.put(path, {"room_id": rooms[names[0]]})).ok()
    found = (await guest.get(path)).ok()
    assert found["room_id"] == rooms[names[0]]
    assert server in found["servers"]

    listed = {room["room_id"]: room for room in (await guest.get("v3/publicRooms", server=server)).ok()["chunk"]}
    assert set(rooms.values()) <= set(listed)
    shed = listed[rooms["Winter shed"]]
    assert (shed["name"], shed["topic"], shed["num_joined_members"]) == ("Winter shed", "Plants", 1)
    wish = {"filter": {"generic_search_term": "garden"}, "limit": 10}
    answer = (await guest.post("v3/publicRooms", wish, server=server)).ok()
    assert [room["room_id"] for room in answer["chunk"]] == [rooms["Winter garden"]]
    first = (await guest.get("v3/publicRooms", server=server, limit=1)).ok()
    rest = (await guest.get("v3/publicRooms", server=server, limit=1, since=first["next_batch"])).ok()
    assert {room["room_id"] for room in (*first["chunk"], *rest["chunk"])} == set(rooms.values())

    (await host.delete(path)).ok()
    (await guest.get(path)).is_error(404, "M_NOT_FOUND")


async def test_spaces_over_both_servers(sides: Sides, host_and_guest: Pair):
    host, guest = host_and_guest
    space = await create(host, "12", preset="public_chat", name="All", creation_content={"type": "m.space"})
    near = await create(host, "12", preset="public_chat", name="Near")
    inner = await create(guest, "12", preset="public_chat", name="Far", creation_content={"type": "m.space"})
    leaf = await create(guest, "11", preset="public_chat", name="Leaf")
    hidden = await create(guest, "12", preset="private_chat")
    for user, parent, child in (
        (host, space, near),
        (host, space, inner),
        (guest, inner, leaf),
        (guest, inner, hidden),
    ):
        owner = host if child == near else guest
        content = {"via": [sides.servers(owner)], "order": "a" if child in (near, leaf) else "b"}
        (await user.put(f"v3/rooms/{escape(parent)}/state/m.space.child/{escape(child)}", content)).ok()
    (await guest.post(f"v3/join/{escape(space)}?{sides.via(host)}")).ok()
    await agree(sides, space)
    tree = (await host.get(f"v1/rooms/{escape(space)}/hierarchy")).ok()["rooms"]
    assert [room["room_id"] for room in tree] == [space, near, inner, leaf]
    assert [room.get("name") for room in tree] == ["All", "Near", "Far", "Leaf"]
    tree = (await guest.get(f"v1/rooms/{escape(space)}/hierarchy")).ok()["rooms"]
    assert {room["room_id"] for room in tree} == {space, near, inner, leaf, hidden}


async def test_the_event_at_a_time_and_its_context(sides: Sides, host_and_guest: Pair):
    """Of a time before the guest came: the guest's server has to ask for both."""
    host, guest = host_and_guest
    room_id = await create(host, "12", preset="public_chat")
    said = [await say(host, room_id, f"early-{number}") for number in range(30)]
    event = (await host.get(f"v3/rooms/{escape(room_id)}/event/{escape(said[3])}")).ok()
    (await guest.post(f"v3/join/{escape(room_id)}?{sides.via(host)}")).ok()
    path = f"v1/rooms/{escape(room_id)}/timestamp_to_event"
    found = (await guest.get(path, ts=event["origin_server_ts"], dir="f")).ok()
    assert found["origin_server_ts"] == event["origin_server_ts"]
    assert found["event_id"] in said
    around = (await guest.get(f"v3/rooms/{escape(room_id)}/context/{escape(found['event_id'])}", limit=4)).ok()
    assert around["event"]["event_id"] == found["event_id"]


@pytest.mark.asyncio(loop_scope="function")
async def test_access_lists(tmp_path: Path, authority: Authority):
    """The list knows no ports, so one of the two is called by its address."""
    async with (
        aiohttp.ClientSession() as http,
        running_synapse_peer(tmp_path / "synapse", authority) as synapse,
        running_peer(tmp_path / "ours", authority, host="127.0.0.1") as ours,
    ):
        alice = await ours.register("alice")
        alice.sends_odd_events = True
        sam = await synapse_client(http, synapse, "sam")
        for host, guest in ((alice, sam), (sam, alice)):
            await _denied_and_allowed(host, guest)


async def _denied_and_allowed(host: MatrixClient, guest: MatrixClient) -> None:
    server = host.user_id.partition(":")[2]
    via = f"via={server}&server_name={server}"
    denial = {"allow": ["*"], "deny": [guest.user_id.split(":")[1]]}
    room_id = await create(host, "12", preset="public_chat")
    rule = f"v3/rooms/{escape(room_id)}/state/m.room.server_acl"
    (await guest.post(f"v3/join/{escape(room_id)}?{via}")).ok()
    await has(host, room_id, await say(guest, room_id, "before"))
    (await host.put(rule, denial)).ok()
    # Their server may not know of the list, but what they say arrives nowhere.
    unheard = await guest.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/m", {"msgtype": "m.text", "body": "x"})
    state = [{"type": "m.room.server_acl", "state_key": "", "content": denial}]
    closed = await create(host, "12", preset="public_chat", initial_state=state)
    (await guest.post(f"v3/join/{escape(closed)}?{via}")).is_error(403, "M_FORBIDDEN")
    await asyncio.sleep(1)
    assert unheard.body.get("event_id") not in {event["event_id"] for event in await history(host, room_id)}
    for each in (room_id, closed):
        (await host.put(f"v3/rooms/{escape(each)}/state/m.room.server_acl", {"allow": ["*"]})).ok()
    await has(guest, room_id, await say(host, room_id, "welcome"))
    await has(host, room_id, await say(guest, room_id, "after"))
    (await guest.post(f"v3/join/{escape(closed)}?{via}")).ok()
