"""Auth chains out of the database are those of a walk by hand, however wide or deep, in both formats of references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.graph_support import ALICE, BOB, Receiver, World, after_join, open_receiver

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.outliers import in_auth_order, store_outliers
from thingroom_homeserver.rooms.state_at import auth_chain_of
from thingroom_homeserver.storage.event_auth import AuthGraph


def by_hand(events: dict[str, Event], starts: list[str]) -> set[str]:
    reached: set[str] = set()
    pending = [auth_id for start in starts if start in events for auth_id in events[start].auth_event_ids]
    while pending:
        event_id = pending.pop()
        if event_id not in reached:
            reached.add(event_id)
            pending += events[event_id].auth_event_ids if event_id in events else ()
    return reached


def chain(receiver: Receiver, graph: AuthGraph, starts: list[str]) -> set[str]:
    return receiver.house.rooms.database.read(lambda c: graph.chain(c, starts))


@pytest.mark.parametrize("version", ["1", "3", "12"])
async def test_every_event_of_a_room(tmp_path: Path, version: str) -> None:
    world = World(version)
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        for number in range(5):
            world.act(ALICE, "m.room.power_levels", {"users": {ALICE: 100}, "ban": number}, "")
            world.act(ALICE, "m.room.message", {"body": "x"})
        await receiver.receive_all(after_join(world))
        events = {event.event_id: event for event in world.made}
        remembered = AuthGraph()
        for event_id in events:
            expected = by_hand(events, [event_id])
            assert chain(receiver, AuthGraph(), [event_id]) == expected
            assert chain(receiver, remembered, [event_id]) == expected
        assert chain(receiver, remembered, [*events]) == by_hand(events, [*events])
        assert chain(receiver, remembered, ["$unknown", world.made[-1].event_id]) == by_hand(
            events, [world.made[-1].event_id]
        )
        rooms = receiver.house.rooms
        assert rooms.database.read(lambda c: auth_chain_of(rooms, c, [world.made[-1].event_id])) == by_hand(
            events, [world.made[-1].event_id]
        )


async def test_a_chain_longer_than_one_question_asks_for(tmp_path: Path) -> None:
    """Somebody changes their name 2,500 times; each change cites the one before."""
    world = World("11")
    async with open_receiver(tmp_path / "homeserver.db", world) as receiver:
        model, rooms = world.models["two.test"], receiver.house.rooms
        state = dict(model.current)
        made: list[Event] = []
        for number in range(2500):
            content = {"membership": "join", "displayname": str(number)}
            event = world.build(
                BOB, "m.room.member", content, BOB, model=model, prevs=[world.joined.event_id], auth_state=state
            )
            model.events[event.event_id] = event
            state["m.room.member", BOB] = event.event_id
            made.append(event)
        for start in range(0, len(made), 500):
            some = made[start : start + 500]
            await rooms.database.write(
                lambda transaction, some=some: store_outliers(rooms, transaction, world.room_id, "11", some)
            )
        events = {event.event_id: event for event in (*world.made, *made)}
        found = chain(receiver, AuthGraph(), [made[-1].event_id])
        assert found == by_hand(events, [made[-1].event_id])
        assert len(found) > 2500


graphs = st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs, st.randoms())
def test_events_come_after_those_they_cite(cited: list[list[int]], chance: object) -> None:
    world = World("11")
    events: list[Event] = []
    for number, others in enumerate(cited):
        auth_ids = tuple(f"${other}" for other in others)
        events.append(replace_ids(world.joined, f"${number}", auth_ids))
    shuffled = list(events)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered = [event.event_id for event in in_auth_order(shuffled)]
    assert len(ordered) == len(set(ordered))
    there = {event.event_id: event for event in events}
    for place, event_id in enumerate(ordered):
        assert all(auth_id in ordered[:place] for auth_id in there[event_id].auth_event_ids if auth_id in there)
    # What is left out is in a cycle, or cites what is.
    left = set(there) - set(ordered)
    assert all(any(auth_id in left for auth_id in there[event_id].auth_event_ids) for event_id in left)


def replace_ids(event: Event, event_id: str, auth_event_ids: tuple[str, ...]) -> Event:
    return replace(event, event_id=event_id, auth_event_ids=auth_event_ids)
