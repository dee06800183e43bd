"""SIGKILL of our servers at any moment, while events go both ways between three servers and links break.

THINGROOM_KILLS says how often (20 if it is not set).
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest
import pytest_asyncio
from tests.federation.shared_room import history, until
from tests.federation.sides import Side, Sides, running_sides
from tests.federation.story import Story
from tests.homeserver.running import MatrixClient

KILLS = int(os.environ.get("THINGROOM_KILLS", "20"))
SEED = int(os.environ.get("THINGROOM_FIRST_SEED", "0"))
HERE = "SELECT event_id FROM events UNION SELECT event_id FROM staged_events"
WAITING = "SELECT event_id FROM staged_events UNION SELECT server_name FROM destinations WHERE pending IS NOT NULL"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300 + 12 * KILLS)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    async with running_sides(tmp_path_factory.mktemp("sides"), users=1) as found:
        yield found


class Writer:
    """A user who writes one message after the other, each until it is answered, always with one transaction id."""

    def __init__(self, story: Story, client: MatrixClient, chance: random.Random) -> None:
        self.story, self.client, self.chance = story, client, chance
        self.answered: dict[str, str] = {}
        self.other_events: list[str] = []

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            await self._say(f"{self.client.user_id} {number}".replace(":", " "))
            if self.chance.random() < 0.15:
                await self._set_topic(f"{self.client.user_id} {number}")
            await asyncio.sleep(self.chance.uniform(0, 0.3))

    async def _say(self, body: str) -> None:
        content = {"msgtype": "m.text", "body": body}
        path = self.story.path(f"send/m.room.message/{body.replace(' ', '_')}")
        while True:
            try:
                answer = await self.client.put(path, content)
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
                continue
            self.answered[body] = answer.ok()["event_id"]
            return

    async def _set_topic(self, topic: str) -> None:
        try:
            answer = await self.client.put(self.story.path("state/m.room.topic"), {"topic": topic})
        except aiohttp.ClientError:
            return
        self.other_events.append(answer.ok()["event_id"])


def lost(side: Side, sides: Sides, writers: list[Writer]) -> set[str]:
    """Events that the server has answered for, to a client or to a server, and has not."""
    promised = set(sides.network.acknowledged.get(side.name, ()))
    for writer in writers:
        if writer.client in side.clients:
            promised.update(writer.answered.values(), writer.other_events)
    # What others have seen was on disk before it was sent.
    own = sides.network.sent.get(side.name, {}).values()
    promised.update(event.event_id for event in own if event.sender.endswith(f":{side.name}"))
    return promised.difference(side.column(HERE))


async def test_nothing_is_lost_and_all_agree(sides: Sides) -> None:
    chance = random.Random(SEED)
    story = Story(sides, SEED, "12")
    await story.begin()
    for client in sides.clients:  # a room in which nobody may be kept from speaking
        await client.post(f"v3/join/{story.room_id}", via=story.host.name, server_name=story.host.name)
    levels = (await story.host.anchor.get(story.path("state/m.room.power_levels"))).ok()
    (await story.host.anchor.put(story.path("state/m.room.power_levels"), levels | {"state_default": 0})).ok()
    await story.agree()
    writers = [Writer(story, client, random.Random(chance.random())) for client in sides.clients]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    try:
        for _ in range(KILLS):
            if chance.random() < 0.6:
                story.break_links()
            await asyncio.sleep(chance.uniform(0.02, 0.6))
            if chance.random() < 0.5:
                sides.network.heal()
                await asyncio.sleep(chance.uniform(0.02, 0.3))
            victims = chance.sample(sides.ours, chance.choice((1, 1, 1, 2)))
            for victim in victims:
                assert victim.process is not None
                await victim.process.kill()
            for victim in victims:
                assert victim.process is not None
                await victim.process.start()
                assert lost(victim, sides, writers) == set()
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    sides.network.heal()
    await story.last_words()
    for writer in writers:
        story.told.messages |= writer.answered
    await story.agree()
    assert len(story.told.messages) > 5 * KILLS
    assert not sides.network.faults
    for side in sides.ours:
        assert len(sides.network.acknowledged[side.name]) > KILLS
        await until(partial(nothing_waits, side))
    for side in sides.all:
        found = collections.defaultdict(set)
        for event in await history(side.anchor, story.room_id):
            if event["type"] == "m.room.message":
                found[event["content"]["body"]].add(event["event_id"])
        assert {body: ids for body, ids in found.items() if len(ids) > 1} == {}
        assert {body: {event_id} for body, event_id in story.told.messages.items()}.items() <= found.items()


async def nothing_waits(side: Side) -> bool:
    """No event waits for its ancestors, no transaction for its answer."""
    return side.column(WAITING) == []
