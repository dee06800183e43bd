"""Random rooms of several servers, delivered in random orders: held against the naive model and between receivers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.graph_support import Receiver, World, after_join, model_of_receiver, open_receiver, steps
from tests.homeserver.room_support import open_house

from thingroom_homeserver.admin.check import problems_of
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.rooms.read_state import state_at
from thingroom_homeserver.rooms.state_at import state_ids_before
from thingroom_homeserver.storage.current_state import members_changed_at
from thingroom_homeserver.storage.room_servers import servers_in_room

versions = st.sampled_from(sorted(KNOWN_ROOM_VERSIONS, key=int))


def _check(receiver: Receiver) -> None:
    """All that the receiver holds is what the model holds which heard of the same events in the same order."""
    world, rooms = receiver.world, receiver.house.rooms
    model = model_of_receiver(world)
    for event in receiver.arrived:
        assert receiver.verdict(event.event_id) == model.receive(event), event
    assert receiver.extremities() == model.extremities()
    assert receiver.state() == model.current
    earlier = model.history[world.joined.event_id]
    for event in receiver.arrived:
        now, changed = model.history[event.event_id], {}
        for key in earlier.keys() | now.keys():
            if key[0] == "m.room.member" and earlier.get(key) != now.get(key):
                changed[key[1]] = now.get(key)
        earlier = now
        assert receiver.state_after(event.event_id) == model.after[event.event_id]
        before = rooms.database.read(lambda c, event=event: state_ids_before(rooms, c, event.event_id))
        assert before == model.state_before(event.prev_event_ids)
        stored = rooms.database.read(lambda c, event=event: rooms.events.get(c, event.event_id))
        assert stored is not None
        if stored.position is not None:
            then = rooms.database.read(lambda c, at=stored.position: state_at(c, world.room_id, at))
            assert then == model.history[event.event_id]
            found = rooms.database.read(lambda c, at=stored.position: members_changed_at(c, world.room_id, at))
            assert found == changed
        else:
            assert changed == {}
    assert problems_of(rooms.database.path) == []
    _check_members(receiver)


def _check_members(receiver: Receiver) -> None:
    """Who is in the room is kept in four places; all follow the current state."""
    rooms, room_id = receiver.house.rooms, receiver.world.room_id
    found = rooms.database.read(lambda c: rooms.events.get_many(c, receiver.state().values()))
    state = {
        key[1]: str(found[event_id].event.content["membership"])
        for key, event_id in receiver.state().items()
        if key[0] == "m.room.member"
    }
    rows = rooms.database.read(
        lambda c: c.execute("SELECT user_id, membership FROM room_members WHERE room_id = ?", (room_id,)).fetchall()
    )
    # A local user whose entry was taken away has left.
    assert {row[0]: row[1] for row in rows if row[0] in state or not rooms.is_local(row[0])} == state
    assert all(row[0] in state or row[1] == "leave" for row in rows)
    local = {user_id for user_id, membership in state.items() if membership == "join" and rooms.is_local(user_id)}
    assert rooms.occupancy.joined_users(room_id) == local
    assert rooms.watcher is None or rooms.watcher.joined in (None, local)  # type: ignore[attr-defined]
    servers = {user_id.partition(":")[2] for user_id, membership in state.items() if membership == "join"}
    assert set(rooms.database.read(lambda c: servers_in_room(c, room_id))) == servers


async def _deliver(script: list[tuple[Any, ...]], version: str, orders: list[int]) -> None:
    world = World(version, seed=len(script))
    for step in script:
        world.play(step)
    events = after_join(world)
    afters = []
    for order in orders:
        shuffled = list(events)
        if order:
            Random(order).shuffle(shuffled)
        with tempfile.TemporaryDirectory() as directory:
            async with open_receiver(Path(directory) / "homeserver.db", world) as receiver:
                await receiver.receive_all(shuffled)
                _check(receiver)
                rejected = {each for each in receiver.outcomes if receiver.verdict(each) == "rejected"}
                afters.append((rejected, {event.event_id: receiver.state_after(event.event_id) for event in events}))
    assert all(each == afters[0] for each in afters), "the order of arrival changed more than what is soft-failed"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps, versions, st.integers(1, 1000))
def test_any_order_gives_what_the_model_gives(script: list[Any], version: str, order: int) -> None:
    asyncio.run(_deliver(script, version, [0, order]))


async def _deliver_with_mishaps(script: list[tuple[Any, ...]], version: str, order: int) -> None:
    world = World(version, seed=len(script))
    for step in script:
        world.play(step)
    events = after_join(world)
    chance = Random(order)
    chance.shuffle(events)
    arrived: list[Any] = []
    outcomes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "homeserver.db"
        async with open_receiver(path, world) as receiver:
            for event in events[: len(events) // 2]:
                await receiver.receive(event)
                await receiver.stumble(chance.sample(events, min(3, len(events))))
            arrived, outcomes = receiver.arrived, receiver.outcomes
        async with open_house(path) as house:
            receiver = Receiver(house, world, arrived, outcomes)
            await receiver.receive_all([event for event in events if event.event_id not in outcomes], chance)
            _check(receiver)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps, versions, st.integers(0, 1000))
def test_undone_writes_and_restarts_change_nothing(script: list[Any], version: str, order: int) -> None:
    asyncio.run(_deliver_with_mishaps(script, version, order))
