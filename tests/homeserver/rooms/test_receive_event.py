"""Single cases of receipt: what is refused, what waits, what is redacted when, and who hears of a changed state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.homeserver.graph_support import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    READER,
    Receiver,
    World,
    after_join,
    model_of_receiver,
    open_receiver,
)
from tests.homeserver.room_support import open_house

from thingroom_common.database import Transaction
from thingroom_homeserver.admin.check import problems_of
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.http.endpoint import json_response
from thingroom_homeserver.rooms.outcomes import Sender, Sent
from thingroom_homeserver.rooms.outliers import store_outliers
from thingroom_homeserver.rooms.receipt_outcomes import (
    Accepted,
    Duplicate,
    Missing,
    Rejected,
    SoftFailed,
    UnknownRoom,
)
from thingroom_homeserver.rooms.search_indexing import index_waiting
from thingroom_homeserver.rooms.send_event import send_event
from thingroom_homeserver.storage.events import StoredEvent

versions = pytest.mark.parametrize("version", sorted(KNOWN_ROOM_VERSIONS, key=int))


@pytest.fixture
def world() -> World:
    return World("11")


@pytest.fixture
async def receiver(tmp_path: Path, world: World) -> AsyncIterator[Receiver]:
    async with open_receiver(tmp_path / "homeserver.db", world) as opened:
        yield opened


def stored(receiver: Receiver, event: Event) -> StoredEvent:
    found = receiver.house.rooms.database.read(lambda c: receiver.house.rooms.events.get(c, event.event_id))
    assert found is not None
    return found


def must(event: Event | None) -> Event:
    assert event is not None
    return event


async def test_an_unknown_room_a_duplicate_and_what_is_missing(receiver: Receiver, world: World) -> None:
    other = World("11", seed=4)
    assert isinstance(await receiver.receive(replace(other.joined, room_id="!other:one.test")), UnknownRoom)
    first = must(world.act(ALICE, "m.room.message", {"body": "1"}))
    second = must(world.act(ALICE, "m.room.topic", {"topic": "2"}, ""))
    third = must(world.act(ALICE, "m.room.message", {"body": "3"}))
    assert await receiver.receive(third) == Missing((second.event_id,), ())
    assert isinstance(await receiver.receive(first), Accepted)
    assert isinstance(await receiver.receive(second), Accepted)
    assert isinstance(await receiver.receive(third), Accepted)
    again = await receiver.receive(second)
    assert again == Duplicate(stored(receiver, second))


async def test_a_missing_auth_event_may_come_as_an_outlier(receiver: Receiver, world: World) -> None:
    """The power levels of a branch that is never told in full authorise an event on ours."""
    rooms = receiver.house.rooms
    levels = must(world.act(ALICE, "m.room.power_levels", {"users": {ALICE: 100, CAROL: 50}}, ""))
    on_old = world.build(
        CAROL,
        "m.room.message",
        {"body": "x"},
        None,
        model=world.models["one.test"],
        prevs=[world.joined.event_id],
        auth_state=world.models["one.test"].current,
    )
    assert await receiver.receive(on_old) == Missing((), (levels.event_id,))
    await rooms.database.write(lambda transaction: store_outliers(rooms, transaction, world.room_id, "11", [levels]))
    assert stored(receiver, levels).is_outlier
    assert isinstance(await receiver.receive(on_old), Accepted)
    # In full the outlier takes its place in the graph.
    assert isinstance(await receiver.receive(levels), Accepted)
    assert not stored(receiver, levels).is_outlier
    assert receiver.extremities() == {on_old.event_id, levels.event_id}


@versions
async def test_history_that_is_sent_as_news_changes_nothing(tmp_path: Path, version: str) -> None:
    """The create event follows nothing, so nothing of it is missing; and nobody here knows what follows it."""
    world = World(version)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        state = receiver.state()
        for event in world.before_reader:
            assert isinstance(await receiver.receive(event), Duplicate)
        assert (receiver.state(), receiver.extremities()) == (state, {world.joined.event_id})
        assert receiver.house.rooms.notifier.position == stored(receiver, world.joined).position
        await receiver.fill_history(100)
        assert not stored(receiver, world.made[0]).is_outlier


async def test_what_rests_on_a_rejected_event_is_rejected(receiver: Receiver, world: World) -> None:
    lie = must(world.act(DAVE, "m.room.power_levels", {"users": {DAVE: 100}}, "", lying=True))
    assert isinstance(await receiver.receive(lie), Rejected)
    model = world.models["two.test"]
    state = dict(model.current) | {("m.room.power_levels", ""): lie.event_id}
    built_on = must(
        world.act(DAVE, "m.room.topic", {"topic": "mine"}, "", prevs=[lie.event_id], auth_state=state, lying=True)
    )
    assert isinstance(await receiver.receive(built_on), Rejected)
    # What merely follows it is fine, and the state is as if it had not been.
    follows = must(world.act(BOB, "m.room.message", {"body": "hm"}, prevs=[built_on.event_id]))
    assert isinstance(await receiver.receive(follows), Accepted)
    assert receiver.state_after(follows.event_id) == receiver.state()
    assert receiver.extremities() == {follows.event_id}


async def test_evading_a_ban_is_soft_failed_until_somebody_follows_it(receiver: Receiver, world: World) -> None:
    """The example of "Soft failure": a ban B, and a topic C by the banned user beside it, then D on both."""
    world.act(ALICE, "m.room.power_levels", {"users": {ALICE: 100}, "state_default": 0, "events": {}}, "")
    world.share()
    ban = must(world.act(ALICE, "m.room.member", {"membership": "ban"}, BOB))
    evasion = must(world.act(BOB, "m.room.topic", {"topic": "evaded"}, ""))
    await receiver.receive_all([event for event in after_join(world) if event is not evasion])
    outcome = await receiver.receive(evasion)
    assert isinstance(outcome, SoftFailed)
    assert receiver.extremities() == {ban.event_id}
    assert ("m.room.topic", "") not in receiver.state()
    seen = await receiver.house.sync("reader")
    shown = {event["event_id"] for event in seen["rooms"]["join"][world.room_id]["timeline"]["events"]}
    assert evasion.event_id not in shown and ban.event_id in shown
    both = must(
        world.act(ALICE, "m.room.message", {"body": "both"}, prevs=[ban.event_id, _known(world, evasion)], lying=True)
    )
    assert isinstance(await receiver.receive(both), Accepted)
    assert receiver.extremities() == {both.event_id}
    # It participates in state resolution as normal; here the ban comes first, so it stays out.
    assert receiver.state() == world.models["one.test"].current


def _known(world: World, event: Event) -> str:
    world.models["one.test"].receive(event)
    return event.event_id


@versions
async def test_a_redaction_that_comes_first_waits_for_its_target(tmp_path: Path, version: str) -> None:
    world = World(version)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        # Two branches: the message on one, its redaction on the other.
        root = world.joined.event_id
        secret = must(world.act(CAROL, "m.room.message", {"body": "secret"}, prevs=[root]))
        by_sender = must(world.act(CAROL, "m.room.redaction", {}, prevs=[root], redacts=secret.event_id))
        kept = must(world.act(ALICE, "m.room.message", {"body": "kept"}, prevs=[root]))
        not_allowed = world.act(DAVE, "m.room.redaction", {}, prevs=[root], redacts=kept.event_id)
        await receiver.receive(by_sender)
        if not_allowed is not None:
            assert isinstance(await receiver.receive(not_allowed), Accepted)
        else:
            assert version in ("1", "2")  # such a redaction is not authorised at all
        await receiver.receive(secret)
        await receiver.receive(kept)
        assert stored(receiver, secret).redacted_by == by_sender.event_id
        assert stored(receiver, secret).event.content == {}
        assert stored(receiver, kept).redacted_by is None


async def test_a_redaction_is_judged_by_the_state_where_it_was_made(receiver: Receiver, world: World) -> None:
    """The moderator redacted before it lost its level, although we hear of it in the other order."""
    message = must(world.act(ALICE, "m.room.message", {"body": "spam"}))
    world.share()
    demoted = must(world.act(ALICE, "m.room.power_levels", {"users": {ALICE: 100}}, ""))
    redaction = must(world.act(BOB, "m.room.redaction", {}, redacts=message.event_id))
    await receiver.receive_all([message, demoted, redaction])
    assert receiver.verdict(redaction.event_id) == "accepted"
    assert stored(receiver, message).redacted_by == redaction.event_id


async def test_nobody_redacts_the_create_event(receiver: Receiver, world: World) -> None:
    redaction = must(world.act(ALICE, "m.room.redaction", {}, redacts=world.made[0].event_id))
    await receiver.receive(redaction)
    assert stored(receiver, world.made[0]).redacted_by is None


async def test_a_relation_and_words_of_others_are_found(receiver: Receiver, world: World) -> None:
    root = must(world.act(BOB, "m.room.message", {"msgtype": "m.text", "body": "aardvark"}))
    relation = {"rel_type": "m.thread", "event_id": root.event_id}
    world.share()
    child = must(world.act(CAROL, "m.room.message", {"msgtype": "m.text", "body": "yes", "m.relates_to": relation}))
    await receiver.receive_all([root, child])
    rows = receiver.house.rooms.database.read(
        lambda c: c.execute("SELECT parent_id, event_id FROM event_relations").fetchall()
    )
    assert [tuple(row) for row in rows] == [(root.event_id, child.event_id)]
    await index_waiting(receiver.house.rooms)
    found = receiver.house.rooms.database.read(
        lambda c: c.execute("SELECT rowid FROM event_search WHERE event_search MATCH 'aardvark'").fetchall()
    )
    assert [row[0] for row in found] == [stored(receiver, root).position]


async def test_a_local_user_who_is_out_by_resolution_hears_of_it(receiver: Receiver, world: World) -> None:
    """A kick wins over a rejoin that we had heard of first: no event of that position says so by itself."""
    rooms, house = receiver.house.rooms, receiver.house
    world.act(ALICE, "m.room.join_rules", {"join_rule": "invite"}, "")
    await receiver.receive_all(after_join(world))
    first = await house.sync("reader")
    root = world.made[-1].event_id
    renamed = must(
        world.act(
            READER, "m.room.member", {"membership": "join", "displayname": "R"}, READER, server="one.test", prevs=[root]
        )
    )
    kick = must(world.act(ALICE, "m.room.member", {"membership": "leave"}, READER, prevs=[root]))
    await receiver.receive(kick)
    assert not rooms.occupancy.is_joined(world.room_id, READER)
    assert isinstance(await receiver.receive(renamed), SoftFailed)
    answer = await house.sync("reader", first["next_batch"])
    assert world.room_id in answer["rooms"]["leave"]
    assert answer["rooms"]["join"] == {}


async def test_a_local_user_who_is_back_by_another_event_is_notified_again(receiver: Receiver, world: World) -> None:
    """Bob's kick counted until we heard that he had lost the right to it, by an event that is no member event."""
    rooms, root = receiver.house.rooms, world.joined.event_id
    kick = must(world.act(BOB, "m.room.member", {"membership": "leave"}, READER, prevs=[root]))
    demoted = must(world.act(ALICE, "m.room.power_levels", {"users": {ALICE: 100, BOB: 0}}, "", prevs=[root]))
    assert isinstance(await receiver.receive(kick), Accepted)
    assert rooms.occupancy.joined_users(world.room_id) == set()
    assert rooms.watcher.joined == set()  # type: ignore[union-attr]
    assert isinstance(await receiver.receive(demoted), Accepted)
    assert receiver.state()["m.room.member", READER] == world.joined.event_id
    assert rooms.occupancy.joined_users(world.room_id) == {READER}
    assert rooms.watcher.joined == {READER}  # type: ignore[union-attr]


