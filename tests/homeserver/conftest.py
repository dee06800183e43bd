"""A running homeserver with a fresh data directory for each test that asks for one, and registered users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, make_config, running_homeserver

from thingroom_homeserver.config import HomeserverConfig


@pytest.fixture
def homeserver_config(tmp_path: Path) -> HomeserverConfig:
    return make_config(tmp_path / "homeserver")


@pytest.fixture
async def homeserver(homeserver_config: HomeserverConfig) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(homeserver_config) as running:
        yield running


@pytest.fixture
async def alice(homeserver: RunningHomeserver) -> MatrixClient:
    return await homeserver.register("alice")


@pytest.fixture
async def bob(homeserver: RunningHomeserver) -> MatrixClient:
    return await homeserver.register("bob")


@pytest.fixture
def anyone(homeserver: RunningHomeserver) -> MatrixClient:
    """A client without a token."""
    return homeserver.client()
