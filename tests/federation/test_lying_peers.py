"""Servers that lie: what they send and answer is refused as the specification says, costs little, and harms nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.federated_house import FederatedHouse, eventually, federated_house
from tests.federation.lying_peer import V1, lying_peer
from tests.federation.peers import REQUEST_SECONDS, Authority
from tests.homeserver.running import escape

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.signing import SigningKey

NOBODY_HAS = "$" + "A" * 43


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[FederatedHouse]:
    async with federated_house(tmp_path, authority) as house:
        yield house


def stored(house: FederatedHouse, event: Event | str) -> Any:
    """What the server keeps of an event."""
    rooms, event_id = house.peer.services.rooms, event if isinstance(event, str) else event.event_id
    return house.peer.services.database.read(lambda connection: rooms.events.get(connection, event_id))


def is_part_of_room(house: FederatedHouse, event: Event | str) -> bool:
    found = stored(house, event)
    # What is written is known to the server before it is on disk.
    newest = house.peer.services.notifier.position
    return found is not None and found.position is not None and found.position <= newest


async def settled(house: FederatedHouse) -> None:
    """Wait until no attempt to complete events is under way: all that still waits has been tried."""

    def tried() -> bool:
        query = "SELECT COUNT(*) FROM staged_events WHERE attempts = 0"
        return bool(house.peer.services.database.read(lambda c: c.execute(query).fetchone()[0] == 0))

    await eventually(tried)


async def still_works(house: FederatedHouse) -> None:
    """The room goes on, in both directions."""
    mine = await house.send(f"mine{time.time_ns()}")
    await house.other_knows(mine)
    event = house.other.message("still here")
    assert await house.other.sent(event) == {event.event_id: None}
    assert (await house.bodies())[-1] == "still here"


async def test_auth_events_that_are_forged(house: FederatedHouse) -> None:
    """The liar claims that the owner gave it power. It cannot sign for the owner."""
    levels = {"users": {house.owner.user_id: 100, house.other.user_id: 100}}
    forged = house.other.make("m.room.power_levels", levels, "", sender=house.owner.user_id, on_top=False)
    auth = [house.other.state["m.room.member", house.other.user_id], forged.event_id]
    topic = house.other.make("m.room.topic", {"topic": "taken over"}, "", auth=auth, on_top=False)
    assert await house.other.sent(topic) == {topic.event_id: None}
    await settled(house)
    assert stored(house, forged) is None
    assert not is_part_of_room(house, topic)
    await still_works(house)


async def test_auth_events_that_were_never_allowed(house: FederatedHouse) -> None:
    """The liar gives itself power in its own name. That is kept as rejected, and authorises nothing."""
    levels = {"users": {house.other.user_id: 100}}
    grab = house.other.make("m.room.power_levels", levels, "", on_top=False)
    auth = [house.other.state["m.room.member", house.other.user_id], grab.event_id]
    topic = house.other.make("m.room.topic", {"topic": "taken over"}, "", auth=auth, on_top=False)
    await house.other.sent(topic)
    await settled(house)
    assert stored(house, grab).rejected
    assert not is_part_of_room(house, topic)
    await still_works(house)


async def test_auth_events_without_end(house: FederatedHouse) -> None:
    """Each member event cites another, which cites another."""
    house.other.server.on("GET", rf"{V1}/event_auth/.+", lambda *_: web.json_response({}, status=404))
    previous = house.other.state["m.room.member", house.other.user_id]
    start = previous
    for number in range(1500):
        content = {"membership": "join", "displayname": str(number)}
        link = house.other.make(
            "m.room.member", content, house.other.user_id, auth=[previous], prev=[start], on_top=False
        )
        previous = link.event_id
    event = house.other.make(auth=[previous], on_top=False)
    house.other.asked.clear()
    await house.other.sent(event)
    await settled(house)
    assert not is_part_of_room(house, event)
    assert len(house.other.asked) < 200
    await still_works(house)


async def test_ancestors_without_end(house: FederatedHouse) -> None:
    """A history that was never sent: a reasonable part is fetched, then the state is asked for, and a gap left."""
    chain = [house.other.message(f"c{number}") for number in range(900)]
    house.other.asked.clear()
    await house.other.sent(chain[-1])
    await eventually(lambda: house.waiting == 0)
    assert is_part_of_room(house, chain[-1])
    assert not is_part_of_room(house, chain[100])
    asked = [path for path in house.other.asked if "get_missing_events" in path]
    assert len(asked) <= 20
    await still_works(house)


async def test_an_answer_with_other_events_than_were_asked_for(house: FederatedHouse) -> None:
    unrelated = [house.other.message(f"unrelated {number}", on_top=False) for number in range(5)]
    house.other.server.on(
        "POST", rf"{V1}/get_missing_events/.+", {"events": [event.pdu for event in unrelated] + [None, {}, "x"]}
    )
    house.other.server.on("GET", rf"{V1}/event/.+", lambda *_: {"pdus": [unrelated[0].pdu]})
    house.other.server.on("GET", rf"{V1}/state_ids/.+", lambda *_: {"pdu_ids": [], "auth_chain_ids": []})
    orphan = house.other.message("orphan", prev=[NOBODY_HAS], on_top=False)
    await house.other.sent(orphan)
    await settled(house)
    assert not any(is_part_of_room(house, event) for event in (*unrelated, orphan))
    assert not any(stored(house, event) for event in unrelated)
    await still_works(house)


@pytest.mark.parametrize(
    "answer",
    [
        {"events": {"a": 1}},
        {"events": [[[]]] * 1000},
        {},
        [],
        web.Response(text="<html>", content_type="text/html"),
        web.Response(status=500),
        web.Response(body=b"[" * 100_000, content_type="application/json"),
        web.Response(body=b'{"events":["' + b"x" * 10_000_000 + b'"]}', content_type="application/json"),
    ],
    ids=["object", "lists", "nothing", "list", "html", "error", "nested", "huge"],
)
async def test_answers_that_are_no_answers(house: FederatedHouse, answer: Any) -> None:
    def reply(request: web.Request, body: Any) -> Any:
        if isinstance(answer, web.Response):
            return web.Response(body=answer.body, status=answer.status, content_type=answer.content_type)
        return web.json_response(answer)

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", reply)
    house.other.server.on("GET", rf"{V1}/(event|state|state_ids|event_auth)/.+", reply)
    orphan = house.other.message("orphan", prev=[NOBODY_HAS], on_top=False)
    await house.other.sent(orphan)
    await settled(house)
    assert house.waiting == 1
    assert not is_part_of_room(house, orphan)


@pytest.mark.parametrize("lie", ["empty", "twice", "messages", "of another room", "other create", "strangers"])
async def test_states_that_cannot_be(house: FederatedHouse, lie: str, authority: Authority) -> None:
    other = house.other
    orphan = other.message("orphan", prev=[NOBODY_HAS], on_top=False)
    ids = list(other.state.values())
    if lie == "empty":
        told = []
    elif lie == "twice":
        second = other.make("m.room.member", {"membership": "join", "displayname": "2"}, other.user_id, on_top=False)
        told = [*ids, second.event_id]
    elif lie == "messages":
        message = other.message("no state", on_top=False)
        told = [*ids, message.event_id]
    elif lie == "of another room":
        room_id = (await house.owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        async with lying_peer(authority, house.peer, room_id, "second") as elsewhere:
            told = list(elsewhere.state.values())
    elif lie == "other create":
        told = [each for key, each in other.state.items() if key[0] != "m.room.create"]
    else:
        told = ["$" + f"{number:043}" for number in range(300)]
    other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    other.server.on("GET", rf"{V1}/state_ids/.+", {"pdu_ids": told, "auth_chain_ids": []})
    other.server.on("GET", rf"{V1}/state/.+", {"pdus": [None] * 400, "auth_chain": {}})
    await other.sent(orphan)
    await settled(house)
    assert not is_part_of_room(house, orphan)
    await still_works(house)


async def test_a_made_up_ancestor_does_not_undo_a_ban(house: FederatedHouse, authority: Authority) -> None:
    """An event follows all that is known, and something made up, at which the liar says nobody was banned."""
    async with lying_peer(authority, house.peer, house.room_id, "banned") as banned:
        before = dict(banned.state)
        ban = await house.owner.post(f"v3/rooms/{escape(house.room_id)}/ban", {"user_id": banned.user_id})
        assert ban.status == 200
        await eventually(
            lambda: (
                house.other.state.get(("m.room.member", banned.user_id))
                != before.get(("m.room.member", banned.user_id))
            )
        )
        tips = list(house.other.tips)
        made_up = house.other.message("made up", prev=[NOBODY_HAS], on_top=False)
        house.other.state_before[made_up.event_id] = {
            **house.other.state,
            ("m.room.member", banned.user_id): banned.state["m.room.member", banned.user_id],
        }
        house.other.events |= {key: event for key, event in banned.events.items() if key not in house.other.events}
        both = house.other.message("both", prev=[*tips, made_up.event_id])
        house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
        await house.other.sent(both)
        await eventually(lambda: is_part_of_room(house, both))
        member = await house.owner.get(f"v3/rooms/{escape(house.room_id)}/state/m.room.member/{escape(banned.user_id)}")
        assert member.ok()["membership"] == "ban"
        evading = banned.message("evading")
        await banned.sent(evading)
        assert not is_part_of_room(house, evading)


async def test_cycles_in_old_rooms(tmp_path: Path, authority: Authority) -> None:
    """Where servers choose the ids, events can be made that follow each other in a circle."""
    async with federated_house(tmp_path, authority, room={"room_version": "1"}) as house:
        other = house.other
        first = other.message("first", on_top=False)
        second = other.message("second", prev=[first.event_id], on_top=False)
        circle = other.message("first again", prev=[second.event_id], on_top=False)
        round_about = other.signed_again({**circle.pdu, "event_id": first.event_id})
        other.events[first.event_id] = replace(first, prev_event_ids=circle.prev_event_ids, pdu=round_about)
        results = (await other.send(round_about, second)).ok()["pdus"]
        assert set(results) == {first.event_id, second.event_id}
        await settled(house)
        assert not is_part_of_room(house, first)
        assert not is_part_of_room(house, second)
        # Citing each other as what authorises them.
        self_authorised = other.message("myself", on_top=False)
        auth = [*self_authorised.pdu["auth_events"], [self_authorised.event_id, {"sha256": "x"}]]
        await other.send(other.signed_again({**self_authorised.pdu, "auth_events": auth}))
        await settled(house)
        assert not is_part_of_room(house, self_authorised)
        await still_works(house)


async def test_a_slow_room_delays_no_other(house: FederatedHouse, authority: Authority) -> None:
    """The liar answers nothing it is asked; its own orphans wait, everybody else's events arrive at once."""
    stop = asyncio.Event()

    async def never(request: web.Request, body: Any) -> Any:
        await stop.wait()
        return {}

    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", never)
    house.other.server.on("GET", rf"{V1}/(event|state|state_ids|event_auth)/.+", never)
    orphans = [house.other.message(f"orphan {n}", prev=["$" + f"{n:043}"], on_top=False) for n in range(50)]
    await house.other.sent(*orphans)
    assert house.waiting == 50
    rooms = [(await house.owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"] for _ in range(4)]
    try:
        async with lying_peer(authority, house.peer, house.room_id, "second") as same_room:
            event = same_room.message("same room, other server")
            started = time.monotonic()
            assert await same_room.sent(event) == {event.event_id: None}
            for room_id in rooms:
                await same_room.join(room_id)
                same_room.tips = same_room.tips[-1:]
                missed, event = same_room.message("missed"), same_room.message("other room")
                await same_room.sent(event)
                await eventually(lambda event=event: is_part_of_room(house, event))
                assert is_part_of_room(house, missed)
            assert time.monotonic() - started < REQUEST_SECONDS
    finally:
        stop.set()


async def test_a_flood_of_orphans_is_bounded(house: FederatedHouse) -> None:
    waiting = house.peer.services.federation.inbox._waiting
    waiting._space = waiting._space.__class__(events_of_server=60)
    house.other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    house.other.server.on("GET", rf"{V1}/state_ids/.+", lambda *_: web.json_response({}, status=404))
    refused = 0
    for batch in range(4):
        orphans = [house.other.message("o", prev=["$" + f"{batch * 50 + n:043}"], on_top=False) for n in range(50)]
        results = await house.other.sent(*orphans)
        refused += sum(error is not None and "Too many" in error for error in results.values())
    assert house.waiting == 60
    assert refused == 140
    await still_works(house)


async def test_a_server_that_is_slow_to_tell_its_key(house: FederatedHouse, authority: Authority) -> None:
    """Another server passes on its event. That waits for the key; the rest of the transaction does not for long."""
    told = asyncio.Event()

    async def key_document(request: web.Request, body: Any) -> Any:
        await told.wait()
        return house.other.server.key_document()

    house.other.server.on("GET", "/_matrix/key/v2/server", key_document)
    house.other.server.key = SigningKey.from_seed("ed25519:second", b"2" * 32)
    async with lying_peer(authority, house.peer, house.room_id, "second") as relay:
        slow, quick = house.other.message("slow"), relay.message("quick")
        started = time.monotonic()
        assert (await relay.send(slow, quick)).ok() == {"pdus": {quick.event_id: {}}}
        assert time.monotonic() - started < REQUEST_SECONDS
        assert await house.bodies() == ["quick"]
        told.set()
        await eventually(lambda: is_part_of_room(house, slow))


async def test_more_transactions_at_once_than_are_waited_for(house: FederatedHouse, authority: Authority) -> None:
    told = asyncio.Event()

    async def key_document(request: web.Request, body: Any) -> Any:
        await told.wait()
        return house.other.server.key_document()

    house.other.server.on("GET", "/_matrix/key/v2/server", key_document)
    house.other.server.key = SigningKey.from_seed("ed25519:second", b"2" * 32)
    async with lying_peer(authority, house.peer, house.room_id, "second") as relay:
        slow = house.other.message("slow")
        sent = [asyncio.create_task(relay.send(slow, transaction_id=f"t{number}")) for number in range(6)]
        done, waiting = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        done.pop().result().is_error(429, "M_LIMIT_EXCEEDED")
        told.set()
        for answer in await asyncio.gather(*waiting):
            assert answer.ok() == {"pdus": {slow.event_id: {}}}


@pytest.mark.parametrize("lie", ["nothing", "unrelated", "forged", "of another room", "garbage", "too many"])
async def test_history_that_is_made_up(house: FederatedHouse, authority: Authority, lie: str) -> None:
    """The liar leaves a gap in the history and answers the wrong things when asked what is in it."""
    other = house.other
    old = await house.send("old")
    await house.other_knows(old)
    hidden = [other.message(f"h{number}") for number in range(5)]
    last = other.message("last")
    bogus: list[Any] = []
    if lie == "unrelated":
        bogus = [other.message("unrelated", prev=[old], on_top=False).pdu]
    elif lie == "forged":
        bogus = [{**event.pdu, "signatures": {other.name: {"ed25519:scripted": "A" * 86}}} for event in hidden]
    elif lie == "of another room":
        room_id = (await house.owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        async with lying_peer(authority, house.peer, room_id, "second") as elsewhere:
            bogus = [event.pdu for event in elsewhere.events.values()]
    elif lie == "garbage":
        bogus = [None, 1, [], {}, {"type": "m.room.message"}, "x", {"prev_events": [[]] * 50}]
    elif lie == "too many":
        bogus = [event.pdu for event in hidden[:1]] * 5000
    other.server.on("POST", rf"{V1}/get_missing_events/.+", {"events": []})
    answer = {"origin": other.name, "origin_server_ts": 1, "pdus": bogus}
    other.server.on("GET", rf"{V1}/backfill/.+", answer)
    await other.sent(last)
    await eventually(lambda: is_part_of_room(house, last))
    assert await house.bodies() == ["last"], "the page ends at the gap"
    assert await all_bodies(house) == ["last", "old"], "and goes on below it"
    other.server.on("GET", rf"{V1}/backfill/.+", other._on_backfill)
    house.peer.services.federation.backfill._pauses.clear()
    assert await all_bodies(house) == ["last", *(f"h{number}" for number in reversed(range(5))), "old"]


async def all_bodies(house: FederatedHouse) -> list[str]:
    """The messages that the owner finds by paging back to the beginning, newest first."""
    found: list[str] = []
    query: dict[str, Any] = {}
    while True:
        page = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/messages", dir="b", limit=20, **query)).ok()
        found += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            return found
        query = {"from": page["end"]}