async def test_an_undone_write_leaves_no_state_behind(receiver: Receiver, world: World) -> None:
    """The numbers of its groups are given again, to other states."""
    root = world.joined.event_id
    mine = must(world.act(ALICE, "m.room.topic", {"topic": "1"}, "", prevs=[root]))
    fork = must(world.act(BOB, "m.room.topic", {"topic": "2"}, "", prevs=[root]))
    await receiver.stumble([mine, fork])
    later = must(world.act(ALICE, "m.room.name", {"name": "n"}, "", prevs=[mine.event_id]))
    beside = must(world.act(ALICE, "m.room.avatar", {"url": "mxc://x/y"}, "", prevs=[later.event_id]))
    model = model_of_receiver(world)
    for event in (mine, later, fork, beside):
        assert isinstance(await receiver.receive(event), Accepted)
        model.receive(event)
        assert receiver.state_after(event.event_id) == model.after[event.event_id]
    assert receiver.state() == model.current


async def test_what_we_send_follows_all_branches(receiver: Receiver, world: World) -> None:
    root = world.joined.event_id
    branches = [must(world.act(ALICE, "m.room.message", {"body": str(number)}, prevs=[root])) for number in range(25)]
    await receiver.receive_all(branches)
    assert len(receiver.extremities()) == 25
    rooms = receiver.house.rooms
    for expected in (6, 1):
        sent = await send_event(rooms, Sender(READER), world.room_id, "m.room.message", {"body": "mine"})
        assert isinstance(sent, Sent)
        assert len(receiver.extremities()) == expected
        mine = rooms.database.read(lambda c, sent=sent: rooms.events.get(c, sent.event_id))
        assert mine is not None and len(mine.event.prev_event_ids) <= 20 and mine.send_out


