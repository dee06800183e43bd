"""What Prometheus reads of the gateway, with Prometheus's own parser: what there is, its names, what it counts."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.free_port import free_port
from tests.gateway.fake_homeserver import FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, write_config
from tests.gateway.serial_cable import Plug

from thingroom_common.config_file import ConfigError
from thingroom_common.metrics import SECONDS
from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.missing import KINDS
from thingroom_gateway.outcomes import Frame, Outcome

BASE_UNITS = ("_seconds", "_bytes")


class Door:
    """A link of the test's: offers frames and hears their outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        self.outcomes += [outcome for _, outcome in settled]

    def resume(self) -> None:
        raise AssertionError("ingest was full")

    async def take(self, running: app.Gateway, *payloads: bytes) -> None:
        before = len(self.outcomes)
        for payload in payloads:
            assert running.ingest.offer(Frame("up", payload, "coap"), self)
        await eventually(lambda: len(self.outcomes) == before + len(payloads), 30)


@pytest.fixture
def metered(config: GatewayConfig) -> GatewayConfig:
    return msgspec.structs.replace(config, metrics_listener=f"127.0.0.1:{free_port()}")


async def scrape(config: GatewayConfig) -> dict[str, Metric]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{config.metrics_listener}/metrics") as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/plain"
        return {family.name: family for family in text_string_to_metric_families(await response.text())}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float | None:
    """The value of the sample of that name whose labels include `labels`; None if there is none."""
    found = [
        one.value
        for family in families.values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert len(found) < 2, found
    return found[0] if found else None


async def test_what_happened_is_counted(metered: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing, door = Thing(), Door()
    homeserver.faults.append(Fault(status=502, match="/send/"))
    async with gateway(metered, thing) as running:
        good, tampered = thing.envelope(), bytearray(thing.envelope())
        tampered[-1] ^= 1
        await door.take(running, good, good, bytes(tampered), b"rubbish")
        await eventually(lambda: homeserver.events(), 30)
        await eventually(
            lambda: not running.core.database.read(lambda c: c.execute("SELECT 1 FROM outbox").fetchone()), 30
        )
        seen = await scrape(metered)
    name = "thingroom_gateway_messages_total"
    assert value(seen, name, transport="coap", outcome="accepted") == 1
    assert value(seen, name, transport="coap", outcome="duplicate") == 1
    assert value(seen, name, transport="coap", outcome="rejected", reason="bad_signature") == 1
    assert value(seen, "thingroom_gateway_readings_total") == 2, "temperature and humidity"
    assert value(seen, "thingroom_gateway_ingest_seconds_count", transport="coap") == 2
    assert value(seen, "thingroom_gateway_ingest_seconds_bucket", transport="coap", le="+Inf") == 2
    requests = "thingroom_gateway_homeserver_requests_total"
    assert value(seen, requests, kind="send", outcome="failed") == 1
    assert (value(seen, requests, kind="send", outcome="ok") or 0) >= 1
    assert (value(seen, "thingroom_gateway_homeserver_request_seconds_count", kind="createRoom") or 0) >= 1
    assert value(seen, "thingroom_gateway_outbox_waiting") == 0
    assert value(seen, "thingroom_gateway_devices", presence="online") == 1 - (
        value(seen, "thingroom_gateway_devices", presence="never_heard") or 0
    )
    assert (value(seen, "thingroom_gateway_database_bytes") or 0) > 10_000
    assert value(seen, "thingroom_gateway_info") == 1
    assert (value(seen, "process_resident_memory_bytes") or 0) > 1_000_000


async def test_what_waits_is_told_with_its_age(metered: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing, door = Thing(), Door()
    await homeserver.stop()
    async with gateway(metered, thing) as running:
        await door.take(running, thing.envelope(3))
        await door.take(running, thing.envelope(7))
        await eventually(lambda: running.core.database.read(lambda c: c.execute("SELECT 1 FROM outbox").fetchone()), 30)
        await running.core.database.write(lambda t: t.execute("UPDATE outbox SET queued_at = queued_at - 60000"))
        seen = await scrape(metered)
    assert (value(seen, "thingroom_gateway_outbox_waiting") or 0) >= 1
    age = value(seen, "thingroom_gateway_outbox_oldest_age_seconds")
    assert age is not None and age >= 60
    assert value(seen, "thingroom_gateway_gaps") == 1
    told = {why: value(seen, "thingroom_gateway_missing_messages", why=why) for why in KINDS}
    assert (told["unknown"] or 0) >= 3 and told["lost"] == 0, "4 to 6; the device has not said what became of them"


async def test_names_and_labels_keep_to_the_conventions(
    metered: GatewayConfig, homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    things = [Thing(seed, name=f"Thing {seed}") for seed in range(1, 20)]
    plug = Plug(tmp_path / "board", lambda _data: None)
    plug.plug_in()
    metered = msgspec.structs.replace(metered, serial=msgspec.structs.replace(metered.serial, ports=(str(plug.path),)))
    try:
        async with gateway(metered, *things) as running:
            door = Door()
            await door.take(running, *(thing.envelope() for thing in things))
            await eventually(lambda: running.serial and running.serial.open_ports, 30)
            seen = await scrape(metered)
    finally:
        plug.unplug()
    assert value(seen, "thingroom_gateway_serial_ports_open") == 1
    for family in seen.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name), family.name
        assert family.documentation.endswith("."), f"{family.name} is not explained"
        for sample in family.samples:
            assert not re.search(r"_(ms|milliseconds|kb|mb|count_total)(_|$)", sample.name), sample.name
            if family.type == "counter":
                assert sample.name.endswith("_total")
            if family.type == "gauge":
                assert not sample.name.endswith("_total"), sample.name
        if family.type == "histogram":
            assert family.name.endswith(BASE_UNITS), family.name
            buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
            assert all(float(one.labels["le"]) in (*SECONDS, float("inf")) for one in buckets)
    words = {label for family in seen.values() for one in family.samples for label in one.labels.values()}
    for thing in things:
        assert not any(thing.hex in word or thing.name in word for word in words), "labels name no device"


def test_the_page_is_for_this_machine_unless_it_is_meant(tmp_path: Path) -> None:
    config = make_config(tmp_path, "http://127.0.0.1:9")
    open_to_all = msgspec.structs.replace(config, metrics_listener="0.0.0.0:9100")
    with pytest.raises(ConfigError, match="metrics_beyond_loopback"):
        load(write_config(tmp_path / "one.toml", open_to_all))
    meant = msgspec.structs.replace(open_to_all, metrics_beyond_loopback=True)
    assert load(write_config(tmp_path / "two.toml", meant)).metrics_listener == "0.0.0.0:9100"
    with pytest.raises(ConfigError, match="host:port"):
        load(write_config(tmp_path / "three.toml", msgspec.structs.replace(config, metrics_listener="9100")))
