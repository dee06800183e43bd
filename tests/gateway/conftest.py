"""What the gateway's tests share: a fake homeserver, brokers, configuration, devices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.gateway.brokers import Mosquitto, mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import make_config

from thingroom_gateway.config import GatewayConfig


@pytest.fixture
async def homeserver() -> AsyncIterator[FakeHomeserver]:
    async with FakeHomeserver.started() as fake:
        yield fake


@pytest.fixture
def config(tmp_path: Path, homeserver: FakeHomeserver) -> GatewayConfig:
    """A gateway with CoAP and without MQTT on free ports."""
    return make_config(tmp_path, homeserver.url)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Callable[..., Mosquitto]]:
    """Starts real Mosquittos; they are stopped at the end."""
    started: list[Mosquitto] = []

    def start(**options: object) -> Mosquitto:
        one = mosquitto(tmp_path / f"mosquitto{len(started)}", **options)  # type: ignore[arg-type]
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()
