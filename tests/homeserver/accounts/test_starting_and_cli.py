"""The server as a process: how it starts, refuses to start and stops; and the commands around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner
from tests.patience import PATIENCE_SECONDS

from thingroom_common.config_file import ConfigError, example
from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.config import HomeserverConfig, listener_address, load_config
from thingroom_homeserver.server import StartError, running_services

SECRET = "a shared secret"


def write_config(folder: Path, port: int, *lines: str) -> Path:
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "thingroom.toml"
    text = ["[homeserver]", 'data_directory = "data"', f'listeners = ["127.0.0.1:{port}"]', *lines]
    path.write_text("\n".join([*text, "password_cost = { memory_kib = 64, passes = 1 }"]))
    return path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(config: Path) -> subprocess.Popen[str]:
    source = Path(__file__).parents[3]
    path = os.pathsep.join(str(source / root) for root in ("homeserver", "common"))
    return subprocess.Popen(
        [sys.executable, "-m", "thingroom_homeserver", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(config)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on http://127.0.0.1:" in line, line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def refusal(config: Path) -> str:
    process = start(config)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    return errors


async def test_it_answers_and_stops_at_once_although_a_client_waits(tmp_path: Path, free_port: int) -> None:
    with running(write_config(tmp_path, free_port, 'registration = "open"')) as process:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{free_port}") as http:
            body = {"username": "a", "password": "long enough", "auth": {"type": "m.login.dummy"}}
            async with http.post("/_matrix/client/v3/register", json=body) as response:
                token = (await response.json())["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            async with http.get("/_matrix/client/v3/sync", headers=headers) as response:
                since = (await response.json())["next_batch"]
            polling = asyncio.create_task(
                http.get("/_matrix/client/v3/sync", params={"since": since, "timeout": "60000"}, headers=headers)
            )
            await asyncio.sleep(0.2)
            assert not polling.done()
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            response = await asyncio.wait_for(polling, PATIENCE_SECONDS)
            assert response.status == 200
            response.release()
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0
        assert time.monotonic() - started < 30


def test_the_key_is_made_once_and_is_private(tmp_path: Path, free_port: int) -> None:
    config = write_config(tmp_path, free_port)
    key = tmp_path / "data" / "signing.key"
    with running(config):
        first = key.read_text()
    with running(config):
        assert key.read_text() == first
    assert first.split()[0] == "ed25519" and first.split()[1].startswith("a_")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data" / "homeserver.db").stat().st_mode) == 0o600


def test_why_it_does_not_start(tmp_path: Path, free_port: int) -> None:
    config = write_config(tmp_path, free_port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        said = refusal(config)
        assert f"127.0.0.1:{free_port}" in said and "listeners" in said
    (tmp_path / "data" / "signing.key").write_text("nonsense")
    assert "signing key" in refusal(config)
    assert "does not exist" in refusal(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('data_directory = "missing"', "does not exist"),
        ("nonsense = 1", "nonsense"),
        ('server_name = "a b"', "server_name"),
        ('listeners = ["here"]', "here"),
        ('listeners = ["127.0.0.1:99999"]', "99999"),
        ('registration = "shared_secret"', "registration_shared_secret"),
        ('appservice_files = ["none.yaml"]', "none.yaml"),
        ('public_base_url = "matrix.example"', "public_base_url"),
    ],
)
async def test_a_bad_configuration_is_one_sentence(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "c.toml"
    default = "" if line.startswith("data_directory") else 'data_directory = "data"\n'
    path.write_text(f"[homeserver]\n{default}{line}\n")
    with pytest.raises((ConfigError, StartError), match=said):
        async with running_services(load_config(path), SystemClock()):
            pass


def test_a_file_without_our_section_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[gateway]\n")
    with pytest.raises(ConfigError, match="homeserver"):
        load_config(path)


def test_other_sections_are_let_be_and_paths_start_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[gateway]\nx = 1\n[homeserver]\nappservice_files = ["g.yaml"]\n')
    config = load_config(path)
    assert config.data_directory == str(tmp_path / "data" / "homeserver")
    assert config.appservice_files == (str(tmp_path / "g.yaml"),)


def test_the_example_names_every_key() -> None:
    text = example(HomeserverConfig, "homeserver")
    for name in HomeserverConfig.__struct_fields__:
        assert name in text


def test_listener_addresses() -> None:
    assert listener_address("127.0.0.1:8008") == ("127.0.0.1", 8008)
    assert listener_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ConfigError):
        listener_address("::1:80")


def test_a_second_server_in_one_data_directory_is_refused(tmp_path: Path, free_port: int) -> None:
    config = write_config(tmp_path, free_port)
    with running(config):
        assert "Another homeserver" in refusal(config)


def create_user(config: Path, *arguments: str, given: str | None = None):
    return CliRunner().invoke(
        homeserver_commands, ["admin", "create-user", "--config", str(config), *arguments], input=given
    )


def log_in(port: int, user: str, password: str) -> int:
    """The status of POST /login."""
    body = json.dumps({"type": "m.login.password", "user": user, "password": password}).encode()
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/_matrix/client/v3/login", body, timeout=PATIENCE_SECONDS
    ) as response:
        return response.status


def test_create_user_offline(tmp_path: Path, free_port: int) -> None:
    config = write_config(tmp_path, free_port)
    result = create_user(config, "alice")
    assert result.exit_code == 0, result.output
    assert "Made @alice:localhost in the database" in result.output
    assert "Password: " in result.output
    taken = create_user(config, "alice")
    assert taken.exit_code == 1 and "taken" in taken.output
    invalid = create_user(config, "Alice")
    assert invalid.exit_code == 1


def test_create_user_on_a_running_server_and_log_in(tmp_path: Path, free_port: int) -> None:
    lines = ('registration = "shared_secret"', f'registration_shared_secret = "{SECRET}"')
    config = write_config(tmp_path, free_port, *lines)
    with running(config):
        result = create_user(config, "alice", "--password-stdin", "--admin", given="long enough\n")
        assert result.exit_code == 0, result.output
        assert "through the running server" in result.output
        assert log_in(free_port, "alice", "long enough") == 200
    result = create_user(config, "bob")
    assert "in the database" in result.output


def test_create_user_in_the_database_of_a_running_server(tmp_path: Path, free_port: int) -> None:
    config = write_config(tmp_path, free_port)
    with running(config):
        assert create_user(config, "alice", "--password-stdin", given="long enough\n").exit_code == 0
        assert log_in(free_port, "alice", "long enough") == 200


def test_create_user_without_a_configuration(tmp_path: Path) -> None:
    result = create_user(tmp_path / "none.toml", "alice")
    assert result.exit_code == 2
