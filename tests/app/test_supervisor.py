"""Children are restarted when they crash, not when it cannot help, and stop in reverse order and in time."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.patience import PATIENCE_SECONDS

from thingroom import supervisor as supervisor_module
from thingroom.supervisor import Program, Supervisor


@pytest.fixture
async def started():
    ended = []
    supervisor = Supervisor(ended.append)
    yield supervisor, ended
    await supervisor.stop()


def program(tmp_path, name, source, on_line=None):
    return Program(name, [sys.executable, "-u", "-c", source], tmp_path / f"{name}.log", on_line)


async def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_a_killed_child_comes_back_with_its_output(started, tmp_path):
    supervisor, ended = started
    lines = []
    source = "import os, time; print(os.getpid()); time.sleep(60)"
    await supervisor.start(program(tmp_path, "sleeper", source, lines.append))
    await until(lambda: len(lines) == 1)
    os.kill(int(lines[0]), signal.SIGKILL)
    await until(lambda: len(lines) == 2)
    assert lines[0] != lines[1]
    assert ended[0].name == "sleeper"
    assert ended[0].exit_code == -signal.SIGKILL
    assert ended[0].restarts_in == supervisor_module.FIRST_BACKOFF_SECONDS


async def test_a_child_that_says_it_is_hopeless_is_not_restarted_and_its_words_are_told(started, tmp_path):
    supervisor, ended = started
    source = "import sys; print('port 8008 is taken', file=sys.stderr); sys.exit(2)"
    await supervisor.start(program(tmp_path, "server", source))
    told = await asyncio.wait_for(supervisor.hopeless, PATIENCE_SECONDS)
    assert told.last_words == "port 8008 is taken"
    assert told.restarts_in is None
    assert ended == [told]
    assert supervisor.process_ids() == {}


async def test_stop_is_in_reverse_order_and_kills_who_will_not_go(started, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_module, "STOP_SECONDS", 0.5)
    supervisor, ended = started
    stops = []
    polite = (
        "import signal,sys,time\nsignal.signal(15, lambda *a: (print('bye'), sys.exit(0)))\nprint('up')\ntime.sleep(60)"
    )
    deaf = "import signal,time\nsignal.signal(15, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"
    await supervisor.start(program(tmp_path, "first", polite, lambda line: stops.append(f"first {line}")))
    await supervisor.start(program(tmp_path, "second", polite, lambda line: stops.append(f"second {line}")))
    await supervisor.start(program(tmp_path, "deaf", deaf, lambda line: stops.append(f"deaf {line}")))
    await until(lambda: len(stops) == 3)
    began = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - began < 30
    assert stops[3:] == ["second bye", "first bye"]
    assert ended == []


async def test_an_endless_line_does_not_end_the_reading(started, tmp_path):
    supervisor, _ = started
    lines = []
    source = "import time; print('x' * 1_000_000); print('after'); time.sleep(60)"
    await supervisor.start(program(tmp_path, "loud", source, lines.append))
    await until(lambda: "after" in lines)


async def test_a_missing_command_is_an_os_error(started, tmp_path):
    supervisor, _ = started
    with pytest.raises(FileNotFoundError):
        await supervisor.start(Program("none", [str(tmp_path / "nothing-here")], tmp_path / "none.log"))


async def test_children_do_not_outlive_a_killed_supervisor(tmp_path):
    source = (
        "import asyncio, sys, pathlib\n"
        "from thingroom.supervisor import Program, Supervisor\n"
        "async def main():\n"
        "    s = Supervisor(print)\n"
        "    sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "    await s.start(Program('c', sleep, pathlib.Path(sys.argv[1])))\n"
        "    print(s.process_ids()['c'], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE, env=environment
    )
    child = int(await process.stdout.readline())
    process.kill()
    await process.wait()

    def gone():
        try:
            return Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    await until(gone)


async def test_who_will_not_go_is_killed_at_once_when_it_hurries(started, tmp_path):
    supervisor, _ = started
    lines = []
    source = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    )
    await supervisor.start(program(tmp_path, "stubborn", source, lines.append))
    await until(lambda: lines)
    process_id = supervisor.process_ids()["stubborn"]
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    supervisor.hurry()
    await asyncio.wait_for(stopping, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


async def test_a_program_without_a_log_of_its_own_writes_to_ours(started, tmp_path, capfd):
    supervisor, ended = started
    source = "import sys; print('the port is taken', file=sys.stderr); sys.exit(2)"
    await supervisor.start(Program("server", [sys.executable, "-c", source], None))
    told = await asyncio.wait_for(supervisor.hopeless, 60)
    assert "the log" in told.last_words and ended == [told]
    assert "the port is taken" in capfd.readouterr().err
