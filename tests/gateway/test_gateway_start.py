"""The gateway and the broker as processes that cannot start: exit code 2, one sentence, nothing to restart for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.free_port import free_port
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, gateway, make_config, write_config
from tests.gateway.test_gateway_crash import REPOSITORY, enrol

from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.config import GatewayConfig, MqttConfig


def start(config_file: Path, module: str = "thingroom_gateway", directory: Path | None = None) -> str:
    """What the process says on stderr before it ends with 2."""
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    ended = subprocess.run(
        [sys.executable, "-m", module, *(("--config", str(config_file)) if directory is None else ())],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


@contextlib.contextmanager
def taken(kind: socket.SocketKind, port: int, share: bool = False) -> Iterator[None]:
    with socket.socket(socket.AF_INET, kind) as holder:
        if share:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    return make_config(tmp_path, "http://127.0.0.1:9")


def written(tmp_path: Path, config: GatewayConfig) -> Path:
    return write_config(tmp_path / "thingroom.toml", config)


def test_no_configuration(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert start(missing) == (
        f"{missing} does not exist. Begin with `thingroom run`, or write one with: thingroom config > {missing}\n"
    )


def test_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "thingroom.toml").write_text("[gateway]\nhom_name = 1\n")
    said = start(tmp_path / "none", directory=tmp_path)
    assert "hom_name" in said and said.count("\n") == 1


def test_no_registration(tmp_path: Path, config: GatewayConfig) -> None:
    Path(config.registration_file).unlink()
    said = start(written(tmp_path, config))
    assert said == f"{config.registration_file} does not exist. Write one with: thingroom gateway register\n"


async def test_a_profile_that_is_gone(tmp_path: Path, config: GatewayConfig) -> None:
    await enrol(config, Thing())
    with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite")) as connection:
        connection.execute("UPDATE devices SET profile = 'toaster'")
        connection.commit()
    said = start(written(tmp_path, config))
    assert "toaster" in said and said.count("\n") == 1


async def test_a_database_of_a_later_version(tmp_path: Path, config: GatewayConfig) -> None:
    await enrol(config, Thing())
    with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite")) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES ('of tomorrow', 0)")
        connection.commit()
    said = start(written(tmp_path, config))
    assert "of tomorrow" in said and said.count("\n") == 1


async def test_a_gateway_that_runs_already(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    config = make_config(tmp_path, homeserver.url)
    async with gateway(config):
        said = await asyncio.to_thread(start, written(tmp_path, config))
    assert said == f"a gateway already runs on {config.directory}\n"


@pytest.mark.parametrize("share", [False, True])
def test_the_coap_port_is_taken(tmp_path: Path, config: GatewayConfig, share: bool) -> None:
    """Also by one who would share it: readings would go to either."""
    with taken(socket.SOCK_DGRAM, config.coap.port, share):
        said = start(written(tmp_path, config))
    where = f"127.0.0.1:{config.coap.port} (Address already in use)"
    assert said == f"CoAP cannot listen on {where}: change port in [gateway.coap], or end what is there.\n"


def test_the_appservice_port_is_taken(tmp_path: Path, config: GatewayConfig) -> None:
    with taken(socket.SOCK_STREAM, config.appservice.port):
        said = start(written(tmp_path, config))
    assert f"127.0.0.1:{config.appservice.port} (Address already in use)" in said
    assert "change port in [gateway.appservice]" in said and said.count("\n") == 1


def test_a_host_that_is_not_here(tmp_path: Path, config: GatewayConfig) -> None:
    config = msgspec.structs.replace(config, coap=msgspec.structs.replace(config.coap, host="192.0.2.1"))
    said = start(written(tmp_path, config))
    assert "change host in [gateway.coap]" in said and said.count("\n") == 1


def test_the_port_of_our_broker_is_taken(tmp_path: Path, config: GatewayConfig) -> None:
    mqtt = MqttConfig(port=free_port(), password_file=str(tmp_path / "passwords"))
    with taken(socket.SOCK_STREAM, mqtt.port):
        said = start(
            written(tmp_path, msgspec.structs.replace(config, mqtt=mqtt)), module="thingroom_gateway.amqtt_broker"
        )
    assert f"127.0.0.1:{mqtt.port} (Address already in use)" in said
    assert "change port in [gateway.mqtt]" in said and said.count("\n") == 1


def test_our_broker_without_a_password_file(tmp_path: Path, config: GatewayConfig) -> None:
    said = start(written(tmp_path, config), module="thingroom_gateway.amqtt_broker")
    assert "mqtt.password_file" in said and said.count("\n") == 1


def test_commands_find_what_run_settled(tmp_path: Path, config: GatewayConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`thingroom run` in one terminal, `thingroom gateway devices` in another, no flags."""
    (tmp_path / "data" / "run").mkdir(parents=True)
    write_config(tmp_path / "data" / "run" / "programs.toml", config)
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(gateway_commands, ["devices"])
    assert (found.exit_code, found.output) == (0, "No devices. Enrol one with: thingroom gateway pair\n")
