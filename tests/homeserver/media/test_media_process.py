"""The content repository of a server in a process of its own: killed while it receives, and its memory."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.cli import homeserver_commands

MIB = 1_048_576


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port, until the block ends; its base URL and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "data").mkdir(exist_ok=True)
    config = folder / "thingroom.toml"
    config.write_text(
        f'[homeserver]\ndata_directory = "data"\nlisteners = ["127.0.0.1:{port}"]\nregistration = "open"\n'
        "password_cost = { memory_kib = 64, passes = 1 }\n"
    )
    source = Path(__file__).parents[3]
    path = os.pathsep.join(str(source / root) for root in ("homeserver", "common"))
    process = subprocess.Popen(
        [sys.executable, "-m", "thingroom_homeserver", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "listening on" in line, line + process.stderr.read()
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def call(url: str, token: str | None = None, data: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/octet-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE_SECONDS) as answer:
        return answer.read()


def register(base: str, name: str) -> str:
    body = {"username": name, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
    return json.loads(call(f"{base}/_matrix/client/v3/register", None, json.dumps(body).encode()))["access_token"]


def upload(base: str, token: str, data: bytes) -> str:
    uri = json.loads(call(f"{base}/_matrix/media/v3/upload", token, data))["content_uri"]
    return f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "data" / "media").rglob("*") if path.is_file()]


def test_a_kill_during_an_upload_leaves_nothing(tmp_path: Path):
    with running(tmp_path) as (base, process):
        token = register(base, "alice")
        path = upload(base, token, b"whole")
        created = json.loads(call(f"{base}/_matrix/media/v1/create", token, b""))["content_uri"].removeprefix("mxc://")
        host, port = base.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)))) as connection:
            head = (
                f"PUT /_matrix/media/v3/upload/{created} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Length: {4 * MIB}\r\n\r\n"
            )
            connection.sendall(head.encode() + bytes(2 * MIB))
            until = time.monotonic() + 10
            while sum(file.stat().st_size for file in files(tmp_path)) < MIB:
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert len(files(tmp_path)) == 2
    with running(tmp_path) as (base, _):
        assert len(files(tmp_path)) == 1
        assert call(base + path, token) == b"whole"
        with pytest.raises(urllib.error.HTTPError) as raised:
            call(f"{base}/_matrix/client/v1/media/download/{created}?timeout_ms=0", token)
        assert raised.value.code == 504
        raised.value.close()
        request = urllib.request.Request(
            f"{base}/_matrix/media/v3/upload/{created}", b"at last", {"Authorization": f"Bearer {token}"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
        assert call(f"{base}/_matrix/client/v1/media/download/{created}", token) == b"at last"


def test_answered_uploads_outlive_a_kill_at_any_time(tmp_path: Path):
    answered: dict[str, bytes] = {}
    token = ""
    for round_number in range(3):
        with running(tmp_path) as (base, process):
            token = token or register(base, "alice")
            for number in range(5 + round_number):
                data = bytes([round_number, number]) * 1000
                answered[upload(base, token, data)] = data
            process.send_signal(signal.SIGKILL)
            process.wait()
    with running(tmp_path) as (base, _):
        for path, data in answered.items():
            assert call(base + path, token) == data


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_flat(tmp_path: Path):
    with running(tmp_path) as (base, process):
        token = register(base, "alice")
        upload(base, token, bytes(MIB))
        before = peak_kib(process.pid)
        data = os.urandom(20 * MIB)
        start = time.monotonic()
        paths = [upload(base, token, data) for _ in range(3)]
        for path in paths:
            assert hashlib.sha256(call(base + path, token)).digest() == hashlib.sha256(data).digest()
        took = time.monotonic() - start
        grown = peak_kib(process.pid) - before
        print(f"three uploads and downloads of 20 MiB: {took:.2f} s, {grown} KiB more at the peak")
        assert grown < 8 * 1024


def command(folder: Path, *words: str) -> Result:
    config = str(folder / "thingroom.toml")
    return CliRunner().invoke(homeserver_commands, ["admin", "media", *words, "--config", config])


def test_the_commands_beside_a_running_server(tmp_path: Path):
    with running(tmp_path) as (base, _):
        token, other = register(base, "alice"), register(base, "bob")
        path = upload(base, token, bytes(5000))
        avatar = upload(base, token, b"avatar")
        upload(base, other, b"bob's")
        uri = "mxc://" + path.partition("/download/")[2]
        body = json.dumps({"avatar_url": "mxc://" + avatar.partition("/download/")[2]}).encode()
        request = urllib.request.Request(
            f"{base}/_matrix/client/v3/profile/@alice:localhost/avatar_url",
            body,
            {"Authorization": f"Bearer {token}"},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()

        usage = command(tmp_path, "usage").output.splitlines()
        assert [line.split() for line in usage] == [
            ["5,006", "bytes", "2", "files", "@alice:localhost"],
            ["5", "bytes", "1", "files", "@bob:localhost"],
        ]
        assert command(tmp_path, "quarantine", uri).output == "Quarantined: 1 file.\n"
        with pytest.raises(urllib.error.HTTPError) as raised:
            call(base + path, token)
        assert raised.value.code == 404
        raised.value.close()
        assert command(tmp_path, "quarantine", uri, "--undo").exit_code == 0
        assert call(base + path, token) == bytes(5000)
        assert command(tmp_path, "quarantine", "@alice:localhost").output == "Quarantined: 2 files.\n"
        command(tmp_path, "quarantine", "@alice:localhost", "--undo")
        for odd in ("mxc://localhost/nothing", "nonsense"):
            assert command(tmp_path, "quarantine", odd).exit_code == 1

        assert command(tmp_path, "delete-older-than", "1").output == "Deleted 0 files, 0 bytes.\n"
        time.sleep(0.01)
        assert command(tmp_path, "delete-older-than", "0", "--previews").output == "Deleted 0 files, 0 bytes.\n"
        dry = command(tmp_path, "delete-older-than", "0", "--user", "@alice:localhost", "--dry-run")
        assert dry.output == "Would delete 1 files, 5,000 bytes.\n"
        assert len(files(tmp_path)) == 3
        assert command(tmp_path, "delete-older-than", "0").output == "Deleted 2 files, 5,005 bytes.\n"
        assert len(files(tmp_path)) == 1
        assert command(tmp_path, "delete-older-than", "0", "--avatars").output == "Deleted 1 files, 6 bytes.\n"
        assert files(tmp_path) == []
        assert command(tmp_path, "usage").output == "There are no files.\n"


def test_the_commands_without_a_server(tmp_path: Path):
    assert command(tmp_path, "usage").exit_code == 2
    (tmp_path / "data").mkdir()
    (tmp_path / "thingroom.toml").write_text('[homeserver]\ndata_directory = "data"\n')
    result = command(tmp_path, "usage")
    assert result.exit_code == 2
    assert "no database" in result.output
