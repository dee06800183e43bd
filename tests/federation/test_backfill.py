"""History of other servers: fetched when somebody pages back to it, and what is said when it cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.federation.federated_house import eventually
from tests.federation.peers import Peer, running_peers
from tests.homeserver.running import MatrixClient, escape


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[list[Peer]]:
    async with running_peers(tmp_path, 2) as both:
        yield both


async def send(client: MatrixClient, room_id: str, *bodies: str) -> None:
    for body in bodies:
        content = {"msgtype": "m.text", "body": body}
        (await client.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/{body}", content)).ok()


def bodies_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def page_back(client: MatrixClient, room_id: str, limit: int, start: str | None = None) -> list[dict[str, Any]]:
    """All events down to the beginning, newest first, page by page."""
    found: list[dict[str, Any]] = []
    query = {} if start is None else {"from": start}
    for _ in range(100):
        page = (await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=limit, **query)).ok()
        found += page["chunk"]
        if "end" not in page:
            return found
        query = {"from": page["end"]}
    raise AssertionError("no end")


@pytest.mark.parametrize("limit", [7, 100])
async def test_all_history_of_before_the_join(peers: list[Peer], limit: int) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat", "name": "Old"})).ok()["room_id"]
    told = [f"m{number}" for number in range(150)]
    await send(alice, room_id, *told)
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    found = await page_back(bob, room_id, limit)
    assert bodies_of(found) == told[::-1]
    there = await page_back(alice, room_id, limit)
    assert [event["event_id"] for event in found] == [event["event_id"] for event in there]
    assert found[-1]["type"] == "m.room.create"


async def test_paging_on_from_a_sync(peers: list[Peer]) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    await send(alice, room_id, *(f"m{number}" for number in range(20)))
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    timeline = (await bob.get("v3/sync")).ok()["rooms"]["join"][room_id]["timeline"]
    assert timeline["limited"]
    found = await page_back(bob, room_id, 10, timeline["prev_batch"])
    assert bodies_of(found) == [f"m{number}" for number in reversed(range(20))]


async def test_what_is_not_to_be_seen_is_not_given(peers: list[Peer]) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = {"preset": "public_chat", "initial_state": [hidden]}
    room_id = (await alice.post("v3/createRoom", room)).ok()["room_id"]
    await send(alice, room_id, "secret")
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    await send(alice, room_id, "open")

    async def arrived() -> bool:
        return bodies_of((await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b")).ok()["chunk"]) == ["open"]

    await eventually(arrived)
    found = await page_back(bob, room_id, 10)
    assert bodies_of(found) == ["open"]
    database = two.services.database
    rows = database.read(lambda c: c.execute("SELECT json FROM events WHERE room_id = ?", (room_id,)).fetchall())
    assert not any(b"secret" in row[0] for row in rows), "the other server gave it redacted"


async def test_nobody_to_ask(peers: list[Peer]) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    await send(alice, room_id, "old")
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    await one.stop()
    answer = (await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b")).ok()
    assert [event["sender"] for event in answer["chunk"]] == [bob.user_id]
    beyond = await bob.get(f"v3/rooms/{escape(room_id)}/messages", **{"dir": "b", "from": answer["end"]})
    beyond.is_error(502, "M_UNKNOWN")
    assert "servers of this room" in beyond.body["error"]
    await one.start()
    await eventually(lambda: _has_all(bob, room_id, ["old"]))


async def _has_all(client: MatrixClient, room_id: str, told: list[str]) -> bool:
    page = await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=100)
    return page.status == 200 and bodies_of(page.body["chunk"]) == told


async def test_the_other_server_was_away(peers: list[Peer]) -> None:
    """What was said meanwhile is fetched; what is too much at once is a gap, filled by whoever pages back."""
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    await two.stop()
    told = [f"m{number}" for number in range(120)]
    await send(alice, room_id, *told)
    await two.start()
    two.again(bob)
    await send(alice, room_id, "now")

    async def arrived() -> bool:
        return bodies_of((await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b")).ok()["chunk"])[:1] == ["now"]

    await eventually(arrived)
    assert bodies_of(await page_back(bob, room_id, 50)) == ["now", *told[::-1]]


async def test_context_over_a_gap(peers: list[Peer]) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    await send(alice, room_id, "old", "older")
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    join = (await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=1)).ok()["chunk"][0]
    context = (await bob.get(f"v3/rooms/{escape(room_id)}/context/{escape(join['event_id'])}", limit=4)).ok()
    assert bodies_of(context["events_before"]) == ["older", "old"]


async def test_an_event_by_its_time_in_history_that_is_not_here(peers: list[Peer]) -> None:
    one, two = peers
    alice, bob = await one.register("alice"), await two.register("bob")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    await send(alice, room_id, *(f"m{number}" for number in range(150)))
    found = await page_back(alice, room_id, 100)
    by_body = {event["content"].get("body"): event for event in found}
    (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
    wanted = by_body["m20"]
    path = f"v1/rooms/{escape(room_id)}/timestamp_to_event"
    for direction in ("f", "b"):
        answer = (await bob.get(path, ts=wanted["origin_server_ts"], dir=direction)).ok()
        assert answer["origin_server_ts"] == wanted["origin_server_ts"]
    there = (await alice.get(path, ts=wanted["origin_server_ts"], dir="f")).ok()["event_id"]
    answer = (await bob.get(path, ts=wanted["origin_server_ts"], dir="f")).ok()
    assert answer["event_id"] == there
    context = (await bob.get(f"v3/rooms/{escape(room_id)}/context/{escape(there)}", limit=10)).ok()
    assert context["event"]["event_id"] == there
    number = int(context["event"]["content"]["body"][1:])
    assert bodies_of(context["events_before"]) == [f"m{each}" for each in range(number - 1, number - 6, -1)]
    # Nothing is lost or twice of the rest.
    events = await page_back(bob, room_id, 40)
    assert [event["event_id"] for event in events] == [
        event["event_id"] for event in await page_back(alice, room_id, 99)
    ]
    (await bob.get(path, ts=1, dir="b")).is_error(404, "M_NOT_FOUND")


async def test_what_a_server_said_that_is_gone_by_now(tmp_path: Path) -> None:
    """One talks while two is away, and dies; three has it all, and two gets it from there."""
    async with running_peers(tmp_path, 3) as (one, two, three):
        alice, bob, carol = await one.register("alice"), await two.register("bob"), await three.register("carol")
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        for client in (bob, carol):
            (await client.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        await two.stop()
        told = [f"m{number}" for number in range(30)]
        await send(alice, room_id, *told)
        await eventually(lambda: _has_all(carol, room_id, told[::-1]))
        await one.stop()
        await two.start()
        two.again(bob)
        await send(carol, room_id, "now")
        await eventually(lambda: _has_all(bob, room_id, ["now", *told[::-1]]))
