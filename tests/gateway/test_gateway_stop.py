"""A stop that is asked for: what is under way comes to its end within a limit, and a second request ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.gateway.fake_homeserver import FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, make_config, stuck_disk, write_config
from tests.gateway.test_gateway_crash import REPOSITORY, enrol

from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.outcomes import Accepted, Frame, Outcome


class Door:
    """A link of the test's."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        self.outcomes += [outcome for _, outcome in settled]

    def resume(self) -> None:
        raise AssertionError("there is room")


async def test_what_was_taken_is_stored_and_settled_before_the_end(config: GatewayConfig) -> None:
    thing = Thing()
    await enrol(config, thing)
    door = Door()
    async with app.running(config, EventsOut(None), asyncio.Event()) as running:
        for _ in range(300):
            assert running.ingest.offer(Frame("up", thing.envelope(), "coap"), door)
    assert door.outcomes == [Accepted(thing.kid, sequence) for sequence in range(1, 301)]
    assert not running.ingest.offer(Frame("up", thing.envelope(), "coap"), door), "and nothing is taken after it"


async def test_a_request_on_its_way_is_waited_for_and_marked(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    await enrol(config, thing)
    door, gate = Door(), asyncio.Event()
    async with app.running(config, EventsOut(None), asyncio.Event()) as running:
        await eventually(lambda: any("createRoom" in path for _, path in homeserver.requests), 30)
        running.ingest.offer(Frame("up", thing.envelope(), "coap"), door)
        homeserver.faults.append(Fault(gate=gate, match="/send/org.thingroom.readings"))
        await eventually(lambda: any("/send/org.thingroom.readings" in path for _, path in homeserver.requests), 30)
        asyncio.get_running_loop().call_later(0.3, gate.set)
    with sqlite3.connect(config.directory / "gateway.sqlite") as connection:
        rows = connection.execute("SELECT type FROM outbox WHERE type = 'org.thingroom.readings'").fetchall()
    assert not rows, "it was marked as sent"
    assert len(homeserver.events()) == 1


async def test_a_disk_that_takes_nothing_does_not_keep_it(config: GatewayConfig) -> None:
    thing = Thing()
    await enrol(config, thing)
    door = Door()
    before, app.FINISH_SECONDS = app.FINISH_SECONDS, 0.3
    try:
        async with app.running(config, EventsOut(None), asyncio.Event()) as running:
            with stuck_disk(running, config):
                running.ingest.offer(Frame("up", thing.envelope(), "coap"), door)
                await eventually(lambda: running.ingest.stalled, 30)
                await app._finish(running.ingest, running.outbox)
            assert not door.outcomes
    finally:
        app.FINISH_SECONDS = before


async def test_a_second_sigterm_ends_it_at_once(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    config = make_config(tmp_path, homeserver.url)
    await enrol(config, Thing())
    homeserver.faults.append(Fault(hang=True, times=1000))
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "thingroom_gateway", "--config", str(write_config(tmp_path / "t.toml", config))],
            stdout=subprocess.DEVNULL,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        await eventually(lambda: homeserver.requests, 60)
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: "message=stopping" in log.read_text(), 60)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 60)
        said = log.read_text()
        # On a slow machine the first one may have run out of patience before the second came.
        assert (code == 1 and "told twice to stop" in said) or (code == 0 and "is not done in 4 s" in said), said
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
