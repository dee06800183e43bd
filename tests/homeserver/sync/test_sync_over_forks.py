"""Clients of a server that hears of a forking room in any order know its state all the same, by each kind of sync."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.graph_support import READER, State, World, after_join, open_receiver, steps
from tests.homeserver.room_support import read_back
from tests.homeserver.sliding_support import EVERYTHING, SlidingHouse, sources_of

from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.rooms.receipt_outcomes import Missing
from thingroom_homeserver.rooms.tokens import parse_page_token

versions = st.sampled_from(sorted(KNOWN_ROOM_VERSIONS, key=int))


class Client:
    """Folds one room out of /sync answers. `at_end`: by `use_state_after`."""

    def __init__(self, room_id: str, at_end: bool) -> None:
        self.room_id = room_id
        self.at_end = at_end
        self.token: str | None = None
        self.state: State = {}
        self.timeline: list[str] = []
        self.gap: str | None = None
        self.is_in = False

    @property
    def state_after(self) -> str | None:
        return "state_after" if self.at_end else None

    def take(self, answer: dict[str, Any]) -> None:
        self.token = answer["next_batch"]
        section = answer["rooms"]["join"].get(self.room_id)
        self.is_in = section is not None or (self.is_in and self.room_id not in answer["rooms"]["leave"])
        if section is None:
            return
        if section["timeline"]["limited"]:
            self.gap = section["timeline"]["prev_batch"]
            self.timeline.clear()
        for event in section["state_after" if self.at_end else "state"]["events"]:
            self.state[event["type"], event["state_key"]] = event["event_id"]
        for event in section["timeline"]["events"]:
            self.timeline.append(event["event_id"])
            if not self.at_end and "state_key" in event:
                self.state[event["type"], event["state_key"]] = event["event_id"]


class SlidClient:
    """The same of sliding sync."""

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        self.pos: str | None = None
        self.state: State = {}

    def take(self, answer: dict[str, Any] | None) -> None:
        if answer is None:
            return
        self.pos = answer["pos"]
        room = answer["rooms"].get(self.room_id, {})
        if room.get("initial"):
            self.state.clear()
        for event in room.get("required_state", ()):
            key = (event["type"], event["state_key"])
            if "event_id" in event:
                self.state[key] = event["event_id"]
            else:
                self.state.pop(key, None)


async def _check(script: list[tuple[Any, ...]], version: str, order: int, limit: int) -> None:
    world = World(version, seed=len(script))
    for step in script:
        world.play(step)
    waiting = after_join(world)
    chance = Random(order)
    chance.shuffle(waiting)
    wanted = {"room": {"timeline": {"limit": limit}}}
    body = {"lists": {"all": {"timeline_limit": limit, "required_state": EVERYTHING}}}
    with tempfile.TemporaryDirectory() as directory:
        async with open_receiver(Path(directory) / "homeserver.db", world) as receiver:
            house = receiver.house
            sliding = SlidingHouse(house, sources_of(house))
            clients = [Client(world.room_id, at_end) for at_end in (False, True)]
            slid = SlidClient(world.room_id)
            removed: set[tuple[str, str]] = set()
            known = receiver.state()

            async def sync() -> None:
                for client in clients:
                    client.take(
                        await house.sync(
                            "reader", client.token, wanted, state_after="state_after" if client.at_end else None
                        )
                    )
                slid.take(await sliding.ask("reader", body, slid.pos))

            await sync()
            while waiting:
                waiting = [event for event in waiting if isinstance(await receiver.receive(event), Missing)]
                removed |= known.keys() - receiver.state().keys()
                known = receiver.state()
                if chance.random() < 0.5:
                    await receiver.fill_history(chance.randint(1, 8))
                if chance.random() < 0.5:
                    await sync()
            await sync()
            assert all(
                client.is_in == (READER in house.rooms.occupancy.joined_users(world.room_id)) for client in clients
            )
            if not clients[0].is_in:
                return
            fresh = [Client(world.room_id, at_end) for at_end in (False, True)]
            for client in fresh:
                client.take(await house.sync("reader", None, wanted, state_after=client.state_after))
            state = receiver.state()
            assert slid.state == state
            for client in (*clients, *fresh):
                # What is taken away an answer of /sync cannot say.
                told = {key: value for key, value in client.state.items() if key in state or key not in removed}
                assert told == state, client.at_end
                everything = read_back(house, "reader", world.room_id, None)
                older = (
                    []
                    if client.gap is None
                    else read_back(house, "reader", world.room_id, parse_page_token(client.gap))
                )
                assert older + client.timeline == everything[len(everything) - len(older + client.timeline) :]
                assert client.gap is None or older + client.timeline == everything


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps, versions, st.integers(0, 1000), st.sampled_from((1, 3, 100)))
def test_clients_know_the_resolved_state(script: list[Any], version: str, order: int, limit: int) -> None:
    asyncio.run(_check(script, version, order, limit))
