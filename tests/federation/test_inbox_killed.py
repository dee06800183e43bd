"""SIGKILL while transactions arrive: whatever was answered for is there afterwards."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
from tests.federation.federated_house import eventually
from tests.federation.lying_peer import LyingPeer, lying_peer
from tests.federation.peers import Authority, ProcessPeer, running_process_peer
from tests.homeserver.running import PASSWORD, MatrixClient, escape

from thingroom_homeserver.core.event import Event


async def register(http: aiohttp.ClientSession, peer: ProcessPeer, name: str) -> MatrixClient:
    client = MatrixClient(http, peer.base_url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    client.token = (await client.post("v3/register", body)).ok()["access_token"]
    return client


class Sending:
    """Sends one transaction after the other, each until it is answered; every third event overtakes the one before."""

    def __init__(self, other: LyingPeer) -> None:
        self.other = other
        self.answered: list[Event] = []
        self._number = 0
        self._pending: list[Event] = []

    async def run(self) -> None:
        while True:
            if not self._pending:
                self._number += 1
                events = [self.other.message(f"m{self._number}.{part}") for part in range(3)]
                self._pending = [events[1], events[0], events[2]]
            for event in list(self._pending):
                try:
                    answer = await self.other.send(event, transaction_id=event.event_id[1:])
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)
                    break
                assert answer.ok()["pdus"] == {event.event_id: {}}
                self.answered.append(event)
                self._pending.remove(event)


async def test_nothing_that_was_answered_for_is_lost(tmp_path: Path, authority: Authority) -> None:
    chance = random.Random(7)
    async with running_process_peer(tmp_path / "one", authority) as peer, aiohttp.ClientSession() as http:
        owner = await register(http, peer, "owner")
        room_id = (await owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        async with lying_peer(authority, peer, room_id) as other:
            sending = Sending(other)
            for _ in range(4):
                task = asyncio.create_task(sending.run())
                enough = len(sending.answered) + chance.randrange(6, 16)
                await eventually(lambda enough=enough: len(sending.answered) >= enough)
                await asyncio.sleep(chance.uniform(0, 0.05))
                await peer.kill()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await peer.start()
            assert len(sending.answered) > 20
            last = sending.answered[-1].event_id

            async def there() -> bool:
                return (await owner.get(f"v3/rooms/{escape(room_id)}/event/{escape(last)}")).status == 200

            await eventually(there)
            for event in sending.answered:
                found = await owner.get(f"v3/rooms/{escape(room_id)}/event/{escape(event.event_id)}")
                assert found.ok()["content"] == event.content
