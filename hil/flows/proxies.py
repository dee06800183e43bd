"""Bad networks between a node and the gateway: a TCP proxy that is cut, heals and slows down; a UDP proxy that harms.

What happens to a datagram is drawn from a seeded random source. May import the standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

CHUNK = 1024


class TcpProxy:
    """`is_cut`: nobody gets through, open connections are reset. `bytes_per_second`: None is as fast as it goes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.is_cut = False
        self.bytes_per_second: float | None = None
        self.port = 0
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Take the network away, in the midst of whatever is on it."""
        self.is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def heal(self) -> None:
        self.is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a node."""
        if self.is_cut:
            writer.transport.abort()
            return
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))
        finally:
            self._open -= {writer, there_writer}
            writer.transport.abort()
            there_writer.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self.bytes_per_second is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                target.write(data)
                await target.drain()
        target.transport.abort()


@contextlib.asynccontextmanager
async def tcp_proxy(port: int) -> AsyncIterator[TcpProxy]:
    """A proxy in front of `port` of loopback."""
    proxy = TcpProxy(port)
    server = await asyncio.start_server(proxy.carry, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()


@dataclass(frozen=True)
class Weather:
    """How often (0 to 1) a datagram is lost, doubled, spoilt in one byte, or kept back; and for how many seconds."""

    lost: float = 0
    doubled: float = 0
    spoilt: float = 0
    late: float = 0
    seconds: float = 0.5


class UdpProxy(asyncio.DatagramProtocol):
    """Each node that speaks to it gets a socket of its own towards the gateway. `harm` counts what was done."""

    def __init__(self, target: int, seed: int) -> None:
        self.weather = Weather()
        self.is_cut = False
        self.harm: Counter[str] = Counter()
        self._target = target
        self._chance = random.Random(seed)
        self._ways: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._here: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._here = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        assert self._here is not None
        return int(self._here.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._up(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for transport in (*self._ways.values(), self._here):
            if transport is not None:
                transport.close()

    async def _up(self, data: bytes, node: tuple[str, int]) -> None:
        if node not in self._ways:
            loop = asyncio.get_running_loop()
            way, _ = await loop.create_datagram_endpoint(
                lambda: _Back(self, node), remote_addr=("127.0.0.1", self._target)
            )
            if node in self._ways:
                way.close()
            else:
                self._ways[node] = way
        self.pass_on(data, self._ways[node], None)

    def back(self, data: bytes, node: tuple[str, int]) -> None:
        """What the gateway says to a node."""
        assert self._here is not None
        self.pass_on(data, self._here, node)

    def pass_on(self, data: bytes, transport: asyncio.DatagramTransport, node: tuple[str, int] | None) -> None:
        """Send a datagram on, through the weather."""
        weather, chance = self.weather, self._chance
        if self.is_cut or chance.random() < weather.lost:
            self.harm["lost"] += 1
            return
        for copy in range(2 if chance.random() < weather.doubled else 1):
            self.harm["doubled"] += copy
            sent = data
            if chance.random() < weather.spoilt:
                self.harm["spoilt"] += 1
                at = chance.randrange(len(data))
                sent = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            wait = 0.0
            if chance.random() < weather.late:
                # The next ones overtake it.
                self.harm["late"] += 1
                wait = chance.uniform(0, weather.seconds)
            asyncio.get_running_loop().call_later(wait, self._put, transport, sent, node)

    def _put(self, transport: asyncio.DatagramTransport, data: bytes, node: tuple[str, int] | None) -> None:
        if not transport.is_closing():
            transport.sendto(data, node)


class _Back(asyncio.DatagramProtocol):
    def __init__(self, proxy: UdpProxy, node: tuple[str, int]) -> None:
        self._proxy = proxy
        self._node = node

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._proxy.back(data, self._node)


@contextlib.asynccontextmanager
async def udp_proxy(port: int, seed: int = 1) -> AsyncIterator[UdpProxy]:
    """A proxy in front of the UDP `port` of loopback."""
    loop = asyncio.get_running_loop()
    _, proxy = await loop.create_datagram_endpoint(lambda: UdpProxy(port, seed), local_addr=("127.0.0.1", 0))
    try:
        yield proxy
    finally:
        proxy.close()
