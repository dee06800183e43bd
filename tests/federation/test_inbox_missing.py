"""Events whose ancestors are not here: fetched, waited for, done without, given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.federated_house import FederatedHouse, eventually, federated_house
from tests.federation.lying_peer import V1, lying_peer
from tests.federation.peers import Authority
from tests.homeserver.running import escape

from thingroom_homeserver.federation.intake import Arrival, take_in
from thingroom_homeserver.federation.waiting import Patience
from thingroom_homeserver.rooms.receipt_outcomes import Accepted


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[FederatedHouse]:
    async with federated_house(tmp_path, authority) as house:
        yield house


async def reads(house: FederatedHouse, *bodies: str | None) -> None:
    """Wait until these are the messages of the room, in this order."""

    async def arrived() -> bool:
        return await house.bodies(len(bodies) + 10) == list(bodies)

    try:
        await eventually(arrived)
    except TimeoutError:
        assert await house.bodies(len(bodies) + 10) == list(bodies), house.other.asked


async def test_missing_events_are_fetched(house: FederatedHouse) -> None:
    events = [house.other.message(f"m{number}") for number in range(30)]
    assert await house.other.sent(events[-1]) == {events[-1].event_id: None}
    await reads(house, *(f"m{number}" for number in range(30)))
    assert house.waiting == 0
    assert any("get_missing_events" in path for path in house.other.asked)


async def test_a_write_takes_in_no_more_than_there_is_time_for(house: FederatedHouse) -> None:
    rooms, origin = house.peer.services.rooms, house.other.server.server_name
    left = [house.other.message(f"m{number}") for number in range(3)]
    for number in range(3):
        taken = await rooms.database.write(
            partial(take_in, rooms, arrival=Arrival(origin, 0, 9), ordered=left, seconds=0)
        )
        assert list(taken) == [left[0].event_id] and isinstance(taken[left[0].event_id], Accepted)
        left = left[1:]
        await reads(house, *(f"m{each}" for each in range(number + 1)))


async def test_events_that_arrive_later_let_those_in_that_wait(house: FederatedHouse) -> None:
    released = asyncio.Event()

    async def never(request: web.Request, body: Any) -> Any:
        await released.wait()
        return {"events": []}

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", never)
    first, second, third = (house.other.message(f"m{number}") for number in range(3))
    assert await house.other.sent(third) == {third.event_id: None}
    assert await house.other.sent(second) == {second.event_id: None}
    assert house.waiting == 2
    assert await house.bodies() == []
    assert await house.other.sent(first) == {first.event_id: None}
    assert await house.bodies() == ["m0", "m1", "m2"], "at once, in the same write"
    assert house.waiting == 0
    released.set()


async def test_what_waits_outlives_a_restart(house: FederatedHouse) -> None:
    held = [True]

    def hold(request: web.Request, body: Any) -> Any:
        return web.json_response({}, status=503) if held[0] else house.other._on_missing(request, body)

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", hold)
    house.other.server.on("GET", rf"{V1}/(state_ids|event)/.+", hold)
    first, second = house.other.message("first"), house.other.message("second")
    assert await house.other.sent(second) == {second.event_id: None}
    assert house.waiting == 1
    await house.peer.stop()
    held[0] = False
    await house.peer.start()
    house.peer.again(house.owner)
    await house.other.sent(first)
    await reads(house, "first", "second")
    assert house.waiting == 0


async def test_history_too_long_to_fetch_leaves_a_gap(house: FederatedHouse) -> None:
    before = await house.send("before")
    await house.other_knows(before)
    house.other.make("m.room.member", {"membership": "join", "displayname": "M"}, house.other.user_id)
    events = [house.other.message(f"m{number}") for number in range(500)]
    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    assert await house.other.sent(events[-1]) == {events[-1].event_id: None}
    await eventually(lambda: house.waiting == 0)
    assert any("state_ids" in path for path in house.other.asked)
    # The state is what the other says: the new name is known although the event that set it was never sent.
    member = await house.owner.get(
        f"v3/rooms/{escape(house.room_id)}/state/m.room.member/{escape(house.other.user_id)}"
    )
    assert member.ok()["displayname"] == "M"


async def test_a_state_that_leaves_out_a_branch_is_not_used(house: FederatedHouse) -> None:
    other = house.other
    tip = list(other.tips)
    hidden = other.message("hidden", prev=tip, on_top=False)
    lost = other.message("lost", prev=tip, on_top=False)
    name = {"membership": "join", "displayname": "M"}
    renamed = other.make("m.room.member", name, other.user_id, prev=[lost.event_id], on_top=False)
    both = other.message("both", prev=[hidden.event_id, renamed.event_id], on_top=False)
    other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    honest = other._on_state_ids

    def not_of_renamed(request: web.Request, body: Any) -> Any:
        unknown = request.query["event_id"] in (renamed.event_id, lost.event_id)
        return web.json_response({}, status=404) if unknown else honest(request, body)

    other.server.on("GET", rf"{V1}/state_ids/.+", not_of_renamed)
    await other.send(renamed, both)
    tried = "SELECT COUNT(*) FROM staged_events WHERE attempts > 0"
    await eventually(lambda: house.peer.services.database.read(lambda c: c.execute(tried).fetchone()[0]) == 2)
    # The state after `hidden` is known, that after `renamed` is not: without it `both` would undo the new name.
    assert await house.bodies() == []
    await other.send(lost)
    await other.send(hidden)
    await eventually(lambda: house.waiting == 0)
    path = f"v3/rooms/{escape(house.room_id)}/state/m.room.member/{escape(other.user_id)}"
    assert (await house.owner.get(path)).ok()["displayname"] == "M"


async def test_what_cannot_be_had_is_given_up(tmp_path: Path, authority: Authority) -> None:
    async with federated_house(tmp_path, authority) as house:
        house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
        house.other.server.on("GET", rf"{V1}/(state_ids|state|event)/.+", lambda *_: web.json_response({}, status=404))
        orphan = house.other.message("orphan", prev=["$" + "A" * 43], on_top=False)
        assert await house.other.sent(orphan) == {orphan.event_id: None}
        assert house.waiting == 1
        good = house.other.message("good")
        await house.other.sent(good)
        await reads(house, "good")
        assert house.waiting == 1


async def test_after_so_many_attempts_it_is_dropped(house: FederatedHouse) -> None:
    house.peer.services.federation.inbox._waiting._patience = Patience(first_seconds=0.02, factor=1, attempts=3)
    nothing = web.json_response
    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    house.other.server.on("GET", rf"{V1}/(state_ids|state|event)/.+", lambda *_: nothing({}, status=404))
    orphan = house.other.message("orphan", prev=["$" + "A" * 43], on_top=False)
    await house.other.sent(orphan)
    await eventually(lambda: house.waiting == 0)
    edges = "SELECT COUNT(*) FROM staged_edges"
    assert house.peer.services.database.read(lambda c: c.execute(edges).fetchone()[0]) == 0
    # Later events bring it back, once its ancestors are to be had.
    assert await house.bodies() == []


async def test_another_server_of_the_room_has_it(house: FederatedHouse, authority: Authority) -> None:
    """The sender answers nothing; a third server knows the events that it has sent."""

    def refuse(request: web.Request, body: Any) -> web.Response:
        return web.json_response({"errcode": "M_FORBIDDEN", "error": "no"}, status=403)

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", refuse)
    house.other.server.on("GET", rf"{V1}/(state_ids|state|event|event_auth)/.+", refuse)
    async with lying_peer(authority, house.peer, house.room_id, "third") as third:
        join = third.tips[0]
        await house.other_knows(join)
        events = [house.other.message(f"m{number}") for number in range(5)]
        for event in events:
            third.events[event.event_id] = event
        await house.other.sent(events[-1])
        await reads(house, *(f"m{number}" for number in range(5)))
        assert any("get_missing_events" in path for path in third.asked)


async def test_a_room_with_a_gap_whose_servers_are_gone(house: FederatedHouse) -> None:
    """What lies below the gap is read all the same; and what is in it, once somebody is there to ask."""
    await house.send("old 1")
    old = await house.send("old 2")
    await house.other_knows(old)
    events = [house.other.message(f"m{number}") for number in range(10)]
    gone = [True]

    def perhaps(request: web.Request, body: Any) -> Any:
        return web.json_response({}, status=503) if gone[0] else house.other._on_backfill(request, body)

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    house.other.server.on("GET", rf"{V1}/backfill/.+", perhaps)
    await house.other.sent(events[-1])
    await eventually(lambda: house.waiting == 0)
    pages = await pages_back(house)
    assert pages[0] == ["m9"]
    assert [body for page in pages for body in page] == ["m9", "old 2", "old 1"]
    gone[0] = False

    async def filled() -> bool:
        found = [body for page in await pages_back(house) for body in page]
        return found == [*(f"m{number}" for number in reversed(range(10))), "old 2", "old 1"]

    await eventually(filled)
    # The other way round too.
    page = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/messages", dir="f", limit=100)).ok()
    bodies = [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
    assert bodies == ["old 1", "old 2", *(f"m{number}" for number in range(10))]


async def pages_back(house: FederatedHouse) -> list[list[str]]:
    """The messages of each page, from the newest to the beginning."""
    pages: list[list[str]] = []
    query: dict[str, Any] = {}
    for _ in range(20):
        answer = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/messages", dir="b", limit=30, **query)).ok()
        pages.append([event["content"]["body"] for event in answer["chunk"] if event["type"] == "m.room.message"])
        if "end" not in answer:
            return pages
        query = {"from": answer["end"]}
    raise AssertionError("no end")


@pytest.mark.parametrize("version", ["1", "12"])
async def test_a_large_state_is_fetched_at_once(tmp_path: Path, authority: Authority, version: str) -> None:
    """Two hundred users came while this server was away, and nobody can show the events one by one."""
    async with federated_house(tmp_path, authority, room={"room_version": version}) as house:
        users = [f"@user{number}:{house.other.name}" for number in range(200)]
        for user in users:
            house.other.make("m.room.member", {"membership": "join"}, user, sender=user)
        last = house.other.message("after all of them")
        house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
        house.other.asked.clear()
        assert await house.other.sent(last) == {last.event_id: None}
        await reads(house, "after all of them")
        members = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/joined_members")).ok()["joined"]
        assert set(members) == {house.owner.user_id, house.other.user_id, *users}
        assert sum("/event/" in path for path in house.other.asked) < 10


async def test_a_state_of_which_some_events_cannot_be_had(house: FederatedHouse) -> None:
    """In old rooms some events can be checked by nobody any more: the rest of the state will do."""
    users = [f"@user{number}:{house.other.name}" for number in range(50)]
    for user in users:
        house.other.make("m.room.member", {"membership": "join"}, user, sender=user)
    lost = house.other.state["m.room.member", users[7]]
    last = house.other.message("after all of them")
    known = house.other.events.pop(lost)
    house.other.state_before[last.event_id].pop(("m.room.member", users[7]))
    ids, chain = house.other.state_and_chain(last.event_id) or ([], [])
    told = {
        "pdu_ids": [known.event_id, *(event.event_id for event in ids)],
        "auth_chain_ids": [event.event_id for event in chain],
    }
    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    house.other.server.on("GET", rf"{V1}/state_ids/.+", told)
    await house.other.sent(last)
    await reads(house, "after all of them")
    members = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/joined_members")).ok()["joined"]
    assert set(members) == {house.owner.user_id, house.other.user_id, *users} - {users[7]}
