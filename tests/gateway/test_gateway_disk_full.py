"""A full disk: said in a sentence, nothing acknowledged or dropped, the broker holds the rest; it goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from aiocoap import Code
from tests.gateway.brokers import Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config
from tests.gateway.test_gateway_coap import client
from tests.gateway.test_gateway_mqtt import board, counted

from thingroom_gateway.app import Gateway

Start = Callable[..., Mosquitto]
SECONDS = 60
MEGABYTE = 1 << 20


async def fills_up_and_recovers(
    running: Gateway,
    mosquitto: Mosquitto,
    thing: Thing,
    homeserver: FakeHomeserver,
    fill: Callable[[], None],
    make_room: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with board(mosquitto, thing) as node:
        for _ in range(20):
            await node.send(thing.envelope())
        await eventually(lambda: node.acknowledged() == set(range(1, 21)), SECONDS)
        fill()
        sent = 20
        with caplog.at_level(logging.WARNING):
            # A page or two may be left: it is full when it says so.
            while not running.ingest.stalled:
                await node.send(thing.envelope())
                sent += 1
                assert sent < 5000
                await asyncio.sleep(0.002)
            assert "the disk is full" in running.ingest.trouble and "go" in running.ingest.trouble
            before = counted(running, "mqtt.accepted")
            for _ in range(300):
                await node.send(thing.envelope())
            sent += 300
            failures = counted(running, "storage.failed")
            await eventually(lambda: counted(running, "storage.failed") > failures, SECONDS)
            assert counted(running, "mqtt.accepted") == before
            # What is in memory is bounded by the window: the broker has the others.
            assert len(running.ingest._queue) <= 64
            assert max(node.acknowledged()) <= before
            make_room()
            await eventually(lambda: not running.ingest.stalled, SECONDS)
            await eventually(lambda: node.acknowledged() == set(range(1, sent + 1)), SECONDS)
        said = [record.getMessage() for record in caplog.records if "Nothing can be stored" in record.getMessage()]
        assert 1 <= len(said) <= 3, "once, and once a minute"
        assert "readings can be stored again" in caplog.text
        await eventually(lambda: len(homeserver.sequences(thing.hex)) >= sent, SECONDS)
        assert homeserver.sequences(thing.hex) == list(range(1, sent + 1))


async def test_the_database_may_not_grow(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, caplog: pytest.LogCaptureFixture
) -> None:
    thing, mosquitto = Thing(), broker(window=64)
    config = make_config(tmp_path, homeserver.url, mosquitto, window=64)
    async with gateway(config, thing) as running:
        writer = running.core.database._writer

        def limit(pages: int) -> None:
            writer.execute(f"PRAGMA max_page_count = {pages}")

        await fills_up_and_recovers(
            running, mosquitto, thing, homeserver, lambda: limit(1), lambda: limit(1 << 30), caplog
        )


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def may_mount() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small file system")
async def test_the_disk_is_full(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program's file takes the space; CoAP devices are told to come later; then somebody deletes the file."""
    thing, mosquitto = Thing(), broker(window=64)
    with small_disk(tmp_path / "disk", 24 * MEGABYTE) as disk:
        config = make_config(tmp_path, homeserver.url, mosquitto, window=64)
        config = msgspec.structs.replace(config, data_directory=str(disk / "gateway"))
        ballast = disk / "ballast"
        async with gateway(config, thing) as running:

            def fill() -> None:
                # Room that SQLite has taken already is no longer there.
                running.core.database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(4096))

            await fills_up_and_recovers(running, mosquitto, thing, homeserver, fill, ballast.unlink, caplog)
            fill()
            async with client(config) as coap:
                waiting = [asyncio.create_task(coap.post("up", thing.envelope())) for _ in range(40)]
                await eventually(lambda: running.ingest.stalled, SECONDS)
                busy = await coap.post("up", thing.envelope())
                assert busy.code == Code.SERVICE_UNAVAILABLE and busy.opt.max_age
                ballast.unlink()
                assert {(await one).code for one in waiting} <= {Code.CHANGED, Code.SERVICE_UNAVAILABLE}
                assert not running.ingest.stalled
