"""A broker that does what a test says and nothing else: every packet in and out is the test's.

Packet layouts are those of the OASIS standards MQTT 3.1.1 and 5.0, which differ here by the properties only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.patience import PATIENCE_SECONDS


def packet(first: int, body: bytes) -> bytes:
    length, head = len(body), bytearray((first,))
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def publish(version: str, topic: str, payload: bytes, packet_id: int | None) -> bytes:
    """PUBLISH (3.3) at QoS 1, at QoS 0 without a packet id."""
    number = b"" if packet_id is None else packet_id.to_bytes(2, "big")
    return packet(
        0x30 if packet_id is None else 0x32, text(topic) + number + (b"\0" if version == "5" else b"") + payload
    )


def connack(version: str, code: int = 0, receive_maximum: int | None = None) -> bytes:
    """CONNACK (3.2)."""
    properties = b"" if receive_maximum is None else b"\x21" + receive_maximum.to_bytes(2, "big")
    return packet(0x20, bytes((0, code)) + (bytes((len(properties),)) + properties if version == "5" else b""))


def suback(version: str, packet_id: bytes, *codes: int) -> bytes:
    """SUBACK (3.9)."""
    return packet(0x90, packet_id + (b"\0" if version == "5" else b"") + bytes(codes))


@dataclass
class Session:
    """One connection of the gateway. `received` has (first byte, body) of every packet but pings."""

    version: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connect: bytes
    received: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def acknowledged(self) -> list[int]:
        """Packet ids of the PUBACKs, in the order in which they came."""
        return [int.from_bytes(body[:2], "big") for first, body in self.received if first == 0x40]

    @property
    def published(self) -> list[tuple[bytes, bytes]]:
        """(packet id, payload) of what was published."""
        found = []
        for first, body in self.received:
            if first >> 4 == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                found.append((body[end : end + 2], body[end + (3 if self.version == "5" else 2) :]))
        return found

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def let_in(self, receive_maximum: int | None = None) -> None:
        """Accept the CONNECT and the SUBSCRIBE, and read from then on."""
        self.send(connack(self.version, 0, receive_maximum))
        first, body = await read_packet(self.reader)
        assert first == 0x82
        self.send(suback(self.version, body[:2], 1, 1, 1))

    async def read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, body = await read_packet(self.reader)
                if first == 0xC0:
                    self.send(b"\xd0\x00")
                else:
                    self.received.append((first, body))


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, length, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return first, await reader.readexactly(length)


class ScriptedBroker:
    """Listens on a free port; `session` is the gateway's next connection, its CONNECT read."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.port = 0
        self._sessions: asyncio.Queue[Session] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            _, connect = await read_packet(reader)
            self._sessions.put_nowait(Session(self.version, reader, writer, connect))

    async def session(self) -> Session:
        return await asyncio.wait_for(self._sessions.get(), PATIENCE_SECONDS)

    async def accepted(self, receive_maximum: int | None = None) -> Session:
        """The next session, let in and being read."""
        session = await self.session()
        await session.let_in(receive_maximum)
        self._tasks.append(asyncio.create_task(session.read()))
        return session


@contextlib.asynccontextmanager
async def scripted_broker(version: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedBroker]:
    broker = ScriptedBroker(version)
    server = await asyncio.start_server(broker._connected, "127.0.0.1", 0, ssl=tls)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for task in broker._tasks:
            task.cancel()
        for writer in broker._writers:
            writer.close()
