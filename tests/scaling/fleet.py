"""Simulated devices on one MQTT connection: each sends what is not acknowledged, again and again, as nodes do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import nacl.bindings
from tests.flows.gateway_stack import Device, Gateway

from thingroom_wire.downlink import parse_answer
from thingroom_wire.errors import WireError
from thingroom_wire.keys import downlink_key, key_id

AGAIN_SECONDS = 3.0
PATIENCE_SECONDS = 90.0


@dataclass
class Node:
    """A device, the key of its gateway's answers, and the envelopes that it may not forget yet, by sequence."""

    device: Device
    downlink: bytes = b""
    kept: dict[int, bytes] = field(default_factory=dict)
    made: list[bytes] = field(default_factory=list)

    def sample(self, tenths_celsius: int) -> None:
        """One more reading."""
        envelope = self.device.climate(tenths_celsius, 45)
        self.kept[self.device.sequence] = envelope
        self.made.append(envelope)


def devices_in(shards: str, each: int, names: str) -> list[Node]:
    """`each` devices of every digit of `shards`; `names` is formatted with a number."""
    nodes: list[Node] = []
    for digit in shards:
        found = 0
        while found < each:
            device = Device(names.format(len(nodes)))
            if device.kid.hex()[0] == digit:
                nodes.append(Node(device))
                found += 1
    return nodes


async def enrol(gateway: Gateway, node: Node, place: str) -> None:
    """Make the device known to `gateway`, and the gateway to it."""
    answer = await gateway.enrol(node.device, place)
    assert answer["ok"], answer
    shared = nacl.bindings.crypto_scalarmult(
        node.device.agreement_private, bytes.fromhex(answer["gateway_agreement_key"])
    )
    node.downlink = downlink_key(shared, node.device.kid, key_id(bytes.fromhex(answer["gateway_key"])))


class Fleet:
    """The connection of all nodes."""

    def __init__(self, client: aiomqtt.Client, nodes: Iterable[Node]) -> None:
        self._client = client
        self._nodes = {node.device.kid: node for node in nodes}

    async def publish(self, nodes: Iterable[Node]) -> None:
        """Everything that they keep, once."""
        for node in nodes:
            for envelope in list(node.kept.values()):
                await self._client.publish(node.device.topic("up"), envelope, qos=1)

    async def deliver(self, nodes: Iterable[Node]) -> None:
        """Publish what they keep until all of it is acknowledged."""
        nodes = list(nodes)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while waiting := [node for node in nodes if node.kept]:
                await self.publish(waiting)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_SECONDS):
                        while any(node.kept for node in waiting):
                            await asyncio.sleep(0.05)

    async def listen(self) -> None:
        """Take answers for ever. What is not signed with a node's key is not for it, as on a board."""
        async for message in self._client.messages:
            node = self._nodes[bytes.fromhex(str(message.topic).split("/")[3])]
            assert isinstance(message.payload, bytes)
            with contextlib.suppress(WireError):
                for first, last in parse_answer(message.payload, node.downlink).acknowledged:
                    for sequence in [number for number in node.kept if first <= number <= last]:
                        del node.kept[sequence]


@contextlib.asynccontextmanager
async def running_fleet(settings: dict[str, Any], nodes: Iterable[Node]) -> AsyncIterator[Fleet]:
    """Connect to the broker of `settings` (a gateway's section [gateway.mqtt]), which lets anybody in."""
    async with aiomqtt.Client("127.0.0.1", settings["port"]) as client:
        await client.subscribe("thingroom/1/+/+/down", qos=1)
        fleet = Fleet(client, nodes)
        listening = asyncio.create_task(fleet.listen())
        try:
            yield fleet
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
