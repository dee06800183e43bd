"""What is missing and why, quotas, and when readings were taken: through the one door."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiocoap import Code
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.command_support import enrolled_board
from tests.gateway.gateway_support import TIME, Thing, eventually, gateway
from tests.gateway.test_gateway_coap import client
from tests.gateway.test_gateway_ingest import Door
from tests.node.node_process import NodeProcess

from thingroom_gateway.app import Gateway
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.ledger import Gap, summary
from thingroom_gateway.outcomes import Accepted, Deferred, Duplicate, Refused
from thingroom_gateway.quotas import MAX_PAUSE_MS, MIN_PAUSE_MS, Quotas
from thingroom_gateway.series.export import Source, as_csv, as_json_lines
from thingroom_gateway.stamps import AHEAD, AHEAD_MS, Boot, drift, stamp
from thingroom_gateway.storage import series, stamps
from thingroom_gateway.storage.missing import gaps_of
from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET

SECONDS = 60


def missing(running: Gateway, kid: bytes) -> list[Gap]:
    device = running.core.registry.by_kid(kid).row.id
    return list(running.core.database.read(lambda connection: gaps_of(connection, device)))


def kinds(found: list[Gap]) -> list[tuple[int, int, str]]:
    return [(gap.first, gap.last, gap.kind) for gap in found]


async def test_each_hole_gets_its_name_as_the_device_tells(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        for sequence in (1, 2, 5, 9):
            await door.send(thing.envelope(sequence))
        assert await door.send(thing.envelope(3, thing.pack(5000))) == Refused(thing.kid, 3, "above_range")
        assert kinds(missing(running, thing.kid)) == [(3, 3, "refused"), (4, 4, "unknown"), (6, 8, "unknown")]
        totals = await running.ingest.missing.totals()
        assert totals == {"lost": 0, "skipped": 0, "buffered": 0, "refused": 1, "unknown": 4}
        await door.send(thing.hello(held=(12, [(7, 8), (10, 12)]), uptime=9000), "hello")
        assert kinds(missing(running, thing.kid)) == [
            (3, 3, "refused"),
            (4, 4, "lost"),
            (6, 6, "lost"),
            (7, 8, "buffered"),
            (10, 12, "buffered"),
        ]
        # An older word of it, by uptime, is a repeat of somebody's.
        await door.send(thing.hello(b"2" * 8, held=(9, []), uptime=8000), "hello")
        totals = await running.ingest.missing.totals()
        assert totals == {"lost": 2, "skipped": 0, "buffered": 5, "refused": 1, "unknown": 0}
        assert summary(missing(running, thing.kid)) == "2 lost, 5 waiting on the device, 1 refused"
        for sequence in (7, 8, 10, 11, 12):
            await door.send(thing.envelope(sequence))
        assert (await running.ingest.missing.totals())["buffered"] == 0
    async with gateway(config, thing) as running:
        assert kinds(missing(running, thing.kid)) == [(3, 3, "refused"), (4, 4, "lost"), (6, 6, "lost")]
        assert (await running.ingest.missing.totals())["lost"] == 2
        assert all(gap.since for gap in missing(running, thing.kid))


async def test_a_real_node_says_what_it_holds(tmp_path: Path, config: GatewayConfig) -> None:
    async with gateway(config) as running:
        device, settings = await enrolled_board(
            running, tmp_path, "climate", link="coap", port=config.coap.port, interval_ms=100, actuators=[]
        )
        settings["sensor"] = {"kind": "simulated"}
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock", state="synchronised")
            held = "SELECT reach, waiting FROM held"
            await eventually(lambda: running.core.database.read(lambda c: c.execute(held).fetchone()), SECONDS)
        assert node.stderr == b""
        assert device.presence.waiting is not None


# --- quotas ----------------------------------------------------------------------------------------------------------


def test_an_account_fills_with_time() -> None:
    now = 0.0
    quotas = Quotas(2.0, 0, lambda: now)
    taken = 0
    while not quotas.take(1, 2, 100):
        taken += 2
    assert taken == 1200, "ten minutes' worth at once"
    assert quotas.take(1, 2, 100) == MIN_PAUSE_MS and quotas.take(2, 2, 100) == 0
    now += 1
    assert quotas.take(1, 2, 100) == 0 != quotas.take(1, 2, 100)
    quotas.give_back(1, 2, 100)
    assert quotas.take(1, 2, 100) == 0
    by_bytes = Quotas(0, 86_400, lambda: now)
    assert by_bytes.take(1, 1, 86_400) == 0
    assert by_bytes.take(1, 1, 1) == MIN_PAUSE_MS
    assert by_bytes.take(2, 1, 1_000_000) == 0 and by_bytes.take(2, 1, 1) == MAX_PAUSE_MS
    assert all(Quotas(0, 0, lambda: now).take(1, 1000, 10**9) == 0 for _ in range(3))


def limited(config: GatewayConfig, rate: float) -> GatewayConfig:
    limits = msgspec.structs.replace(config.limits, device_readings_per_second=rate)
    return msgspec.structs.replace(config, limits=limits)


async def test_a_device_above_its_quota_keeps_its_readings(config: GatewayConfig) -> None:
    """Two readings in an envelope, six at once; what is put off is not acknowledged, not stored, and told to wait."""
    thing, calm = Thing(1), Thing(2, name="Cellar")
    async with gateway(limited(config, 0.01), thing, calm) as running:
        door = Door(running)
        for sequence in (1, 2, 3):
            assert await door.send(thing.envelope(sequence)) == Accepted(thing.kid, sequence)
        # A repeat costs nothing, and is acknowledged.
        put_off = await door.send(thing.envelope(4))
        assert isinstance(put_off, Deferred) and put_off.pause >= MIN_PAUSE_MS
        assert await door.send(calm.envelope(1)) == Accepted(calm.kid, 1)
        assert running.core.counters["mqtt.deferred.over_quota"] == 1
        assert running.core.registry.by_kid(thing.kid).presence.deferred == 1
        async with client(limited(config, 0.01)) as coap:
            response = await coap.post("up", thing.envelope(4))
            assert response.code == Code.SERVICE_UNAVAILABLE and response.payload == b"over_quota"
            assert response.opt.max_age >= 1
    async with gateway(config, thing) as running:
        door = Door(running)
        assert await door.send(thing.envelope(3)) == Duplicate(thing.kid, 3)
        assert await door.send(thing.envelope(4)) == Accepted(thing.kid, 4)


async def test_a_real_node_waits_as_it_is_told_and_loses_nothing(tmp_path: Path, config: GatewayConfig) -> None:
    """Ten a second against a quota of one every other second, 1200 at once: its account is nearly used up before."""
    config = limited(config, 0.5)
    async with gateway(config) as running:
        device, settings = await enrolled_board(
            running, tmp_path, "climate", link="coap", port=config.coap.port, interval_ms=100, actuators=[]
        )
        settings["sensor"] = {"kind": "simulated"}
        quotas: Any = running.ingest.examiner._quotas
        assert quotas.take(device.row.id, 299, 0) == 0
        async with NodeProcess(tmp_path, settings) as node:
            down = await node.event("link", seconds=SECONDS, state="down", reason="gateway_unavailable")
            assert down["retry_ms"] >= MIN_PAUSE_MS
            # The owner thinks better of it.
            quotas._rate = 0
            target = set(node.sampled())
            received = "SELECT MIN(first), MAX(last), COUNT(*) FROM received"

            def all_there() -> bool:
                first, last, count = running.core.database.read(lambda c: c.execute(received).fetchone())
                return count == 1 and first == min(target) and last >= max(target)

            await eventually(all_there, SECONDS)
        assert node.stderr == b""


# --- clocks ----------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000_000
times = st.integers(0, 10**9)


def test_when_by_example() -> None:
    known = Boot(3, started=NOW - 10_000)
    assert stamp(SYNCHRONISED, NOW - 5, 1000, NOW, known) == (found := stamp(SYNCHRONISED, NOW - 5, 1000, NOW, Boot(3)))
    assert (found.base, found.clock, found.earliest, found.latest) == (NOW - 5, SYNCHRONISED, None, None)
    ahead = stamp(SYNCHRONISED, NOW + AHEAD_MS + 1, 1000, NOW, Boot(3, after=77))
    assert (ahead.base, ahead.clock, ahead.earliest, ahead.latest) == (NOW + AHEAD_MS + 1, AHEAD, 77, NOW)
    unset = stamp(UNSET, None, 4000, NOW, known)
    assert (unset.base, unset.clock) == (NOW - 6000, DRIFTING)
    assert (unset.earliest, unset.latest) == (NOW - 6000 - drift(4000), NOW - 6000 + drift(4000))
    nothing_known = stamp(UNSET, None, 4000, NOW, Boot(3))
    assert (nothing_known.base, nothing_known.clock, nothing_known.earliest) == (NOW, UNSET, None)
    # Something of a later uptime has come before: this is older by the difference at least.
    bounded = stamp(UNSET, None, 4000, NOW, Boot(3, latest=NOW - 60_000, after=NOW - 90_000))
    assert (bounded.base, bounded.earliest, bounded.latest) == (NOW - 56_000, NOW - 86_000, NOW - 56_000)


@settings(deadline=None)
@given(st.integers(0, 10**7), times, times, st.sampled_from([SYNCHRONISED, DRIFTING, UNSET]), st.booleans())
def test_the_truth_is_within_the_bounds(uptime: int, started: int, delay: int, state: int, is_known: bool) -> None:
    """A device that started then, whose clock is right where it has one, and a network that takes `delay`."""
    started += NOW
    truth = started + uptime
    arrival = truth + delay
    boot = Boot(1, started=started if is_known else None, latest=started + 5, after=started - 1000)
    found = stamp(state, None if state == UNSET else truth, uptime, arrival, boot)
    if found.latest is None:
        assert found.base == truth
    else:
        assert (found.earliest is None or found.earliest <= truth) and truth <= found.latest


async def test_a_backlog_without_a_clock_keeps_its_distances_and_its_bounds(config: GatewayConfig) -> None:
    """A node that measured for an hour without a gateway: its hello tells how long it has been up, then the backlog."""
    thing = Thing()
    hour = 3_600_000
    async with gateway(config, thing) as running:
        door = Door(running)
        await door.send(thing.hello(uptime=hour), "hello")
        for sequence, uptime in ((1, 60_000), (2, 1_800_000), (3, hour)):
            await door.send(thing.envelope(sequence, thing.pack(time_ms=None), clock=(UNSET, 1, uptime)))
        device = running.core.registry.by_kid(thing.kid).row
        rows = running.core.database.read(
            lambda connection: list(series.stored_readings(connection, device.id, "temperature", 0, 1 << 60))
        )
        assert [row.time - rows[0].time for row in rows] == [0, 1_740_000, 3_540_000]
        assert {row.clock for row in rows} == {UNSET}
        assert all(row.earliest is None and row.latest == row.time for row in rows)
        # The clock is set at last: now it is known to a second when that was.
        await door.send(thing.envelope(4, thing.pack(time_ms=TIME), clock=(SYNCHRONISED, 1, hour + 5000)))
        rows = running.core.database.read(
            lambda connection: list(series.stored_readings(connection, device.id, "temperature", 0, 1 << 60))
        )
        first = next(row for row in rows if row.sequence == 1)
        truth = TIME - hour - 5000 + 60_000
        assert (first.earliest, first.latest) == (truth - drift(60_000), truth + drift(60_000))
        text = "".join(as_csv([(Source(thing.kid, "Kitchen"), rows)]))
        table = {int(row["sequence"]): row for row in csv.DictReader(io.StringIO(text))}
        assert table[1]["clock"] == "unset" and table[1]["earliest"] < table[1]["latest"]
        assert table[4]["clock"] == table[4]["earliest"] == table[4]["latest"] == ""
        lines = [json.loads(line) for line in as_json_lines([(Source(thing.kid, "Kitchen"), rows)])]
        assert {"earliest", "latest"} <= lines[0].keys() or {"earliest", "latest"} <= lines[-1].keys()


async def test_a_stamp_from_the_future_is_flagged(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        later = TIME + 86_400_000
        assert await door.send(thing.envelope(1, thing.pack(time_ms=later))) == Accepted(thing.kid, 1)
        (row,) = running.core.database.read(lambda c: c.execute("SELECT readings FROM envelopes").fetchall())
        assert '"clock":"ahead"' in row[0]
        shown = running.core.database.read(lambda c: c.execute("SELECT DISTINCT clock FROM readings").fetchall())
        assert [one[0] for one in shown] == ["ahead"]
        # It teaches nothing about the boot.
        await door.send(thing.envelope(2, thing.pack(time_ms=None), clock=(UNSET, 1, 6000)))
        device = running.core.registry.by_kid(thing.kid).row.id
        assert running.core.database.read(lambda c: stamps.boot(c, device, 1)).started is None


@pytest.mark.parametrize("most", [1, 100])
async def test_bounds_go_with_what_they_bound(config: GatewayConfig, most: int) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        for sequence in (1, 2, 3):
            await door.send(thing.envelope(sequence, thing.pack(time_ms=None), clock=(UNSET, 1, 1000)))
        database = running.core.database
        deleted = [await database.write(lambda t: stamps.prune(t, 1 << 60, most)) for _ in range(4)]
        assert sum(deleted) == 3 and deleted[-1] == 0
