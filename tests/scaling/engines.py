"""Debian's PostgreSQL and Redis as child processes, for Synapse with workers: on sockets in a directory of their own.

Nothing of them listens on the network, and no cluster or service of the system is touched. PostgreSQL refuses to run as
root; there it runs as the user `postgres` that its package made.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 15.0
UNPRIVILEGED = "postgres"
DATABASE_USER = "synapse"


class EngineFailed(Exception):
    """PostgreSQL or Redis is missing or did not start; the message ends with what it said."""


@dataclass(frozen=True)
class Engine:
    """A server that runs. `socket` is the directory of PostgreSQL's socket, the path of Redis's."""

    socket: Path
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid


def postgres_binary(name: str) -> Path:
    """A program of the newest PostgreSQL that is installed. Raises EngineFailed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    if not found:
        raise EngineFailed(f"{name} is not installed; it is in Debian's package postgresql")
    return found[-1]


@asynccontextmanager
async def running_postgres(*, durable: bool = False) -> AsyncIterator[Engine]:
    """A new cluster with the database `postgres`, owned by DATABASE_USER, in the locale C that Synapse asks for.

    Without `durable` nothing waits for the disk. The cluster is gone with the block. Raises EngineFailed.
    """
    user = _unprivileged()
    # Not below a test's directory: that is closed to the other user, and too long a name for a socket.
    with tempfile.TemporaryDirectory(prefix="thingroom-postgres-") as name:
        directory = Path(name)
        if user is not None:
            shutil.chown(directory, user=UNPRIVILEGED)
        data = directory / "data"
        initdb = (str(postgres_binary("initdb")), "-D", str(data), "-U", DATABASE_USER, "--auth=trust")
        await _run(directory, *initdb, "--encoding=UTF8", "--locale=C", "--no-sync", **_as(user))
        settings = {"listen_addresses": "", "unix_socket_directories": name}
        if not durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [str(postgres_binary("postgres")), "-D", str(data), *options]
        # SIGINT ends it without waiting for its clients.
        async with _running(directory, command, signal.SIGINT, **_as(user)) as process:
            ready = (str(postgres_binary("pg_isready")), "-q", "-h", name, "-U", DATABASE_USER)
            await _until(directory, process, lambda: _succeeds(*ready))
            yield Engine(directory, process)


@asynccontextmanager
async def running_redis() -> AsyncIterator[Engine]:
    """A Redis that keeps nothing. Raises EngineFailed."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise EngineFailed("redis-server is not installed; it is in Debian's package of that name")
    with tempfile.TemporaryDirectory(prefix="thingroom-redis-") as name:
        directory = Path(name)
        socket = directory / "redis.sock"
        command = [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", name]
        async with _running(directory, command, signal.SIGTERM) as process:
            await _until(directory, process, lambda: _answers(socket))
            yield Engine(socket, process)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as; None for whoever runs us."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise EngineFailed(f"there is no user {UNPRIVILEGED}; Debian's package postgresql makes it") from None


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


async def _run(directory: Path, *command: str, **options: Any) -> None:
    with (directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=directory, stdout=log, stderr=log, **options)
    if await process.wait():
        raise EngineFailed(f"{command[0]} failed\n{_tail(directory)}")


@asynccontextmanager
async def _running(
    directory: Path, command: Sequence[str], stop: signal.Signals, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    with (directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, **options
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(stop)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until(directory: Path, process: asyncio.subprocess.Process, ready: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await ready():
        if process.returncode is not None or time.monotonic() > deadline:
            raise EngineFailed(f"it did not start\n{_tail(directory)}")
        await asyncio.sleep(0.05)


async def _succeeds(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(*command)
    return await process.wait() == 0


async def _answers(socket: Path) -> bool:
    """Whether a PING gets its PONG."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.write(b"PING\r\n")
    answer = await reader.readline()
    writer.close()
    return answer == b"+PONG\r\n"


def _tail(directory: Path) -> str:
    return (directory / "log").read_bytes()[-4000:].decode(errors="replace")
