"""The whole node on MicroPython against a real aiocoap server: pairing, separate responses, refusals, outages."""

from pathlib import Path

import aiocoap
from tests.node.coap_gateway import COSE_MAC0, COSE_SIGN1, CoapGateway
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway

CODE = bytes(range(16))


def coap_settings(folder: Path, port: int, **changes: object) -> dict:
    return node_settings(folder, link="coap", port=port, pairing_code=CODE.hex(), **changes)


def acknowledged(node: NodeProcess) -> set[int]:
    spans = [span for event in node.of("acknowledged") for span in event["ranges"]]
    return {number for first, last in spans for number in range(first, last + 1)}


async def test_a_node_pairs_and_delivers(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        await node.event("enrolled")
        await node.event("clock", state="synchronised")
        await node.until(lambda: set(range(1, 21)) <= acknowledged(node))
    assert server.hello.formats == {COSE_MAC0, COSE_SIGN1} and server.up.formats == {COSE_SIGN1}
    gateway.check_chain()


async def test_separate_responses(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        server.hello.delay = server.up.delay = 0.3
        await node.event("enrolled")
        await node.until(lambda: len(acknowledged(node)) >= 4)
        assert not [event for event in node.of("link") if event["state"] == "down"]
    # One request may have been cut off by the kill; none came twice.
    assert server.up.requests <= len(gateway.arrivals) + 1
    assert len(gateway.arrivals) == len(set(gateway.arrivals))


async def test_an_outage_of_the_gateway(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        await node.until(lambda: len(acknowledged(node)) >= 3)
        await server.stop()
        await node.event("link", state="down")
        before = len(node.sampled())
        await node.until(lambda: len(node.sampled()) > before + 10)
        # What the dying server refused is tried again much later.
        target = set(node.sampled()) - {event["sequence"] for event in node.of("not_taken")}
        await server.start()
        await node.until(lambda: target <= acknowledged(node))
    gateway.check_chain()


async def test_a_gateway_that_cannot_commit_is_left_alone_for_as_long_as_it_says(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        await node.until(lambda: len(acknowledged(node)) >= 2)
        server.up.code, server.up.max_age = aiocoap.SERVICE_UNAVAILABLE, 2
        down = await node.event("link", state="down", reason="gateway_unavailable")
        assert 2000 <= down["retry_ms"] <= 3000
        server.up.code = None
        target = set(node.sampled())
        await node.until(lambda: target <= acknowledged(node))


async def test_a_refusal_without_a_signature_forgets_nothing(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        await node.until(lambda: len(acknowledged(node)) >= 2)
        server.up.code = aiocoap.BAD_REQUEST
        await node.event("not_taken", reason="4.00")
        before = acknowledged(node)
        await node.until(lambda: len(node.of("not_taken")) >= 5)
        assert acknowledged(node) == before
        refused = {event["sequence"] for event in node.of("not_taken")}
        await node.kill()
        server.up.code = None
        async with NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as again:
            await again.until(lambda: refused <= acknowledged(again))


async def test_pairing_is_refused_until_it_is_open(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    gateway.silent = True
    async with CoapGateway(gateway) as server, NodeProcess(tmp_path, coap_settings(tmp_path, server.port)) as node:
        await node.event("pairing_refused", reason="4.01")
        gateway.silent = False
        await node.event("enrolled")
        await node.until(lambda: len(acknowledged(node)) >= 2)
