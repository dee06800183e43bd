"""`thingroom gateway register` and its --check, against our homeserver and a real Synapse: right, and each mistake."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.free_port import free_port
from tests.gateway.gateway_support import write_config
from tests.synapse_peer.server import SynapseSettings, running_synapse

from thingroom_gateway import app
from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.config import AppserviceConfig, CoapConfig, DashboardConfig, GatewayConfig, MqttConfig
from thingroom_gateway.events_out import EventsOut

SERVER = "synapse.test"


class Place:
    """A folder with the gateway's configuration and registration, and what is said there."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.file = directory / "thingroom.toml"
        self.config = GatewayConfig(
            data_directory=str(directory / "gateway"),
            server_name=SERVER,
            registration_file=str(directory / "registration.yaml"),
            owner=f"@owner:{SERVER}",
            mqtt=MqttConfig(enabled=False),
            coap=CoapConfig(enabled=False),
            dashboard=DashboardConfig(enabled=False),
            appservice=AppserviceConfig(port=free_port()),
        )
        self.write()

    @property
    def registration(self) -> Path:
        return Path(self.config.registration_file)

    def write(self, **changes: Any) -> None:
        write_config(self.file, msgspec.structs.replace(self.config, **changes))

    def change_registration(self, **changes: Any) -> None:
        self.registration.write_text(json.dumps({**json.loads(self.registration.read_text()), **changes}))

    async def register(self, *arguments: str) -> Result:
        command = ["register", "--config", str(self.file), *arguments]
        return await asyncio.to_thread(CliRunner().invoke, gateway_commands, command)

    async def failing(self) -> str:
        """What a check says that finds something; the last finding and its cure."""
        checked = await self.register("--check")
        assert checked.exit_code == 1, checked.output
        return checked.output[checked.output.index("✗") :]


async def go_through(place: Place, url: str) -> None:
    """`place`'s registration is what the homeserver at `url` has; ends as it began."""
    place.config = msgspec.structs.replace(place.config, homeserver_url=url)
    place.write()
    config, kept = place.config, place.registration.read_text()
    checked = await place.register("--check")
    assert checked.exit_code == 0, checked.output
    assert checked.output.count("✓") == 5 and f"as @thingroom:{SERVER}" in checked.output
    async with app.running(config, EventsOut(None), asyncio.Event()):
        checked = await place.register("--check")
        assert checked.exit_code == 0, "the gateway itself answers"

    place.write(homeserver_url=f"http://127.0.0.1:{free_port()}")
    assert "change homeserver_url" in await place.failing()

    place.write(server_name="other.test")
    assert "was written for another server_name" in await place.failing()
    place.change_registration(namespaces={"users": [{"exclusive": True, "regex": "@thing_.*:other\\.test"}]})
    said = await place.failing()
    assert f"@thingroom:{SERVER}" in said and f'Set server_name = "{SERVER}"' in said
    place.write()
    place.registration.write_text(kept)

    place.change_registration(as_token="wrong")
    assert "app_service_config_files" in await place.failing()
    place.change_registration(as_token=json.loads(kept)["as_token"], hs_token="wrong")
    assert "another hs_token" in await place.failing()
    place.registration.write_text(kept)

    other = free_port()
    place.change_registration(url=f"http://127.0.0.1:{other}")
    assert "the gateway listens on port" in await place.failing()
    place.write(appservice=AppserviceConfig(port=other))
    assert "--replace --url" in await place.failing()
    place.write()
    place.registration.write_text(kept)
    place.registration.chmod(0o644)
    assert "chmod 600" in await place.failing()
    place.registration.chmod(0o600)


@contextlib.asynccontextmanager
async def our_homeserver(directory: Path, registration: Path) -> AsyncIterator[str]:
    """Its URL."""
    (directory / "data").mkdir(parents=True)
    port = free_port()
    file = directory / "thingroom.toml"
    file.write_text(
        f'[homeserver]\nserver_name = "{SERVER}"\nlisteners = ["127.0.0.1:{port}"]\ndata_directory = "data"\n'
        f'appservice_files = ["{registration}"]\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "thingroom_homeserver", "--config", str(file)), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                assert process.returncode is None
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        if response.ok:
                            break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_our_homeserver(tmp_path: Path) -> None:
    place = Place(tmp_path / "gateway")
    assert "register" in await place.failing(), "there is no file yet"
    written = await place.register()
    assert written.exit_code == 0, written.output
    assert stat.S_IMODE(place.registration.stat().st_mode) == 0o600
    for words in ("app_service_config_files:", "sudo systemctl restart matrix-synapse", "rate_limited: false"):
        assert words in written.output
    assert json.loads(place.registration.read_text())["as_token"] not in written.output
    kept = place.registration.read_text()
    assert "stays as it is" in (await place.register()).output
    assert (await place.register("--url", "http://10.0.0.2:29333")).exit_code == 1, "not without --replace"
    assert place.registration.read_text() == kept
    async with our_homeserver(tmp_path / "homeserver", place.registration) as url:
        await go_through(place, url)


async def test_a_homeserver_with_an_older_copy(tmp_path: Path) -> None:
    place = Place(tmp_path / "gateway")
    await place.register()
    copy = tmp_path / "copy.yaml"
    shutil.copy(place.registration, copy)
    narrow = {"users": [{"exclusive": True, "regex": "@lamp_.*"}], "aliases": [], "rooms": []}
    copy.write_text(json.dumps({**json.loads(copy.read_text()), "namespaces": narrow, "url": None}))
    async with our_homeserver(tmp_path / "homeserver", copy) as url:
        place.write(homeserver_url=url)
        assert "has other namespaces" in await place.failing()
    copy.write_text(json.dumps({**json.loads(place.registration.read_text()), "url": None}))
    async with our_homeserver(tmp_path / "again", copy) as url:
        place.write(homeserver_url=url)
        assert "has no url" in await place.failing()


async def test_synapse(tmp_path: Path) -> None:
    place = Place(tmp_path / "gateway")
    await place.register()
    settings = SynapseSettings(server_name=SERVER, appservice_files=(place.registration,))
    async with running_synapse(tmp_path / "synapse", settings) as synapse:
        await go_through(place, synapse.base_url)


def test_a_url_is_written_as_it_was_asked_for(tmp_path: Path) -> None:
    place = Place(tmp_path / "gateway")
    first = asyncio.run(place.register("--url", "https://gateway.example"))
    assert first.exit_code == 0 and json.loads(place.registration.read_text())["url"] == "https://gateway.example"
    token = json.loads(place.registration.read_text())["as_token"]
    asyncio.run(place.register("--replace"))
    again = json.loads(place.registration.read_text())
    assert again["url"] == f"http://127.0.0.1:{place.config.appservice.port}" and again["as_token"] != token
    assert asyncio.run(place.register("--replace", "--url", "gateway.example")).exit_code == 1


@pytest.fixture(autouse=True)
def _no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
