"""Child processes, kept running: started in order, restarted when they crash, stopped in reverse.

Knows nothing of what the children do. `run.py` says which there are; what a child prints goes to the `on_line`
it was given (standard output, line by line) and to its log file (standard error).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 15.0
STEADY_SECONDS = 30.0
STOP_SECONDS = 8.0
MAX_LINE_BYTES = 256 * 1024
KEPT_LOG_BYTES = 5 * 1024 * 1024
# A child exits with this code when starting it again cannot help: a bad config, a taken port.
HOPELESS_EXIT = 2
# Loaded before any fork: a child between fork and exec must not open libraries.
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """What to run and where its words go. Without a `log_file` its standard error is ours."""

    name: str
    command: Sequence[str]
    log_file: Path | None
    on_line: Callable[[str], None] | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Ended:
    """A child ended although nobody asked it to. `last_words` is the end of its log."""

    name: str
    exit_code: int
    last_words: str
    restarts_in: float | None


@dataclass
class _Child:
    program: Program
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    stopping: bool = False
    waiting_to_restart: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Starts programs and keeps them running until `stop`."""

    def __init__(self, on_ended: Callable[[Ended], None]) -> None:
        self._on_ended = on_ended
        self._children: list[_Child] = []
        self.hopeless: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def start(self, program: Program) -> None:
        """Start `program` once now (raises OSError where there is no such command) and keep it running."""
        if program.log_file is not None:
            _shorten(program.log_file)
        child = _Child(program)
        child.process = await _spawn(program)
        child.task = asyncio.create_task(self._keep_running(child), name=f"keep {program.name} running")
        self._children.append(child)

    def process_ids(self) -> dict[str, int]:
        """Name to process id of what runs now."""
        return {c.program.name: c.process.pid for c in self._children if c.process and c.process.returncode is None}

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the program of that name, if it runs."""
        process_id = self.process_ids().get(name)
        if process_id is not None:
            os.kill(process_id, number)

    def hurry(self) -> None:
        """Whoever is still stopping is killed."""
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                with suppress(ProcessLookupError):
                    child.process.kill()

    async def stop(self) -> None:
        """Stop all, the last started first; SIGKILL for one that takes longer than STOP_SECONDS."""
        for child in reversed(self._children):
            child.stopping = True
            child.waiting_to_restart.set()
            await _stop_process(child.process)
            if child.task:
                await child.task
        self._children.clear()

    async def _keep_running(self, child: _Child) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            assert child.process is not None
            started = time.monotonic()
            exit_code = await _read_until_exit(child.program, child.process)
            if child.stopping:
                return
            last_words = _last_words(child.program.log_file)
            if exit_code == HOPELESS_EXIT:
                ended = Ended(child.program.name, exit_code, last_words, None)
                self._on_ended(ended)
                if not self.hopeless.done():
                    self.hopeless.set_result(ended)
                return
            if time.monotonic() - started > STEADY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            self._on_ended(Ended(child.program.name, exit_code, last_words, backoff))
            with suppress(TimeoutError):
                await asyncio.wait_for(child.waiting_to_restart.wait(), backoff)
            if child.stopping:
                return
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            child.process = await _spawn(child.program)


async def _spawn(program: Program) -> asyncio.subprocess.Process:
    with contextlib.ExitStack() as stack:
        log = None if program.log_file is None else stack.enter_context(program.log_file.open("ab"))
        return await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if program.on_line else log or sys.stderr,
            stderr=log,
            env=program.environment,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def _die_with_parent() -> None:
    """Linux only: if the supervisor is killed outright its children get SIGTERM instead of living on as orphans."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _read_until_exit(program: Program, process: asyncio.subprocess.Process) -> int:
    if process.stdout is not None and program.on_line is not None:
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # longer than MAX_LINE_BYTES: the reader has dropped it
            if not line:
                break
            program.on_line(line.decode("utf-8", "replace").rstrip("\n"))
    return await process.wait()


async def _stop_process(process: asyncio.subprocess.Process | None) -> None:
    if process is None or process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _shorten(log_file: Path) -> None:
    """Keep one older log: a file that has grown past KEPT_LOG_BYTES is moved aside."""
    if log_file.exists() and log_file.stat().st_size > KEPT_LOG_BYTES:
        log_file.replace(log_file.with_suffix(log_file.suffix + ".1"))


def _last_words(log_file: Path | None, lines: int = 5) -> str:
    if log_file is None:
        return "its lines in the log say why"
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - 4096))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""
