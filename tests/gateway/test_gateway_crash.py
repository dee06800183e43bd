"""SIGKILL in mid-stream: what was acknowledged is in the database and, later, in the rooms exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import aiomqtt
from tests.gateway.brokers import Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, make_config, write_config

from thingroom_gateway.cli import _do
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.control import Enrol, is_running

REPOSITORY = Path(__file__).resolve().parents[2]
ENVELOPES = 600
WINDOW = 40


async def enrol(config: GatewayConfig, thing: Thing) -> None:
    """Before any gateway runs, as the command line does it."""
    answer = await _do(config, Enrol(thing.public.hex(), thing.agreement_public.hex(), thing.name, thing.profile))
    assert answer["ok"], answer
    thing.learn(bytes.fromhex(answer["gateway_key"]), bytes.fromhex(answer["gateway_agreement_key"]))


@contextlib.asynccontextmanager
async def process(
    config_file: Path, config: GatewayConfig, *, may_end: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A gateway in a process of its own, its log beside `config_file`; killed at the end if it still runs.

    Unless it `may_end`, it has to start.
    """
    log = config_file.with_suffix(".log")
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    with log.open("ab") as output:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "thingroom_gateway",
            "--config",
            str(config_file),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        for _ in range(400):
            if may_end and started.returncode is not None:
                break
            assert started.returncode is None, f"the gateway ended\n{log.read_text(errors='replace')[-4000:]}"
            if await is_running(config.directory):
                break
            await asyncio.sleep(0.025)
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


class Node:
    """What a device does: sends the oldest that are not acknowledged, a window at a time, and again after a while."""

    def __init__(self, broker: Mosquitto, thing: Thing) -> None:
        self._broker, self._thing = broker, thing
        self.envelopes = {sequence: thing.envelope(sequence) for sequence in range(1, ENVELOPES + 1)}
        self.acknowledged: set[int] = set()

    async def run(self) -> None:
        thing = self._thing
        topic = f"thingroom/1/{thing.hex[0]}/{thing.hex}"
        async with aiomqtt.Client(
            "127.0.0.1", self._broker.port, username=thing.hex, password=thing.password, identifier=thing.hex
        ) as client:
            await client.subscribe(f"{topic}/down", qos=1)
            listening = asyncio.create_task(self._listen(client))
            try:
                while len(self.acknowledged) < ENVELOPES:
                    waiting = [sequence for sequence in self.envelopes if sequence not in self.acknowledged]
                    for sequence in waiting[:WINDOW]:
                        await client.publish(f"{topic}/up", self.envelopes[sequence], qos=1)
                    before = len(self.acknowledged)
                    for _ in range(40):
                        await asyncio.sleep(0.01)
                        if len(self.acknowledged) >= before + WINDOW:
                            break
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            for first, last in self._thing.answer(message.payload).acknowledged:
                self.acknowledged.update(range(first, last + 1))


def _got_to(node: Node, sending: asyncio.Task[None], number: int) -> bool:
    return len(node.acknowledged) >= number or sending.done()


def in_database(config: GatewayConfig) -> set[int]:
    """Sequences in the ledger, checked against the stored envelopes and the time series."""
    with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite")) as connection:
        ledger: set[int] = set()
        for first, last in connection.execute("SELECT first, last FROM received"):
            ledger.update(range(first, last + 1))
        stored = [row[0] for row in connection.execute("SELECT sequence FROM envelopes")]
        samples = connection.execute("SELECT sequence FROM samples ORDER BY sequence").fetchall()
        counted = [
            connection.execute(f"SELECT COALESCE(SUM(count), 0) FROM {view}").fetchone()[0]
            for view in ("readings_5min", "readings_hourly", "readings_daily")
        ]
    assert sorted(stored) == sorted(ledger)
    # Two quantities in each envelope.
    assert [row[0] for row in samples] == sorted([*ledger, *ledger])
    assert counted == [2 * len(ledger)] * 3
    return ledger


async def test_nothing_acknowledged_is_lost(
    tmp_path: Path, broker: Callable[..., Mosquitto], homeserver: FakeHomeserver
) -> None:
    thing, mosquitto = Thing(), broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    config_file = write_config(tmp_path / "thingroom.toml", config)
    await enrol(config, thing)
    node = Node(mosquitto, thing)
    # The homeserver, too, loses answers after it has committed.
    homeserver.faults.append(Fault(drop=True, commit=True, match="/send/", times=3))
    sending: asyncio.Task[None] | None = None
    try:
        for kill_at in (60, 200, 380):
            async with process(config_file, config) as running:
                if sending is None:
                    sending = asyncio.create_task(node.run())
                await eventually(partial(_got_to, node, sending, kill_at), 30)
                running.kill()
                await running.wait()
            await asyncio.sleep(0.05)
            acknowledged = set(node.acknowledged)
            assert acknowledged <= in_database(config)
        async with process(config_file, config):
            assert sending is not None
            await asyncio.wait_for(sending, 30)
            await eventually(lambda: len(homeserver.sequences(thing.hex)) >= ENVELOPES, 30)
            await asyncio.sleep(0.3)
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    assert node.acknowledged == set(range(1, ENVELOPES + 1))
    assert in_database(config) == node.acknowledged
    assert sorted(homeserver.sequences(thing.hex)) == list(range(1, ENVELOPES + 1))
    assert homeserver.repeated >= 1
    envelopes = [envelope for event in homeserver.events() for envelope in event["content"]["envelopes"]]
    assert len(envelopes) == ENVELOPES


async def test_a_stopped_gateway_ends_quickly_and_completely(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    config = make_config(tmp_path, homeserver.url)
    config_file = write_config(tmp_path / "thingroom.toml", config)
    async with process(config_file, config) as running:
        running.terminate()
        assert await asyncio.wait_for(running.wait(), 5) == 0
    assert not (config.directory / "control.sock").exists()
