"""Three of our servers in one room, cut off from each other at random: once all is told, they agree on its state.

No sockets: what a server sends is handed over by the test, in any order. Each also keeps to its own rules meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.homeserver.room_support import House, open_house

from thingroom_common.database import Transaction
from thingroom_homeserver.admin.check import problems_of
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.rooms.append_event import Draft, build_local_event
from thingroom_homeserver.rooms.import_room import import_joined_room
from thingroom_homeserver.rooms.membership import Change, change_membership, kick
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent
from thingroom_homeserver.rooms.outliers import store_outliers
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Missing, Received
from thingroom_homeserver.rooms.receive_event import receive_event
from thingroom_homeserver.rooms.send_event import redact_event, send_event, send_state
from thingroom_homeserver.rooms.state_at import auth_chain_of, state_ids_before
from thingroom_homeserver.storage.current_state import load_current_state
from thingroom_homeserver.storage.rooms import forward_extremities
from thingroom_homeserver.storage.state_groups import state_of_group

NAMES = ("one.test", "two.test", "three.test")
USERS = ("@alice:one.test", "@bob:two.test", "@carol:three.test", "@dave:two.test")
versions = st.sampled_from(sorted(KNOWN_ROOM_VERSIONS, key=int))
user = st.integers(0, len(USERS) - 1)
server = st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), user),
        st.tuples(st.just("topic"), user, st.integers(0, 99)),
        st.tuples(st.just("member"), user, user, st.sampled_from(("invite", "join", "leave", "ban"))),
        st.tuples(st.just("kick"), user, user),
        st.tuples(st.just("levels"), user, user, st.sampled_from((0, 50, 100))),
        st.tuples(st.just("rules"), user, st.sampled_from(("public", "invite"))),
        st.tuples(st.just("redact"), user, st.integers(0, 50)),
        st.tuples(st.just("deliver"), server, server, st.integers(1, 20)),
        st.tuples(st.just("deliver"), server, server, st.integers(1, 20)),
    ),
    min_size=3,
    max_size=30,
)


@dataclass
class Network:
    """The servers, and what each has sent that another has not been handed yet."""

    houses: dict[str, House]
    version: str
    room_id: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    told: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def house_of(self, user_id: str) -> House:
        return self.houses[user_id.partition(":")[2]]

    async def begin(self) -> None:
        first = self.houses[NAMES[0]]
        self.room_id = await first.create("alice", room_version=self.version, preset="public_chat")
        levels = {"users": {"@bob:two.test": 50}, "events": {"m.room.topic": 0}, "invite": 0}
        if int(self.version) < 12:
            levels["users"]["@alice:one.test"] = 100
        await first.set_state("alice", self.room_id, "m.room.power_levels", levels)
        for user_id in USERS[1:]:
            await self.join(user_id)

    async def join(self, user_id: str) -> None:
        """Through the first server."""
        first, house = self.houses[NAMES[0]].rooms, self.house_of(user_id).rooms
        draft = Draft("m.room.member", {"membership": "join"}, user_id)

        def make(transaction: Transaction) -> tuple[Event, Received]:
            room = first.cache.get(transaction, self.room_id)
            assert room is not None
            event = build_local_event(first, transaction, room, Sender(user_id), draft)
            assert isinstance(event, Event)
            return event, receive_event(first, transaction, event, send_out=True)

        event, received = await first.database.write(make)
        assert isinstance(received, Accepted)

        def told(connection: Any) -> tuple[dict[Any, str], list[Event]]:
            state = dict(state_ids_before(first, connection, event.event_id) or {})
            ids = {*state.values(), *auth_chain_of(first, connection, state.values())}
            return state, [stored.event for stored in first.events.get_many(connection, ids).values()]

        state, events = first.database.read(told)

        def take_up(transaction: Transaction) -> Received:
            store_outliers(house, transaction, self.room_id, self.version, events)
            return import_joined_room(
                house, transaction, room_version=self.version, membership_event=event, state=state
            )

        assert isinstance(await house.database.write(take_up), Accepted)
        await self.deliver_everything(Random(0))

    async def play(self, step: tuple[Any, ...]) -> None:
        kind, *rest = step
        if kind == "deliver":
            source, target = NAMES[rest[0]], NAMES[rest[1]]
            if source != target:
                await self.deliver(source, target, rest[2], Random(rest[2]))
            return
        user_id = USERS[rest[0]]
        rooms, sender = self.house_of(user_id).rooms, Sender(user_id)
        match kind:
            case "say":
                await send_event(rooms, sender, self.room_id, "m.room.message", {"body": "x"})
            case "topic":
                await send_state(rooms, sender, self.room_id, "m.room.topic", "", {"topic": str(rest[1])})
            case "member":
                target = USERS[rest[1]]
                if rest[2] != "invite" or rooms.is_local(target):
                    await change_membership(rooms, sender, self.room_id, Change(target, rest[2]))
            case "kick":
                await kick(rooms, sender, self.room_id, USERS[rest[1]], None)
            case "levels":
                now = rooms.database.read(lambda c: load_current_state(c, self.room_id))
                levels = rooms.database.read(lambda c: rooms.events.get(c, now["m.room.power_levels", ""]))
                content = levels.event.content
                users = {**content["users"], USERS[rest[1]]: rest[2]}
                await send_state(rooms, sender, self.room_id, "m.room.power_levels", "", {**content, "users": users})
            case "rules":
                await send_state(rooms, sender, self.room_id, "m.room.join_rules", "", {"join_rule": rest[1]})
            case "redact":
                timeline = self.outgoing(user_id.partition(":")[2])
                target = timeline[rest[1] % len(timeline)].event_id if timeline else "$none"
                await redact_event(rooms, sender, self.room_id, target, {}, f"r{rest[1]}")

    def outgoing(self, name: str) -> list[Event]:
        """All that the server sends to others, in its order."""
        rooms = self.houses[name].rooms
        stream = rooms.database.read(lambda c: rooms.events.stream_after(c, 0, 2**62, 10_000))
        return [stored.event for stored in stream if stored.send_out and stored.event.room_id == self.room_id]

    async def deliver(self, source: str, target: str, count: int, chance: Random) -> None:
        """Up to `count` events; what misses something is fetched from the sender, or comes another time."""
        told = self.told.setdefault((source, target), set())
        waiting = [event for event in self.outgoing(source) if event.event_id not in told][:count]
        chance.shuffle(waiting)
        for event in waiting:
            if await self.hand_over(event, source, target):
                told.add(event.event_id)

    async def hand_over(self, event: Event, source: str, target: str) -> bool:
        rooms, others = self.houses[target].rooms, self.houses[source].rooms
        fetching = [event]
        for _ in range(200):
            current = fetching[-1]
            outcome = await rooms.database.write(
                lambda transaction, current=current: receive_event(rooms, transaction, current)
            )
            if not isinstance(outcome, Missing):
                fetching.pop()
                if not fetching:
                    return True
                continue
            wanted = {*outcome.prev_event_ids, *outcome.auth_event_ids}
            found = others.database.read(lambda c, wanted=wanted: others.events.get_many(c, wanted))
            assert len(found) == len(wanted)
            fetching += [stored.event for stored in found.values()]
        raise AssertionError("nothing goes on")

    async def deliver_everything(self, chance: Random) -> None:
        for _ in range(2):
            for source in NAMES:
                for target in NAMES:
                    if source != target and self._is_in(target):
                        await self.deliver(source, target, 10_000, chance)

    def _is_in(self, name: str) -> bool:
        rooms = self.houses[name].rooms
        return bool(rooms.database.read(lambda c: forward_extremities(c, self.room_id)))

    def states(self) -> list[dict[Any, str]]:
        return [
            house.rooms.database.read(lambda c: load_current_state(c, self.room_id)) for house in self.houses.values()
        ]

    def extremities(self) -> list[set[str]]:
        return [
            set(house.rooms.database.read(lambda c: forward_extremities(c, self.room_id)))
            for house in self.houses.values()
        ]


@contextlib.asynccontextmanager
async def open_network(folder: Path, version: str) -> AsyncIterator[Network]:
    async with contextlib.AsyncExitStack() as stack:
        houses = {
            name: await stack.enter_async_context(open_house(folder / f"{name}.db", server_name=name)) for name in NAMES
        }
        network = Network(houses, version)
        await network.begin()
        yield network


async def _check(script: list[tuple[Any, ...]], version: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_network(Path(folder), version) as network:
            for step in script:
                await network.play(step)
            chance = Random(seed)
            await network.deliver_everything(chance)
            # Somebody who may follows all that each of them has, so that nobody's soft failures matter any more.
            for name in NAMES:
                rooms = network.houses[name].rooms
                for user_id in USERS:
                    if rooms.is_local(user_id):
                        sent = await send_event(
                            rooms, Sender(user_id), network.room_id, "m.room.message", {"body": "."}
                        )
                        assert isinstance(sent, Sent | Refused)
            await network.deliver_everything(chance)
            closing = network.houses[NAMES[0]].rooms
            sent = await send_event(closing, Sender(USERS[0]), network.room_id, "m.room.message", {"body": "end"})
            await network.deliver_everything(chance)
            if isinstance(sent, Sent):
                one, two, three = network.extremities()
                if one == two == three == {sent.event_id}:
                    first, second, third = network.states()
                    assert first == second == third
            after = _states_after(network)
            for event_id in set(after[0]) & set(after[1]) & set(after[2]):
                assert after[0][event_id] == after[1][event_id] == after[2][event_id], event_id
            for house in network.houses.values():
                assert problems_of(house.rooms.database.path) == []


def _states_after(network: Network) -> list[dict[str, Any]]:
    """The state after each event that has a place in the graph, by server."""
    found = []
    for house in network.houses.values():

        def read(connection: Any) -> dict[str, Any]:
            rows = connection.execute(
                "SELECT event_id, state_group FROM events WHERE room_id = ? AND state_group IS NOT NULL",
                (network.room_id,),
            ).fetchall()
            return {row[0]: state_of_group(connection, row[1]) for row in rows}

        found.append(house.rooms.database.read(read))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps, versions, st.integers(0, 1000))
def test_servers_agree_after_any_partition(script: list[Any], version: str, seed: int) -> None:
    asyncio.run(_check(script, version, seed))
