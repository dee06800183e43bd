"""Transactions of another server: what is taken, what is refused, and what is answered, once and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.federation.federated_house import FederatedHouse, federated_house
from tests.federation.lying_peer import V1
from tests.federation.peers import Authority

from thingroom_homeserver.core.room_rules import ROOM_RULES


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[FederatedHouse]:
    async with federated_house(tmp_path, authority) as house:
        yield house


async def test_events_are_taken_and_read(house: FederatedHouse) -> None:
    first, second = house.other.message("first"), house.other.message("second")
    assert await house.other.sent(first, second) == {first.event_id: None, second.event_id: None}
    assert await house.bodies() == ["first", "second"]


async def test_the_order_in_a_transaction_does_not_matter(house: FederatedHouse) -> None:
    first, second = house.other.message("first"), house.other.message("second")
    assert await house.other.sent(second, first) == {first.event_id: None, second.event_id: None}
    assert await house.bodies() == ["first", "second"]


@pytest.mark.parametrize("version", sorted(ROOM_RULES, key=int))
async def test_events_of_every_room_version(tmp_path: Path, authority: Authority, version: str) -> None:
    async with federated_house(tmp_path, authority, room={"room_version": version}) as house:
        message, topic = house.other.message("hello"), house.other.make("m.room.topic", {"topic": "mine"}, "")
        results = await house.other.sent(message, topic)
        assert results[message.event_id] is None
        assert results[topic.event_id] is not None, "the user may not set the topic"
        assert await house.bodies() == ["hello"]


async def test_a_transaction_that_comes_twice_is_answered_twice_and_done_once(house: FederatedHouse) -> None:
    event = house.other.message("once")
    typing = {"edu_type": "m.typing", "content": {"room_id": house.room_id, "user_id": house.other.user_id}}
    bad = house.other.make("m.room.topic", {"topic": "not allowed"}, "", on_top=False)
    first = (await house.other.send(event, bad, edus=[typing], transaction_id="a/b")).ok()
    assert first["pdus"][event.event_id] == {}
    assert first["pdus"][bad.event_id]["error"]
    again = (await house.other.send(event, bad, transaction_id="a/b")).ok()
    assert again == first
    # Even with another body it is the same transaction.
    other_event = house.other.message("never")
    assert (await house.other.send(other_event, transaction_id="a/b")).ok() == first
    assert await house.bodies() == ["once"]


async def test_the_same_transaction_twice_at_the_same_time(house: FederatedHouse) -> None:
    event = house.other.message("once")
    answers = await asyncio.gather(*(house.other.send(event, transaction_id="same") for _ in range(5)))
    assert [answer.ok() for answer in answers] == [{"pdus": {event.event_id: {}}}] * 5
    assert await house.bodies() == ["once"]


async def test_an_answer_outlives_a_restart(house: FederatedHouse) -> None:
    event = house.other.message("kept")
    first = (await house.other.send(event, transaction_id="t")).ok()
    await house.peer.stop()
    await house.peer.start()
    never = house.other.message("never")
    assert (await house.other.send(never, transaction_id="t")).ok() == first


async def test_the_same_event_in_another_transaction_is_known(house: FederatedHouse) -> None:
    event = house.other.message("once")
    assert await house.other.sent(event) == {event.event_id: None}
    assert await house.other.sent(event) == {event.event_id: None}
    assert await house.bodies() == ["once"]


async def test_limits_and_shapes(house: FederatedHouse) -> None:
    uri = f"{V1}/send/odd"
    too_many = [{"type": "x"}] * 51
    (await house.other.ask("PUT", uri, {"pdus": too_many})).is_error(400, "M_TOO_LARGE")
    (await house.other.ask("PUT", uri, {"pdus": [], "edus": [{}] * 101})).is_error(400, "M_TOO_LARGE")
    (await house.other.ask("PUT", uri, {"pdus": {}})).is_error(400, "M_BAD_JSON")
    (await house.other.ask("PUT", uri, {"edus": 7})).is_error(400, "M_BAD_JSON")
    (await house.other.ask("PUT", f"{V1}/send/{'x' * 256}", {"pdus": []})).is_error(400, "M_INVALID_PARAM")
    odd = [None, 1, "x", [], {}, {"room_id": 5}, {"room_id": house.room_id}, {"room_id": "!unknown:nowhere"}]
    odd += [{"room_id": house.room_id, "type": "m.room.message", "content": [[[]]], "depth": -1}]
    answer = await house.other.ask("PUT", uri, {"pdus": odd, "edus": [None, 1, {}, {"edu_type": []}]})
    assert answer.ok() == {"pdus": {}}
    assert (await house.other.ask("PUT", f"{V1}/send/none", {})).ok() == {"pdus": {}}


async def test_a_bad_signature_is_refused_and_the_rest_taken(house: FederatedHouse) -> None:
    good = house.other.message("good")
    forged = house.other.message("forged", on_top=False)
    signatures = {house.other.name: {house.other.server.key.key_id: "A" * 86}}
    answer = (await house.other.send({**forged.pdu, "signatures": signatures}, good)).ok()
    assert "signature" in answer["pdus"][forged.event_id]["error"]
    assert answer["pdus"][good.event_id] == {}
    assert await house.bodies() == ["good"]


async def test_nobody_speaks_for_others(house: FederatedHouse) -> None:
    forged = house.other.message("not mine", sender=house.owner.user_id, on_top=False)
    assert "signature" in str((await house.other.sent(forged))[forged.event_id])
    assert await house.bodies() == []


async def test_a_wrong_content_hash_redacts_the_event(house: FederatedHouse) -> None:
    event = house.other.message("was this")
    house.owner.sends_odd_events = True
    changed = {**event.pdu, "content": {"msgtype": "m.text", "body": "now that"}}
    assert (await house.other.send(changed)).ok() == {"pdus": {event.event_id: {}}}
    assert await house.bodies() == [None]


async def test_an_event_that_is_too_large(house: FederatedHouse) -> None:
    event = house.other.message("x" * 70_000, on_top=False)
    good = house.other.message("good")
    answer = (await house.other.send(event, good)).ok()
    assert answer["pdus"] == {good.event_id: {}}


async def test_denied_servers_are_not_heard(house: FederatedHouse) -> None:
    await house.set_state("m.room.server_acl", {"allow": ["*"], "deny": ["127.*"]})
    event = house.other.message("denied")
    assert "denies" in str((await house.other.sent(event))[event.event_id])
    assert await house.bodies() == []


async def test_a_room_that_this_server_has_left(house: FederatedHouse) -> None:
    (await house.owner.post(f"v3/rooms/{house.room_id}/leave")).ok()
    event = house.other.message("hello?")
    assert await house.other.sent(event) == {event.event_id: "This server is not in the room"}


async def test_events_by_those_who_are_not_in_the_room_are_rejected(house: FederatedHouse) -> None:
    stranger = f"@stranger:{house.other.name}"
    event = house.other.make(sender=stranger, on_top=False)
    assert (await house.other.sent(event))[event.event_id] is not None
    assert await house.bodies() == []


async def test_a_banned_user_cannot_go_back_in_time(house: FederatedHouse) -> None:
    before = house.other.message("before")
    await house.other.sent(before)
    ban = f"v3/rooms/{house.room_id}/ban"
    (await house.owner.post(ban, {"user_id": house.other.user_id})).ok()
    evading = house.other.message("evading", prev=[before.event_id], on_top=False)
    assert await house.other.sent(evading) == {evading.event_id: None}, "soft-failed: the peer is not told"
    assert await house.bodies() == ["before"]
    after = await house.send("after")
    stored = house.peer.services.database.read(lambda c: house.peer.services.rooms.events.get(c, after))
    assert stored is not None
    assert evading.event_id not in stored.event.prev_event_ids


@pytest.mark.parametrize("number", [1.5, 2**53, 2**63, 2**70])
async def test_numbers_that_only_old_rooms_allow(tmp_path: Path, authority: Authority, number: float) -> None:
    async with federated_house(tmp_path, authority, room={"room_version": "5"}) as house:
        plain = house.other.message("numbers", on_top=False)
        pdu = house.other.signed_again({**plain.pdu, "content": {"msgtype": "m.text", "body": "n", "number": number}})
        event = house.other.learn(pdu)
        assert await house.other.sent(event) == {event.event_id: None}
        orphan = house.other.signed_again({**pdu, "prev_events": ["$" + "A" * 43]})
        assert (await house.other.send(orphan)).ok() == {"pdus": {house.other.learn(orphan).event_id: {}}}
        answer = await house.other.ask("GET", f"{V1}/event/{event.event_id}")
        assert answer.ok()["pdus"][0]["content"]["number"] == number
        house.owner.sends_odd_events = True
        shown = (await house.owner.get(f"v3/rooms/{house.room_id}/event/{event.event_id}")).ok()
        assert shown["content"]["body"] == "n"
