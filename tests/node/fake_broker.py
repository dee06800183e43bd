"""A broker of ours on a real socket that does what a script says, for the faults that Mosquitto does not have."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tests.node.stand_in_gateway import StandInGateway

CONNACK_NEW, CONNACK_KNOWN = b"\x20\x02\x00\x00", b"\x20\x02\x01\x00"
PINGRESP = b"\xd0\x00"


class Connection:
    """One connection of the node: packets read as `(first byte, body)`, bytes written as the script likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # What the node sent between CONNACK and SUBSCRIBE: its repeats.
        self.repeated: list[tuple[int, bytes]] = []

    async def packet(self) -> tuple[int, bytes]:
        """The node's next packet. Raises IncompleteReadError when it has closed."""
        first = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first, await self._reader.readexactly(length)

    async def write(self, data: bytes, piece: int = 0) -> None:
        """Write `data`, in pieces of `piece` bytes when that is not 0."""
        step = piece or max(1, len(data))
        for start in range(0, len(data), step):
            self._writer.write(data[start : start + step])
            await self._writer.drain()
            if piece:
                await asyncio.sleep(0)

    async def accept(self, connack: bytes = CONNACK_NEW) -> bytes:
        """Answer CONNECT and SUBSCRIBE; returns the body of CONNECT."""
        first, body = await self.packet()
        assert first == 0x10
        await self.write(connack)
        while True:
            first, packet = await self.packet()
            if first == 0x82:
                await self.write(b"\x90\x03" + packet[:2] + b"\x01")
                return body
            self.repeated.append((first, packet))

    async def closed(self) -> None:
        """Wait until the node has closed the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self.packet()


def split_publish(body: bytes) -> tuple[str, int, bytes]:
    """`(topic, packet id, payload)` of a QoS 1 PUBLISH body."""
    end = 2 + int.from_bytes(body[:2], "big")
    return body[2:end].decode(), int.from_bytes(body[end : end + 2], "big"), body[end + 2 :]


def publish_to(topic: str, payload: bytes, packet_id: int) -> bytes:
    """A QoS 1 PUBLISH to the node."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload
    length, digits = len(body), bytearray()
    while True:
        digits.append(length & 127 | (128 if length > 127 else 0))
        length >>= 7
        if not length:
            return b"\x32" + bytes(digits) + body


async def behave(connection: Connection, gateway: StandInGateway, piece: int = 0) -> None:
    """Be a good broker with the gateway behind it, until the node closes."""
    number = 0
    while True:
        first, body = await connection.packet()
        if first == 0xC0:
            await connection.write(PINGRESP, piece)
        if first >> 4 != 3:
            continue
        topic, packet_id, payload = split_publish(body)
        await connection.write(b"\x40\x02" + packet_id.to_bytes(2, "big"), piece)
        base, _, leaf = topic.rpartition("/")
        take = {"up": gateway.take_envelope, "hello": gateway.take_hello}.get(leaf)
        answer = take(payload) if take else None
        if answer is not None:
            number = number % 60000 + 1
            await connection.write(publish_to(f"{base}/down", answer, number), piece)


Script = Callable[[Connection], Awaitable[None]]


class FakeBroker:
    """Runs one script per connection, in order; the last one for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.connections = 0
        self.failures: list[Exception] = []

    async def __aenter__(self) -> "FakeBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        assert not self.failures, self.failures

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            await script(Connection(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        except Exception as error:
            self.failures.append(error)
        finally:
            writer.close()