async def test_many_forks_of_the_state_are_bounded_work_and_agree_in_the_end(receiver: Receiver, world: World) -> None:
    root, rooms = world.joined.event_id, receiver.house.rooms
    for number in range(50):
        world.act(ALICE, "m.room.topic", {"topic": str(number)}, "", prevs=[root])
    model = model_of_receiver(world)
    for event in after_join(world):
        assert isinstance(await receiver.receive(event), Accepted)
        model.receive(event)
    assert len(receiver.extremities()) == 50
    assert receiver.state().keys() == model.current.keys()
    # Each message of ours takes up to 20 of them together; the state at each is what anybody would say it is.
    while len(receiver.extremities()) > 1:
        sent = await send_event(rooms, Sender(READER), world.room_id, "m.room.message", {"body": "mine"})
        assert isinstance(sent, Sent)
        mine = rooms.database.read(lambda c, sent=sent: rooms.events.get(c, sent.event_id))
        assert mine is not None
        model.receive(mine.event)
        assert receiver.state_after(sent.event_id) == model.after[sent.event_id]
    assert receiver.state() == model.current
    assert problems_of(rooms.database.path) == []


async def test_the_same_id_in_another_room_is_not_that_event(tmp_path: Path) -> None:
    """In room versions 1 and 2 servers choose the ids."""
    world, other = World("2"), World("2", seed=9)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        message = must(world.act(ALICE, "m.room.message", {"body": "x"}))
        impostor = replace(message, room_id="!other:one.test")
        rooms = receiver.house.rooms

        def write(transaction: Transaction) -> None:
            auth = [event for event in other.before_reader if event.type == "m.room.create"]
            store_outliers(rooms, transaction, other.room_id, "2", [replace(auth[0], event_id="$elsewhere:one.test")])

        await rooms.database.write(write)
        assert isinstance(await receiver.receive(message), Accepted)
        assert isinstance(await receiver.receive(impostor), UnknownRoom)
        lost = world.build(
            ALICE, "m.room.message", {"body": "y"}, None, model=world.models["one.test"], prevs=[message.event_id]
        )
        fake = replace(lost, event_id=message.event_id)
        assert isinstance(await receiver.receive(fake), Duplicate)


async def test_integers_beyond_64_bits_in_old_rooms(tmp_path: Path) -> None:
    world = World("3")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        message = must(world.act(ALICE, "m.room.message", {"body": "x"}))
        content = {"body": "x", "huge": 2**70, "half": 0.5}
        huge = replace(message, content=content, pdu={**message.pdu, "content": content})
        assert isinstance(await receiver.receive(huge), Accepted)
        answer = await receiver.house.sync("reader")
        assert str(2**70).encode() in json_response(answer).body  # type: ignore[operator]
    async with open_house(tmp_path / "homeserver.db") as house:
        assert stored(Receiver(house, world), huge).event.content == content
