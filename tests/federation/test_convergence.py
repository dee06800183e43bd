"""Three servers agree on a room, whatever the network did: two of ours and a Synapse.

THINGROOM_SEEDS says how many stories are played in each room version (1 if it is not set).
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.federation.sides import Sides, running_sides
from tests.federation.story import Story

SEEDS = int(os.environ.get("THINGROOM_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("THINGROOM_FIRST_SEED", "0"))
VERSIONS = ("10", "11", "12", "6", "2", "1")

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sides]:
    async with running_sides(tmp_path_factory.mktemp("sides")) as found:
        yield found


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
@pytest.mark.parametrize("version", VERSIONS)
async def test_all_agree_when_the_links_are_healed(sides: Sides, version: str, seed: int) -> None:
    story = Story(sides, seed * len(VERSIONS) + VERSIONS.index(version), version)
    await story.play()
    rounds = await story.agree()
    told = story.told
    logger.info("%d messages, %d refusals, %d more rounds", len(told.messages), told.refused, rounds)
    assert not told.faults
    assert not sides.network.faults
