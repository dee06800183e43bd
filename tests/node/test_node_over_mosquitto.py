"""The whole node on MicroPython against a real Mosquitto: enrolment, delivery, outages, forgeries, the will."""

import asyncio
from pathlib import Path

from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway
from thingroom_wire import cbor, downlink, envelope, senml

CODE = bytes(range(16))


def acknowledged(node: NodeProcess) -> set[int]:
    numbers: set[int] = set()
    for event in node.of("acknowledged"):
        for first, last in event["ranges"]:
            numbers.update(range(first, last + 1))
    return numbers


async def test_a_node_pairs_and_delivers_everything_it_sampled(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("enrolled")
            await node.event("clock", state="synchronised")
            await node.until(lambda: {1, 20} <= acknowledged(node))
    assert gateway.hellos[0].name == "Kitchen" and gateway.hellos[0].profile == "climate"
    assert set(gateway.envelopes) >= set(range(1, 21))
    gateway.check_chain()
    last = envelope.parse_envelope(gateway.envelopes[20])
    assert last.header.clock.state == envelope.SYNCHRONISED
    pack = senml.decode_pack(last.payload)
    assert [record.name for record in pack.records] == ["temperature", "humidity"]
    assert pack.base_time_ms is not None
    first = envelope.parse_envelope(gateway.envelopes[1])
    assert first.header.clock.state == envelope.UNSET
    assert senml.decode_pack(first.payload).base_time_ms is None
    assert isinstance(pack.records[0].value, cbor.Decimal)
