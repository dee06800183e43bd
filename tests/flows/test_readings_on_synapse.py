"""Readings of real nodes in rooms that a user of another server is in: a Synapse that backfills, listens and is away.

`thingroom run --demo` with a TLS listener for other servers, real MicroPython nodes; what is in the rooms is read from
Synapse alone and verified with PyNaCl and cbor2 by the keys in the state that Synapse has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path

from nio import AsyncClient, JoinResponse, LoginResponse, RoomInviteResponse, SyncResponse
from tests.federation.peers import Authority, ReservedPort, synapse_place
from tests.flows.readings import Proven, proven_readings, room_named
from tests.flows.thingroom_run import Running
from tests.patience import PATIENCE_SECONDS
from tests.synapse_peer.server import Account, Synapse

ROOMS = ("Kitchen", "Bedroom")
"""By MQTT and by CoAP."""


def let_it_federate(running: Running, authority: Authority, port: int) -> None:
    """Give the homeserver a name that others can reach it by, and a listener for them."""
    certificate, key = authority.files("localhost", "127.0.0.1")
    path = running.data / "thingroom.toml"
    text = path.read_text()
    assert text.count("[homeserver]\n") == 1
    own = f'listeners = ["127.0.0.1:{running.homeserver_port}"]\n'
    text = text.replace(
        own,
        f'server_name = "localhost:{port}"\noutgoing_permitted_ranges = ["127.0.0.0/8", "::1"]\n'
        f"outgoing_ca_file = {json.dumps(str(authority.ca_file))}\n",
    )
    path.write_text(
        f'{text}[[homeserver.listeners]]\naddress = "127.0.0.1:{running.homeserver_port}"\n'
        f'[[homeserver.listeners]]\naddress = "127.0.0.1:{port}"\nserves = ["federation"]\n'
        f"tls_certificate = {json.dumps(str(certificate))}\ntls_key = {json.dumps(str(key))}\n"
        "[homeserver.federation]\nbackoff_initial_seconds = 0.2\nbackoff_max_seconds = 2.0\n"
    )


@contextlib.asynccontextmanager
async def owner_of(running: Running) -> AsyncIterator[AsyncClient]:
    user_id, password = running.owner()
    client = AsyncClient(running.url, user_id)
    try:
        assert isinstance(await client.login(password), LoginResponse)
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def visitor_at(synapse: Synapse, account: Account) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(synapse.base_url, account.user_id)
    client.restore_login(account.user_id, account.device_id, account.access_token)
    try:
        yield client
    finally:
        await client.close()


async def rooms_of(client: AsyncClient) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = {name: await room_named(client, name) for name in ROOMS}
            if all(found.values()):
                return {name: str(room_id) for name, room_id in found.items()}
            await asyncio.sleep(0.2)


async def numbers_upto(client: AsyncClient, room_id: str, wanted: int) -> list[Proven]:
    """Everything proven in the room, once reading number `wanted` is among it."""
    found: list[Proven] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(reading.sequence >= wanted for reading in found):
            await asyncio.sleep(0.2)
            found = await proven_readings(client, room_id)
    return found


def highest(readings: list[Proven]) -> int:
    return max(reading.sequence for reading in readings)


def each_once(readings: list[Proven]) -> None:
    """From the first on, without a gap, in order, each chained to the one before."""
    numbers = [reading.sequence for reading in readings]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for before, after in itertools.pairwise(readings):
        assert after.predecessor is not None
        assert after.predecessor[0] == before.sequence


async def live_number(client: AsyncClient, room_id: str, beyond: int) -> str:
    """The first event of readings that /sync brings, of what is sent after this one's number."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await client.sync(timeout=5000)
            assert isinstance(answer, SyncResponse), answer
            joined = answer.rooms.join.get(room_id)
            for event in () if joined is None else joined.timeline.events:
                numbers = [one["sequence"] for one in event.source["content"].get("readings", ())]
                if numbers and max(numbers) > beyond:
                    return str(event.event_id)


async def test_a_user_of_synapse_has_all_readings_each_once(tmp_path: Path):
    authority, port = Authority(tmp_path / "authority"), ReservedPort()
    place = synapse_place(tmp_path / "synapse", authority)
    running = Running(tmp_path / "data")
    let_it_federate(running, authority, port.number)
    synapse = await place.start()
    try:
        async with running:
            await running.until_printed("the first readings are in their Matrix room")
            account = await synapse.register("visitor")
            async with owner_of(running) as owner:
                rooms = await rooms_of(owner)
                before = {name: highest(await numbers_upto(owner, room, 3)) for name, room in rooms.items()}

                async with visitor_at(synapse, account) as visitor:
                    for name, room_id in rooms.items():
                        assert isinstance(await owner.room_invite(room_id, account.user_id), RoomInviteResponse)
                        async with asyncio.timeout(PATIENCE_SECONDS):
                            while not isinstance(await visitor.join(room_id), JoinResponse):
                                await asyncio.sleep(0.2)
                        # What was there before the invite comes by backfill.
                        found = await numbers_upto(visitor, room_id, before[name])
                        assert found[0].sequence == 1
                        each_once(found)
                        event_id = await live_number(visitor, room_id, highest(found))
                        found = await numbers_upto(visitor, room_id, highest(found) + 1)
                        assert event_id in {reading.event_id for reading in found}
                        each_once(found)
                        before[name] = highest(found)

                await synapse.stop()
                missed = {}
                for name, room_id in rooms.items():
                    missed[name] = highest(await numbers_upto(owner, room_id, before[name] + 3))
                synapse = await place.start()
                async with visitor_at(synapse, account) as visitor:
                    for name, room_id in rooms.items():
                        found = await numbers_upto(visitor, room_id, missed[name] + 1)
                        assert found[0].sequence == 1
                        each_once(found)
                        there = {reading.sequence: reading.event_id for reading in found}
                        here = {one.sequence: one.event_id for one in await proven_readings(owner, room_id)}
                        assert there.items() <= here.items()
    except BaseException:
        print(running.story(), synapse.log_tail())
        raise
    finally:
        await synapse.stop()
        port.close()
