"""Synapse past one process: a main process, workers, PostgreSQL and Redis, as docs/scaling.md describes it.

`async with running_cluster(directory, settings, workers=("gateways",)) as cluster:` starts all of it; each worker is a
`generic_worker` with a client API of its own at `cluster.workers[name].base_url`. They speak with each other over Unix
sockets. Next: server.py, for the main process.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS
from tests.scaling.engines import DATABASE_USER, Engine, running_postgres, running_redis
from tests.synapse_peer.environment import synapse_python
from tests.synapse_peer.server import (
    START_ATTEMPTS,
    Synapse,
    SynapseFailed,
    SynapseSettings,
    end_process,
    log_tail_of,
    start_synapse,
    wait_until_answers,
)


@dataclass(frozen=True)
class Worker:
    """A worker that answers."""

    name: str
    base_url: str
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Cluster:
    """What runs. The main process answers everything, a worker the client API but for uploads and some writing."""

    directory: Path
    settings: SynapseSettings
    postgres: Engine
    redis: Engine
    names: Sequence[str]
    main: Synapse | None = None
    workers: dict[str, Worker] = field(default_factory=dict)
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def running(self) -> Synapse:
        """The main process."""
        assert self.main is not None
        return self.main

    async def start(self) -> None:
        """Start the main process, then the workers. Raises SynapseFailed."""
        # The main process makes the tables that a worker would miss.
        self.main = await start_synapse(self.directory, self.settings)
        self._processes.append(self.main.process)
        started = await asyncio.gather(*(self._start_worker(name) for name in self.names))
        self.workers = {worker.name: worker for worker in started}

    async def stop(self) -> None:
        """Stop all processes of Synapse; what they stored stays. Safe to call twice."""
        await asyncio.gather(*map(end_process, self._processes))
        self._processes.clear()

    async def _start_worker(self, name: str) -> Worker:
        python = await asyncio.to_thread(synapse_python)
        log, failure = self.directory / f"{name}.log", ""
        for _attempt in range(START_ATTEMPTS):
            port = free_port()
            configuration = self.directory / f"{name}.yaml"
            configuration.write_text(json.dumps(worker_configuration(name, port, self.directory, self.settings)))
            log.unlink(missing_ok=True)
            command = (
                str(python),
                "-m",
                "synapse.app.generic_worker",
                "-c",
                "homeserver.yaml",
                "-c",
                str(configuration),
            )
            with log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=self.directory, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
                )
            self._processes.append(process)
            base_url = f"http://127.0.0.1:{port}"
            try:
                await wait_until_answers(base_url, process, PATIENCE_SECONDS)
                return Worker(name, base_url, process)
            except TimeoutError as error:
                await end_process(process)
                failure = f"the worker {name} did not start: {error}\n{log_tail_of(log)}"
        raise SynapseFailed(failure)


@asynccontextmanager
async def running_cluster(
    directory: Path,
    settings: SynapseSettings,
    workers: Sequence[str] = ("gateways",),
    writers: Sequence[str] = (),
    *,
    durable: bool = False,
) -> AsyncIterator[Cluster]:
    """Start everything, and stop it at the end. `writers` are the workers that persist events, else the main process.

    `durable`: PostgreSQL waits for the disk. Raises EngineFailed, SynapseFailed.
    """
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(durable=durable))
        redis = await stack.enter_async_context(running_redis())
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thingroom-synapse-")))
        shared = shared_configuration(postgres.socket, redis.socket, sockets, workers, writers)
        more = replace(
            settings,
            listeners=(*settings.listeners, _replication(sockets, "main")),
            extra={**settings.extra, **shared},
        )
        cluster = Cluster(directory, more, postgres, redis, workers)
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        yield cluster


def shared_configuration(
    postgres: Path, redis: Path, sockets: Path, workers: Sequence[str], writers: Sequence[str]
) -> dict[str, Any]:
    """What homeserver.yaml says to all processes: the database, Redis, where each process is, who writes."""
    return {
        "database": {
            "name": "psycopg2",
            "args": {"host": str(postgres), "user": DATABASE_USER, "dbname": "postgres", "cp_min": 2, "cp_max": 10},
        },
        "redis": {"enabled": True, "path": str(redis)},
        "instance_map": {name: {"path": _socket(sockets, name)} for name in ("main", *workers)},
        "worker_replication_secret": secrets.token_hex(32),
        **({"stream_writers": {"events": list(writers)}} if writers else {}),
    }


def worker_configuration(name: str, port: int, directory: Path, settings: SynapseSettings) -> dict[str, Any]:
    """The worker's own file, read after homeserver.yaml."""
    sockets = Path(settings.extra["instance_map"][name]["path"]).parent
    client = {
        "port": port,
        "type": "http",
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": ["client"], "compress": False}],
    }
    return {
        "worker_app": "synapse.app.generic_worker",
        "worker_name": name,
        "worker_listeners": [client, _replication(sockets, name)],
        "worker_log_config": str(directory / "log.yaml"),
    }


def _replication(sockets: Path, name: str) -> dict[str, Any]:
    return {"path": _socket(sockets, name), "type": "http", "resources": [{"names": ["replication"]}]}


def _socket(sockets: Path, name: str) -> str:
    return str(sockets / f"{name}.sock")
