"""The worst days on top of each other: a broker that redelivers and reorders, a homeserver that is away, loses answers
and comes back, a full disk, and a gateway that is killed again and again. Every reading is in its room exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path

import msgspec
import pytest
from tests.flows.preloaded import FullDisk
from tests.flows.soak import SOAK, soaked
from tests.gateway.fake_homeserver import FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, make_config, write_config
from tests.gateway.redelivering_broker import RedeliveringBroker, redelivering_broker
from tests.gateway.test_gateway_crash import enrol, process

from thingroom_gateway import control
from thingroom_gateway.config import GatewayConfig, MqttConfig

DEVICES, READINGS = 5, soaked(1_200, 12_000)
HISTORY = ("readings_5min", "readings_hourly", "readings_daily")
KILLS_WHILE_IT_COMES, KILLS_WHILE_IT_DRAINS = soaked(12, 150), soaked(8, 100)
SECONDS = 60.0


@pytest.mark.timeout(600 + 1800 * SOAK)
async def test_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    things = [Thing(number, f"Sensor {number}") for number in range(1, DEVICES + 1)]
    messages = [
        (f"thingroom/1/{thing.hex[0]}/{thing.hex}/up", thing.envelope()) for _ in range(READINGS) for thing in things
    ]
    async with FakeHomeserver.started() as homeserver, redelivering_broker(messages, 5) as broker:
        config = msgspec.structs.replace(
            make_config(tmp_path, homeserver.url), mqtt=MqttConfig(port=broker.port, password="any")
        )
        config_file = write_config(tmp_path / "thingroom.toml", config)
        for thing in things:
            await enrol(config, thing)
        disk = FullDisk(tmp_path, config.directory, monkeypatch)
        share = 2 * len(messages) // (KILLS_WHILE_IT_COMES + 1)
        for number in range(1, KILLS_WHILE_IT_COMES + 1):
            if number == 4:
                homeserver.faults.append(Fault(drop=True, commit=True, match="/send/", times=3))
            elif number == 6:
                await homeserver.stop()
            async with process(config_file, config) as running:
                goal = number * share
                await eventually(lambda goal=goal: broker.acknowledgements >= goal, SECONDS)
                if number == 9:
                    disk.fill()
                    await full_and_known(config)
                await asyncio.sleep(chance.uniform(0.0, 0.2))
                running.kill()
                await running.wait()
            if number == 9:
                await ends_until_there_is_room(config_file, config)
                disk.free()
            elif number == 11:
                await full_for_a_while(config_file, config, disk, broker)
            assert stored(config) >= {messages[index][1] for index in broker.acknowledged}
        async with process(config_file, config):
            await eventually(lambda: broker.is_done, SECONDS)
        await homeserver.start()
        homeserver.seconds_to_answer = 0.1
        homeserver.faults.append(Fault(drop=True, commit=True, match="/send/", times=5))
        for _ in range(KILLS_WHILE_IT_DRAINS):
            async with process(config_file, config) as running:
                there = len(homeserver.events())
                await eventually(lambda there=there: len(homeserver.events()) > there, SECONDS)
                await asyncio.sleep(chance.uniform(0.0, 0.05))
                running.kill()
                await running.wait()
        async with process(config_file, config):
            await eventually(lambda: all(len(homeserver.sequences(thing.hex)) >= READINGS for thing in things), SECONDS)
            # Whatever came twice would come now.
            await asyncio.sleep(0.5)
    all_numbers = list(range(1, READINGS + 1))
    for thing in things:
        assert sorted(homeserver.sequences(thing.hex)) == all_numbers
    envelopes = [envelope for event in homeserver.events() for envelope in event["content"]["envelopes"]]
    assert len(envelopes) == len(set(envelopes)) == len(messages)
    assert_database(config)
    assert_was_hard(broker, homeserver)


async def ends_until_there_is_room(config_file: Path, config: GatewayConfig) -> None:
    """Without room for its index the database cannot be opened: the gateway ends as one that is to be started again."""
    async with process(config_file, config, may_end=True) as running:
        async with asyncio.timeout(SECONDS):
            assert await running.wait() == 1


async def full_for_a_while(
    config_file: Path, config: GatewayConfig, disk: FullDisk, broker: RedeliveringBroker
) -> None:
    """The same gateway that could not store goes on by itself once it can."""
    async with process(config_file, config):
        disk.fill()
        await full_and_known(config)
        before = broker.acknowledgements
        disk.free()
        await eventually(lambda: broker.acknowledgements > before, SECONDS)
        await says_stalled(config, False)


async def full_and_known(config: GatewayConfig) -> None:
    """Wait until the gateway says that it cannot store; it goes on answering."""
    await says_stalled(config, True)
    answer = await asyncio.to_thread(control.ask, config.directory, {"command": "counters"})
    assert answer["counters"]["storage.failed"] > 0


async def says_stalled(config: GatewayConfig, stalled: bool) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            # A gateway that has just been started may not listen yet.
            with contextlib.suppress(OSError):
                answer = await asyncio.to_thread(control.ask, config.directory, {"command": "status"})
                assert answer["ok"], answer
                if answer["status"]["stalled"] is stalled:
                    return
            await asyncio.sleep(0.05)


def stored(config: GatewayConfig) -> set[bytes]:
    """The envelopes on disk."""
    with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite")) as connection:
        return {row[0] for row in connection.execute("SELECT envelope FROM envelopes")}


def assert_database(config: GatewayConfig) -> None:
    """The ledger has one interval a device, and series and history have each of its readings once."""
    with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite")) as connection:
        ledger = connection.execute("SELECT first, last FROM received").fetchall()
        assert ledger == [(1, READINGS)] * DEVICES
        number = DEVICES * READINGS
        assert connection.execute("SELECT COUNT(*) FROM envelopes").fetchone() == (number,)
        assert connection.execute("SELECT COUNT(*) FROM samples").fetchone() == (2 * number,)
        for view in HISTORY:
            assert connection.execute(f"SELECT SUM(count) FROM {view}").fetchone() == (2 * number,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def assert_was_hard(broker: RedeliveringBroker, homeserver: FakeHomeserver) -> None:
    assert broker.connections > KILLS_WHILE_IT_COMES and homeserver.repeated >= 1
