"""`thingroom run --service` and the commands beside it: what a service manager, a log and a person in a hurry get."""

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.flows.thingroom_run import Running

from thingroom.cli import main


class Manager:
    """The socket of a service manager, and what was said to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.said: list[str] = []
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        self.said += self._socket.recv(4096).decode().splitlines()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def as_a_service(tmp_path: Path, manager: Manager, more: str = "") -> Running:
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"}
    running = Running(tmp_path / "data", demo=False, arguments=("--service",), environment=environment)
    file = running.data / "thingroom.toml"
    file.write_text(file.read_text().replace("[run]\n", f"[run]\n{more}", 1))
    return running


async def thingroom(running: Running, *arguments: str) -> tuple[int, str]:
    """Exit code and output of another command in the same data directory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "thingroom", *arguments),
        cwd=running.data.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_manager_and_the_log_are_told_and_status_and_reload_work(tmp_path, manager):
    async with as_a_service(tmp_path, manager, 'log_format = "json"\n') as running:
        await running.until(lambda: "READY=1" in manager.said)
        await running.until(lambda: manager.said.count("WATCHDOG=1") >= 2)
        await running.until_printed('"message":"Thingroom is running"')
        await running.until_printed('"logger":"thingroom_homeserver')
        lines = [json.loads(line) for line in running.lines if line.startswith("{")]
        assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
        password = running.owner()[1]
        assert password not in "\n".join(running.lines)

        code, said = await thingroom(running, "status", "--wait", "60")
        assert code == 0, said
        assert "All is well." in said and "@thingroom:localhost" in said
        code, said = await thingroom(running, "status", "--wait", "60", "--json")
        told = json.loads(said)
        assert code == 0 and told["ok"] and told["gateway"]["brokers"][0]["connected"]
        assert password not in said
        code, said = await thingroom(running, "status", "--wait", "60", "--programs-only")
        assert code == 0 and "Homeserver" in said and "Disk" not in said

        file = running.data / "thingroom.toml"
        good = file.read_text()
        file.write_text(good + "[gateway.history]\nreadings_days = 5\n[homeserver.media]\nthumbnails = 3\n")
        code, said = await thingroom(running, "reload")
        assert code == 1 and "there is no key `thumbnails`" in said
        file.write_text(good + "[gateway.history]\nreadings_days = 5\n")
        file.write_text(file.read_text().replace("[homeserver]\n", "[homeserver]\nlog_requests = true\n"))
        code, said = await thingroom(running, "reload")
        assert code == 0, said
        assert said == "In use now: history.readings_days.\nAfter a restart: homeserver.log_requests.\n"
        file.write_text(good)
        running.process.send_signal(signal.SIGHUP)
        await running.until_printed("In use now: history.readings_days.")
        assert not any("homeserver.log_requests" in line for line in running.lines), "as it was at the start"
        await running.until(lambda: manager.said.count("READY=1") == 2)

        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 60) == 0
        async with asyncio.timeout(30):
            while "STOPPING=1" not in manager.said:
                await asyncio.sleep(0.01)
    code, said = await thingroom(running, "status", "--wait", "60")
    assert code == 1
    assert "it is not running" in said and "thingroom run" in said and "connection refused" in said


def test_status_and_reload_where_nothing_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = CliRunner().invoke(main, ["status"])
    assert asked.exit_code == 2 and "Begin with `thingroom run`" in asked.output
    asked = CliRunner().invoke(main, ["reload"])
    assert asked.exit_code == 1 and "has not run" in asked.output
    assert not list(tmp_path.iterdir()), "asking makes nothing"
