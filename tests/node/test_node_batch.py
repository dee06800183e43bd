"""Batches: many samples in one envelope, none lost and none twice, whatever is cut."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.coap_gateway import CoapGateway
from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway

from thingroom_node.batch import Batch, open_batch
from thingroom_node.clock import Moment
from thingroom_wire import envelope, senml
from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record

CODE = bytes(range(16))
KID = bytes(8)


def sample(number: int) -> list[Record]:
    return [Record("temperature", "Cel", Decimal(200 + number, -1), 0), Record("on", None, number % 2 == 0, 0)]


def at(number: int) -> Moment:
    return Moment(envelope.SYNCHRONISED, 1000 + 250 * number, 1_800_000_000_000 + 250 * number)


def filled(path: Path, count: int) -> Batch:
    batch = Batch(str(path), 100, 1_000_000)
    for number in range(count):
        batch.add(7, at(number), sample(number))
    return batch


def test_a_pack_has_all_samples_with_their_times(tmp_path: Path) -> None:
    batch = filled(tmp_path / "batch", 5)
    pack = senml.decode_pack(senml.encode_pack("urn:dev:mac:0000000000000000_", batch.moment.unix, batch))
    assert len(batch) == 10 and batch.count == 5
    assert [record.time for record in pack.records] == [-1000, -1000, -750, -750, -500, -500, -250, -250, 0, 0]
    assert [record.value for record in pack.records[::2]] == [Decimal(200 + number, -1) for number in range(5)]
    assert pack.base_time_ms == at(4).unix


def test_it_is_due_by_number_and_by_time(tmp_path: Path) -> None:
    batch = Batch(str(tmp_path / "batch"), 3, 2000)
    assert not batch.is_due(10)
    batch.add(1, at(0), sample(0))
    assert not batch.is_due(2000) and batch.is_due(2001)
    batch.add(1, at(1), sample(1))
    assert not batch.is_due(10)
    batch.add(1, at(2), sample(2))
    assert batch.is_due(10)


def test_a_batch_never_makes_an_envelope_that_is_too_large(tmp_path: Path) -> None:
    batch = Batch(str(tmp_path / "batch"), 1000, 1_000_000)
    number = 0
    while batch.has_room(sample(number)):
        batch.add(1, Moment(0, 1001 + 333 * number, 1_800_000_000_123 + 333 * number), sample(number))
        number += 1
    payload = senml.encode_pack("urn:dev:mac:0000000000000000_", batch.moment.unix, batch)
    assert number > 30 and len(payload) < 7500
    assert len(senml.decode_pack(payload).records) == 2 * number
    with pytest.raises(OSError, match="full"):
        batch.add(1, at(number), sample(number))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 700))
def test_any_cut_leaves_the_samples_before_it(count: int, keep: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "batch"
        filled(path, count)
        whole = path.read_bytes()
        path.write_bytes(whole[:keep])
        found = open_batch(str(path), 100, 1_000_000, None)
        size = len(whole) // count
        assert abs(found.count - min(count, keep // size)) <= 1
        if found.count:
            assert [record.value for record in found][::2] == [Decimal(200 + each, -1) for each in range(found.count)]
        else:
            found.add(7, at(0), sample(0))
            assert open_batch(str(path), 100, 1_000_000, None).count == 1


def test_a_kill_between_storing_the_envelope_and_forgetting_the_samples(tmp_path: Path) -> None:
    batch = filled(tmp_path / "batch", 4)
    clock = envelope.Clock(batch.moment.state, batch.boot, batch.moment.uptime)
    protected = envelope.protected_header(envelope.Header(KID, 9, None, clock))
    assert open_batch(str(tmp_path / "batch"), 100, 1, (9, protected, b"")).count == 0
    assert not (tmp_path / "batch").exists()
    other = envelope.protected_header(envelope.Header(KID, 9, None, envelope.Clock(0, 7, 1)))
    filled(tmp_path / "batch", 4)
    assert open_batch(str(tmp_path / "batch"), 100, 1, (9, other, b"")).count == 4


def times(gateway: StandInGateway) -> list[int]:
    """When each record of each envelope was taken, by the envelopes' boots and uptimes."""
    found = []
    for data in gateway.envelopes.values():
        parsed = envelope.parse_envelope(data)
        pack = senml.decode_pack(parsed.payload)
        names = {record.name for record in pack.records}
        found += [
            (parsed.header.clock.boot, parsed.header.clock.uptime + record.time)
            for record in pack.records
            if record.name == min(names)
        ]
    return found


async def test_a_node_that_is_killed_again_and_again_loses_no_sample(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    made = 0
    async with CoapGateway(gateway) as server:
        changes = {"link": "coap", "port": server.port, "pairing_code": CODE.hex(), "batch": {"samples": 7}}
        for _ in range(3):
            async with NodeProcess(tmp_path, node_settings(tmp_path, **changes)) as node:
                start = made
                await node.until(lambda node=node: counted(node) >= 10, 60)
            made = start + counted(node)
        async with NodeProcess(tmp_path, node_settings(tmp_path, **changes)) as node:
            await node.until(lambda: len(times(gateway)) >= made, 60)
    taken = times(gateway)
    assert len(taken) == len(set(taken))
    gateway.check_chain()


def counted(node: NodeProcess) -> int:
    """Samples that this run said were made: those in envelopes of its own, and those that waited when it ended."""
    waiting = 0
    total = 0
    for event in node.events:
        if event["event"] == "kept":
            waiting = event["samples"]
        elif event["event"] == "sampled":
            # The first may hold what an earlier run left.
            total += min(event["samples"], waiting + 1)
            waiting = 0
    return total + waiting


async def test_what_a_command_did_goes_out_at_once(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway) as client:
        changes = {"port": broker.port, "pairing_code": CODE.hex(), "actuators": [{"name": "on"}]}
        changes |= {"batch": {"samples": 1000}, "interval_ms": 1000}
        async with NodeProcess(tmp_path, node_settings(tmp_path, **changes)) as node:
            kid = bytes.fromhex((await node.event("key"))["kid"])
            await node.event("clock", state="synchronised", seconds=60)
            await node.until(lambda: len(node.of("kept")) >= 2, 60)
            topic = f"thingroom/1/{kid.hex()[0]}/{kid.hex()}/down"
            await client.publish(topic, gateway.answer(kid, commands=[gateway.command(kid, 5, True)]), qos=1)
            await node.until(lambda: node.of("sampled") != [], 60)
            await node.event("acknowledged", seconds=60)
    assert gateway.results() == [(5, "done")]
    assert node.of("sampled")[0]["samples"] < 20
