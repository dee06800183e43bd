"""The control socket and the command line against a gateway that runs and one that does not; the homeserver's calls."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path

import aiocoap
import aiohttp
import pytest
from click.testing import CliRunner, Result
from tests.gateway.fake_homeserver import HS_TOKEN, SERVER, FakeHomeserver
from tests.gateway.gateway_support import Thing, gateway, make_config, write_config
from tests.gateway.test_gateway_crash import REPOSITORY
from tests.patience import PATIENCE_SECONDS

from thingroom_common.config_file import ConfigError, example
from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.control import ask
from thingroom_gateway.registration import RegistrationError, load_registration, make_registration, write_registration


@pytest.fixture
def config_file(tmp_path: Path, config: GatewayConfig) -> Path:
    return write_config(tmp_path / "thingroom.toml", config)


def run(config_file: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(gateway_commands, [command, "--config", str(config_file), *arguments])


async def command(config_file: Path, name: str, *arguments: str) -> Result:
    return await asyncio.to_thread(run, config_file, name, *arguments)


async def test_commands_while_a_gateway_runs(config: GatewayConfig, config_file: Path) -> None:
    thing, other = Thing(1), Thing(2, name="Cellar")
    async with gateway(config, thing) as running:
        opened = await command(config_file, "pair", "--minutes", "3")
        window = running.core.pairing.current()
        assert window is not None
        assert window.code in opened.output
        assert (await command(config_file, "pair", "--close")).exit_code == 0
        assert running.core.pairing.current() is None
        enrolled = await command(
            config_file,
            "enrol",
            "--name",
            "Cellar",
            "--profile",
            "climate",
            other.public.hex(),
            other.agreement_public.hex(),
        )
        assert enrolled.exit_code == 0, enrolled.output
        assert running.core.keys.signing_public.hex() in enrolled.output
        assert running.core.keys.agreement_public.hex() in enrolled.output
        assert running.core.registry.get(other.kid) is not None
        listed = (await command(config_file, "devices")).output
        assert thing.hex in listed
        assert "Cellar (climate, Cellar, active)" in listed
        running.core.counters.add("mqtt.rejected.bad_signature", 3)
        assert "3  mqtt.rejected.bad_signature" in (await command(config_file, "counters")).output
        assert (await command(config_file, "retry-parked")).exit_code == 0
        assert (await command(config_file, "revoke", other.hex)).exit_code == 0
        assert (await command(config_file, "revoke", "0" * 16)).exit_code == 1
        bad = await command(config_file, "enrol", "--name", "x", "--profile", "climate", "zz", "zz")
        assert (bad.exit_code, "64 hex digits are wanted, this is 'zz'" in bad.output) == (2, True)


def test_commands_while_none_runs(config: GatewayConfig, config_file: Path) -> None:
    thing = Thing()
    keys = (thing.public.hex(), thing.agreement_public.hex())
    assert run(config_file, "devices").output == "No devices. Enrol one with: thingroom gateway pair\n"
    assert run(config_file, "enrol", "--name", "Attic", "--profile", "climate", *keys).exit_code == 0
    assert "Attic" in run(config_file, "devices").output
    refused = run(config_file, "enrol", "--name", "Attic", "--profile", "toaster", *keys)
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: there is no profile toaster; there are adc, battery, bh1750, bme280, ")
    refused = run(config_file, "pair")
    assert refused.exit_code == 1
    assert "No gateway runs" in refused.output


async def test_the_socket_answers_nonsense_and_is_the_owners(config: GatewayConfig) -> None:
    async with gateway(config) as running:
        path = config.directory / "control.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(config.directory.stat().st_mode) == 0o700
        for line in (b"\n", b"{}\n", b"\xff\n", b'{"command":"fly"}\n', b'{"command":"open_pairing","minutes":-1}\n'):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            assert json.loads(await reader.readline())["ok"] is False
            writer.close()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 200_000)
        assert await reader.read() == b""
        writer.close()
        assert running.core.pairing.current() is None
        with pytest.raises(BlockingIOError):
            async with gateway(config):
                pass


async def test_stop_and_events_of_a_process(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    """stdout is one JSON object a line; the command "stop" ends the process."""
    config = make_config(tmp_path, homeserver.url)
    config_file = write_config(tmp_path / "thingroom.toml", config)
    thing = Thing()
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "thingroom_gateway",
        "--config",
        str(config_file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    seen: list[dict[str, object]] = []

    async def until(event: str) -> dict[str, object]:
        assert process.stdout is not None
        while True:
            seen.append(json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)))
            if seen[-1]["event"] == event:
                return seen[-1]

    assert (await until("listening"))["coap"] == f"127.0.0.1:{config.coap.port}"
    await until("ready")
    enrol = {
        "command": "enrol",
        "device_key": thing.public.hex(),
        "agreement_key": thing.agreement_public.hex(),
        "name": "Kitchen",
        "profile": "climate",
    }
    assert (await asyncio.to_thread(ask, config.directory, enrol))["ok"]
    assert (await until("enrolled"))["name"] == "Kitchen"
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    uri = f"coap://127.0.0.1:{config.coap.port}/up"
    for payload in (thing.envelope(), thing.envelope(1), b"nonsense"):
        await context.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload)).response
    await context.shutdown()
    sent = await until("in_room")
    assert (sent["device"], sent["first"], sent["last"]) == (thing.hex, 1, 1)
    verdicts = [(event.get("verdict"), event.get("text")) for event in seen if event["event"] == "reading"]
    assert verdicts == [("accepted", "20.1 °C, 45 %"), ("duplicate", None), ("rejected", None)]
    assert (await asyncio.to_thread(ask, config.directory, {"command": "stop"}))["ok"]
    assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_what_the_homeserver_asks(config: GatewayConfig) -> None:
    thing = Thing()
    base = f"http://127.0.0.1:{config.appservice.port}"
    right, wrong = {"Authorization": f"Bearer {HS_TOKEN}"}, {"Authorization": "Bearer x"}
    async with gateway(config, thing) as running, aiohttp.ClientSession() as session:

        async def status(method: str, path: str, headers: dict[str, str] = right) -> int:
            async with session.request(method, base + path, headers=headers, json={"events": []}) as response:
                return response.status

        assert await status("PUT", "/_matrix/app/v1/transactions/1", wrong) == 403
        assert await status("PUT", "/_matrix/app/v1/transactions/1", {}) == 403
        for txn in ("1", "1", "2"):
            assert await status("PUT", f"/_matrix/app/v1/transactions/{txn}") == 200
        stored = running.core.database.read(
            lambda connection: connection.execute("SELECT txn_id FROM transactions ORDER BY txn_id").fetchall()
        )
        assert [row[0] for row in stored] == ["1", "2"]
        assert await status("POST", "/_matrix/app/v1/ping") == 200
        assert await status("GET", f"/_matrix/app/v1/users/@thing_{thing.hex}:{SERVER}") == 200
        assert await status("GET", f"/_matrix/app/v1/users/@thing_x:{SERVER}") == 404
        assert await status("GET", f"/_matrix/app/v1/rooms/%23thingroom_x:{SERVER}") == 404
        assert await status("GET", "/elsewhere") == 404
        assert await status("POST", "/_matrix/app/v1/transactions/1") == 405


def test_the_registration(tmp_path: Path, config_file: Path, config: GatewayConfig) -> None:
    made = make_registration("home.test", "http://127.0.0.1:29333", "a", "h")
    assert made["sender_localpart"] == "thingroom"
    assert made["namespaces"] == {
        "users": [{"exclusive": True, "regex": "@thing_.*:home\\.test"}],
        "aliases": [{"exclusive": True, "regex": "#thingroom_.*:home\\.test"}],
        "rooms": [],
    }
    one_of_two = make_registration("home.test", "http://127.0.0.1:29333", "a", "h", "north", "10")
    assert one_of_two["id"] == one_of_two["sender_localpart"] == "thingroom_north"
    assert one_of_two["namespaces"] == {
        "users": [{"exclusive": True, "regex": "@thing_[01].*:home\\.test"}],
        "aliases": [{"exclusive": True, "regex": "#thingroom_north_.*:home\\.test"}],
        "rooms": [],
    }
    path = tmp_path / "new" / "registration.yaml"
    first = write_registration(path, "home.test", "http://127.0.0.1:29333")
    assert write_registration(path, "home.test", "http://127.0.0.1:29333") == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({first.as_token, first.hs_token}) == 2
    path.write_text("id: thingroom\nas_token: abc\nhs_token: 'def'\nsender_localpart: thingroom\nurl: null\n")
    assert load_registration(path).hs_token == "def"
    for text in ("", "id: [", "id: 1\n"):
        path.write_text(text)
        with pytest.raises(RegistrationError):
            load_registration(path)
    assert run(config_file, "register").exit_code == 0
    written = Path(config.registration_file)
    written.unlink()
    assert run(config_file, "register", "--name", "Nörth").exit_code == 2
    assert run(config_file, "register", "--name", "north").exit_code == 0
    assert load_registration(written).sender_localpart == "thingroom_north"


def test_the_configuration_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "thingroom.toml"
    path.write_text("[homeserver]\nanything = 1\n[gateway]\nhome_name = 'Flat'\n")
    assert load(path).home_name == "Flat"
    for text in ("home = 1", "[gateway.mqtt]\nprotocol = '4'", "[gateway.mqtt]\nshards = 'xyz'"):
        path.write_text(f"[gateway]\n{text}\n")
        with pytest.raises(ConfigError):
            load(path)
    lines = [line.removeprefix("# ") for line in example(GatewayConfig, "gateway").splitlines()]
    path.write_text("[gateway]\n" + "\n".join(line for line in lines if "=" in line or line.startswith("[")))
    assert load(path) == GatewayConfig()
