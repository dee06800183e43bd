"""Rooms taken up by the state that others tell, the gap that their history begins with, and what is put into it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from tests.homeserver.graph_support import (
    ALICE,
    BOB,
    CAROL,
    READER,
    Receiver,
    World,
    after_join,
    model_of_receiver,
    open_receiver,
)

from thingroom_common.database import Transaction
from thingroom_homeserver.admin.check import problems_of
from thingroom_homeserver.admin.rooms import purge_room
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.gaps import Gap, Imported, gaps_between, import_history, missing_states, split_gap
from thingroom_homeserver.rooms.import_room import import_joined_room, prepare_import
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.outliers import store_outliers
from thingroom_homeserver.rooms.read_events import PageWish, read_page
from thingroom_homeserver.rooms.read_state import state_at
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Missing
from thingroom_homeserver.rooms.send_event import send_event

ALL = 2**62
versions = pytest.mark.parametrize("version", sorted(KNOWN_ROOM_VERSIONS, key=int))


def _gaps(receiver: Receiver) -> list[Gap]:
    return receiver.house.rooms.database.read(lambda c: gaps_between(c, receiver.world.room_id, 0, ALL))


async def _fill(receiver: Receiver, gap: Gap, events: list, told: dict | None = None) -> Imported:
    rooms, room_id = receiver.house.rooms, receiver.world.room_id
    return await rooms.database.write(
        lambda transaction: import_history(rooms, transaction, room_id, gap, events, told or {})
    )


def _page(receiver: Receiver) -> list[str]:
    """All that the reader can page back to, oldest first."""
    rooms = receiver.house.rooms
    wish = PageWish(receiver.world.room_id, None, None, True, 1000)
    page = rooms.database.read(lambda c: read_page(rooms, c, READER, wish, NO_FILTER))
    return [stored.event_id for stored, _ in reversed(page.events)]


@versions
async def test_the_history_before_a_join_is_put_below_it(tmp_path, version: str) -> None:
    world = World(version)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        world.act(ALICE, "m.room.message", {"body": "hello"})
        await receiver.receive_all(after_join(world))
        assert len(_page(receiver)) == 2
        [gap] = _gaps(receiver)
        assert set(gap.missing) == set(world.joined.prev_event_ids)
        history = list(reversed(world.before_reader))
        rooms = receiver.house.rooms
        # In two pieces, newest first; the older end of each needs its state told.
        for piece in (history[:3], history[3:]):
            [gap] = _gaps(receiver)
            asked = rooms.database.read(lambda c, piece=piece: missing_states(rooms, c, piece))
            model = world.models["one.test"]
            told = {each: model.state_before(model.events[each].prev_event_ids) for each in asked}
            assert len(told) == (1 if piece[-1].prev_event_ids else 0)
            imported = await _fill(receiver, gap, piece, told)
            assert (imported.count, imported.rejected) == (len(piece), 0)
        assert _gaps(receiver) == []
        assert _page(receiver) == [event.event_id for event in world.made]
        model = model_of_receiver(world)
        for event in world.before_reader:
            assert receiver.state_after(event.event_id) == model.after[event.event_id]
        assert problems_of(rooms.database.path) == []
        # Nobody is told: the stream's end is where it was.
        assert rooms.database.read(lambda c: rooms.events.stream_after(c, 0, ALL, 100))[0].event_id == (
            world.joined.event_id
        )


async def test_history_that_leads_nowhere_is_left_out(tmp_path) -> None:
    world = World("11")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        [gap] = _gaps(receiver)
        # The newest piece is missing between the gap's edge and these.
        imported = await _fill(receiver, gap, list(reversed(world.before_reader))[2:])
        assert imported.count == 0 and imported.gap == gap


async def test_an_event_with_missing_ancestors_opens_a_gap_that_they_close(tmp_path) -> None:
    world = World("12")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        rooms = receiver.house.rooms
        for number in range(5):
            world.act(ALICE, "m.room.message", {"body": str(number)})
        topic = world.act(ALICE, "m.room.topic", {"topic": "far"}, "")
        lost, last = after_join(world)[:-1], topic
        outcome = await receiver.receive(last)
        assert outcome == Missing(last.prev_event_ids, ())
        state = world.models["one.test"].state_before(last.prev_event_ids)
        before = rooms.notifier.position
        outcome = await receiver.receive(last, state_before=state)
        assert isinstance(outcome, Accepted)
        assert outcome.stored.position > before + 2**27
        [gap, of_join] = _gaps(receiver)
        assert gap.floor == before and gap.next == outcome.stored.position - 1
        # Beside our own last event, since what connects them is not here.
        assert receiver.extremities() == {world.joined.event_id, last.event_id}
        # A message of ours follows both.
        sent = await send_event(rooms, Sender(READER), world.room_id, "m.room.message", {"body": "mine"})
        assert receiver.extremities() == {sent.event_id}
        imported = await _fill(receiver, gap, list(reversed(lost)))
        assert imported == Imported(5, 0, None)
        assert _gaps(receiver) == [of_join]
        shown = _page(receiver)
        assert shown == [world.joined.event_id, *(event.event_id for event in lost), last.event_id, sent.event_id]
        assert problems_of(rooms.database.path) == []


async def test_what_a_gap_waits_for_may_arrive_like_any_event(tmp_path) -> None:
    world = World("10")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        first = world.act(ALICE, "m.room.message", {"body": "1"})
        second = world.act(ALICE, "m.room.message", {"body": "2"})
        state = world.models["one.test"].state_before(second.prev_event_ids)
        await receiver.receive(second, state_before=state)
        assert len(_gaps(receiver)) == 2
        await receiver.receive(first)
        assert len(_gaps(receiver)) == 1
        # It is no extremity: the second follows it.
        assert receiver.extremities() == {second.event_id}


@pytest.mark.parametrize("sender", [BOB, CAROL])
async def test_a_told_state_cannot_take_back_what_is_known(tmp_path, sender: str) -> None:
    """A liar names our own last event and an invented one as prev events, and tells a state without its ban."""
    world = World("11")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        ban = world.act(ALICE, "m.room.member", {"membership": "ban"}, BOB)
        await receiver.receive(ban)
        model = world.models[sender.partition(":")[2]]
        old = dict(model.current)
        lie = world.build(sender, "m.room.message", {"body": "still here"}, None, model=model)
        lie = replace(lie, prev_event_ids=(ban.event_id, "$invented"))
        outcome = await receiver.receive(lie, state_before=old)
        assert isinstance(outcome, Accepted) == (sender == CAROL)
        assert receiver.state()["m.room.member", BOB] == ban.event_id


@versions
async def test_coming_back_takes_the_new_state(tmp_path, version: str) -> None:
    world = World(version)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        rooms = receiver.house.rooms
        first = await receiver.house.sync("reader")
        left = world.act(READER, "m.room.member", {"membership": "leave"}, READER, server="one.test")
        world.share()
        await receiver.receive(left)
        old_state = receiver.state()
        world.act(ALICE, "m.room.topic", {"topic": "while away"}, "")
        world.act(ALICE, "m.room.member", {"membership": "ban"}, BOB)
        again = world.act(READER, "m.room.member", {"membership": "join"}, READER, server="one.test")
        state = world.models["one.test"].state_before(again.prev_event_ids)
        prepared = await prepare_import(rooms, world.room_id, state)

        def write(transaction: Transaction):
            store_outliers(rooms, transaction, world.room_id, version, world.made)
            return import_joined_room(
                rooms,
                transaction,
                room_version=version,
                membership_event=again,
                state=state,
                prepared=prepared,
            )

        outcome = await rooms.database.write(write)
        assert isinstance(outcome, Accepted), outcome
        assert receiver.state() == state | {("m.room.member", READER): again.event_id}
        assert receiver.extremities() == {again.event_id}
        assert rooms.occupancy.is_joined(world.room_id, READER)
        assert len(_gaps(receiver)) == 2
        assert problems_of(rooms.database.path) == []
        # The state of then is still known as it was.
        position = rooms.database.read(lambda c: rooms.events.get(c, left.event_id)).position
        assert rooms.database.read(lambda c: state_at(c, world.room_id, position)) == old_state
        answer = await receiver.house.sync("reader", first["next_batch"])
        room = answer["rooms"]["join"][world.room_id]
        assert room["timeline"]["limited"]
        assert [event["event_id"] for event in room["timeline"]["events"]] == [again.event_id]
        told = {(event["type"], event["state_key"]): event["event_id"] for event in room["state"]["events"]}
        assert told | {("m.room.member", READER): again.event_id} == receiver.state()


async def test_a_join_while_others_of_us_are_in_is_received(tmp_path) -> None:
    world = World("12")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        rooms = receiver.house.rooms
        second = world.act(
            "@second:localhost", "m.room.member", {"membership": "join"}, "@second:localhost", server="one.test"
        )
        state = world.models["one.test"].state_before(second.prev_event_ids)

        def write(transaction: Transaction):
            return import_joined_room(rooms, transaction, room_version="12", membership_event=second, state=state)

        assert isinstance(await rooms.database.write(write), Accepted)
        assert len(_gaps(receiver)) == 1
        assert rooms.occupancy.joined_users(world.room_id) == {READER, "@second:localhost"}


async def test_an_event_from_the_middle_of_a_gap_splits_it(tmp_path) -> None:
    world = World("12")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        rooms, model = receiver.house.rooms, world.models["one.test"]
        [gap] = _gaps(receiver)
        middle = world.before_reader[5]
        state = model.state_before(middle.prev_event_ids)
        outcome = await rooms.database.write(lambda transaction: split_gap(rooms, transaction, gap, middle, state))
        assert outcome.count == 1
        upper, lower = _gaps(receiver)
        assert (upper.number, upper.missing, upper.floor) == (gap.number, gap.missing, lower.next + 1)
        assert (lower.missing, lower.floor) == (middle.prev_event_ids, gap.floor)
        assert _page(receiver) == [middle.event_id, world.joined.event_id]
        assert await _fill(receiver, upper, world.before_reader[6:][::-1]) == Imported(
            len(world.before_reader) - 6, 0, None
        )
        assert (await _fill(receiver, lower, world.before_reader[:5][::-1])).gap is None
        assert _page(receiver) == [event.event_id for event in world.made]
        assert problems_of(rooms.database.path) == []


async def test_a_room_of_others_is_removed_with_its_gaps_and_early_redactions(tmp_path) -> None:
    world = World("11")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        world.act(ALICE, "m.room.redaction", {}, redacts="$unknown")
        world.act(ALICE, "m.room.topic", {"topic": "x"}, "", prevs=[world.joined.event_id])
        world.act(READER, "m.room.member", {"membership": "leave"}, READER, server="one.test")
        await receiver.receive_all(after_join(world))
    assert await purge_room(tmp_path, world.room_id) >= len(world.made)
    assert problems_of(tmp_path / "homeserver.db") == []
    with closing(sqlite3.connect(tmp_path / "homeserver.db")) as database:
        dump = "\n".join(database.iterdump())
    assert world.room_id not in dump
    assert not any(event.event_id in dump for event in world.made)
    assert 'INSERT INTO "gap_missing"' not in dump and 'early_redactions" VALUES' not in dump
