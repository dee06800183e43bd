"""A broker at its worst within the letter of MQTT 5 (section 4.4): it delivers every message more than once, out of
order, and after a lost connection everything that was under way again. What it has a PUBACK for, it forgets.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

from tests.gateway.scripted_broker import connack, packet, read_packet, suback, text

WINDOW = 150
COPIES = 2
# A message comes up to so many places sooner or later than it should.
DISORDER = 60


class RedeliveringBroker:
    """For one client, a gateway, that may come back as often as it likes. `acknowledged`: indices of messages."""

    def __init__(self, messages: Sequence[tuple[str, bytes]], seed: int) -> None:
        self._messages = messages
        self._chance = random.Random(seed)
        order = [(index + self._chance.uniform(0, DISORDER), index) for index in range(len(messages))] * COPIES
        order = [(place + number // len(messages) * DISORDER / 2, index) for number, (place, index) in enumerate(order)]
        self._waiting = [index for _, index in sorted(order, reverse=True)]
        self._under_way: dict[int, int] = {}
        self._again: set[int] = set()
        self._next_id = 0
        self._connected: asyncio.Task[None] | None = None
        self.port = 0
        self.acknowledged: set[int] = set()
        self.acknowledgements = 0
        self.connections = 0

    @property
    def is_done(self) -> bool:
        return not self._waiting and not self._under_way

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._session(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            returned = list(self._under_way.values())
            self._chance.shuffle(returned)
            self._again.update(returned)
            self._waiting += returned
            self._under_way.clear()
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subscribed = False
        while True:
            first, body = await read_packet(reader)
            kind = first >> 4
            if kind == 1:
                writer.write(connack("5"))
            elif kind == 8:
                # Each filter of ours is answered for.
                writer.write(suback("5", body[:2], 1, 1, 1))
                subscribed = True
            elif kind == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                writer.write(packet(0x40, body[end : end + 2]))
            elif kind == 4:
                self._forget(int.from_bytes(body[:2], "big"))
            elif kind == 12:
                writer.write(packet(0xD0, b""))
            elif kind == 14:
                return
            if subscribed:
                self._deliver(writer)
                await writer.drain()

    def _forget(self, packet_id: int) -> None:
        index = self._under_way.pop(packet_id)
        self.acknowledged.add(index)
        self.acknowledgements += 1

    def _deliver(self, writer: asyncio.StreamWriter) -> None:
        while self._waiting and len(self._under_way) < WINDOW:
            index = self._waiting.pop()
            self._next_id = self._next_id % 65_535 + 1
            self._under_way[self._next_id] = index
            topic, payload = self._messages[index]
            # DUP (3.3.1.1) where it is the same delivery again, QoS 1.
            head = 0x3A if index in self._again else 0x32
            writer.write(packet(head, text(topic) + self._next_id.to_bytes(2, "big") + b"\0" + payload))


@contextlib.asynccontextmanager
async def redelivering_broker(messages: Sequence[tuple[str, bytes]], seed: int) -> AsyncIterator[RedeliveringBroker]:
    broker = RedeliveringBroker(messages, seed)
    server = await asyncio.start_server(broker._serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
