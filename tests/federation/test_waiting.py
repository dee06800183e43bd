"""Who waits for whom when events are completed: nobody for a flood, a slow room, or a crowd of strangers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from tests.federation.federated_house import FederatedHouse, eventually, federated_house
from tests.federation.peers import Authority
from tests.homeserver.running import escape

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.waiting import Patience, Space, Waiting
from thingroom_homeserver.storage.staged_events import stage_event


class Completer:
    """Stands in for the fetching: attempts for the servers in `slow` never end, others are over at once, in vain."""

    def __init__(self, slow: Sequence[str] = ()) -> None:
        self.slow = set(slow)
        self.attempts: list[tuple[str, str]] = []
        self.running = 0

    async def complete(self, room_id: str, version: str, origin: str, waiting: Sequence[Event]) -> set[str]:
        self.attempts.append((room_id, origin))
        self.running += 1
        try:
            if origin in self.slow:
                await asyncio.Event().wait()
        finally:
            self.running -= 1
        return set()


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[FederatedHouse]:
    async with federated_house(tmp_path, authority) as house:
        yield house


async def stage(house: FederatedHouse, waiting: Waiting, origin: str, room_id: str | None = None) -> str:
    """An event, unlike any other of the same millisecond, waits as if the server had sent it."""
    event = house.other.message(f"orphan {uuid4()}", prev=["$" + "A" * 43], on_top=False)

    def write(transaction: Transaction) -> None:
        stage_event(transaction, event.event_id, room_id or house.room_id, origin, 0, encode_json(event.pdu), ["$a"])

    await house.peer.services.database.write(write)
    waiting.look_again(room_id or house.room_id, origin)
    return event.event_id


async def test_strangers_do_not_keep_the_room_waiting(house: FederatedHouse) -> None:
    strangers = [f"host{number}.example.org" for number in range(200)]
    completer = Completer(strangers)
    waiting = Waiting(house.peer.services.rooms, completer)  # type: ignore[arg-type]
    async with waiting.running():
        for stranger in strangers:
            await stage(house, waiting, stranger)
        await eventually(lambda: completer.running == 5)
        await asyncio.sleep(0.05)
        assert completer.running == 5
        await stage(house, waiting, house.other.name)
        await eventually(lambda: (house.room_id, house.other.name) in completer.attempts)


async def test_one_server_gets_few_slots(house: FederatedHouse) -> None:
    rooms = [house.room_id]
    for _ in range(5):
        made = (await house.owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        await house.other.join(made)
        rooms.append(made)
    completer = Completer([house.other.name])
    waiting = Waiting(house.peer.services.rooms, completer)  # type: ignore[arg-type]
    async with waiting.running():
        for room_id in rooms:
            await stage(house, waiting, house.other.name, room_id)
        await eventually(lambda: completer.running == 3)
        await asyncio.sleep(0.05)
        assert completer.running == 3


async def test_attempts_are_repeated_and_end(house: FederatedHouse) -> None:
    completer = Completer()
    waiting = Waiting(house.peer.services.rooms, completer, Patience(0.01, 1.0, 4))  # type: ignore[arg-type]
    async with waiting.running():
        await stage(house, waiting, house.other.name)
        assert waiting.events == 1
        await eventually(lambda: waiting.events == 0)
        assert len(completer.attempts) == 4
        assert house.waiting == 0
        assert not waiting._servers
        assert not waiting._of_server._groups


async def test_space_is_counted_by_server_and_stranger(house: FederatedHouse) -> None:
    space = Space(events_of_server=3, bytes_of_server=10**6, events_of_stranger=2, events_in_all=8)
    waiting = Waiting(house.peer.services.rooms, Completer(["x"]), space=space)  # type: ignore[arg-type]
    database = house.peer.services.database

    def left(origin: str) -> int:
        return database.read(lambda connection: waiting.space_left(connection, house.room_id, origin))

    async with waiting.running():
        assert left(house.other.name) == 3
        assert left("x") == 2
        await stage(house, waiting, "x")
        assert left("x") == 1
        await stage(house, waiting, "x")
        assert left("x") == 0
        assert left("y") == 2
        await stage(house, waiting, "y")
        await stage(house, waiting, "y")
        assert left("z") == 0, "strangers have their half"
        assert left(house.other.name) == 3
        assert waiting.events == 4
    small = Waiting(house.peer.services.rooms, Completer(["x"]), space=Space(bytes_of_server=10))  # type: ignore[arg-type]
    async with small.running():
        assert database.read(lambda connection: small.space_left(connection, house.room_id, "x")) == 0
        assert small.events == 4, "counted from the disk"


async def test_what_waits_for_a_room_that_was_left_is_dropped(house: FederatedHouse) -> None:
    completer = Completer()
    waiting = Waiting(house.peer.services.rooms, completer)  # type: ignore[arg-type]
    async with waiting.running():
        (await house.owner.post(f"v3/rooms/{escape(house.room_id)}/leave")).ok()
        await stage(house, waiting, house.other.name)
        await eventually(lambda: house.waiting == 0)
        assert completer.attempts == []
