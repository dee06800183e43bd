"""A real aiocoap server in front of the stand-in gateway, and a UDP proxy that loses, repeats and delays datagrams."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import cast

import aiocoap
from aiocoap import resource
from tests.free_port import free_port
from tests.node.stand_in_gateway import StandInGateway

COSE_SIGN1, COSE_MAC0 = 18, 17


class Door(resource.Resource):
    """POST /up or /hello. `delay` seconds make the response a separate one; `code` overrides the response."""

    def __init__(self, gateway: StandInGateway, name: str) -> None:
        super().__init__()
        self._take = {"up": gateway.take_envelope, "hello": gateway.take_hello}[name]
        self.delay = 0.0
        self.code: aiocoap.numbers.codes.Code | None = None
        self.max_age: int | None = None
        self.formats: set[int] = set()
        self.requests = 0

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.requests += 1
        self.formats.add(int(request.opt.content_format))
        await asyncio.sleep(self.delay)
        if self.code is not None:
            return aiocoap.Message(code=self.code, max_age=self.max_age)
        answer = self._take(request.payload)
        if answer is None:
            return aiocoap.Message(code=aiocoap.UNAUTHORIZED)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=answer, content_format=COSE_MAC0)


class CoapGateway:
    """`async with CoapGateway(gateway) as server`: listens on `server.port`; can `stop` and `start` again."""

    def __init__(self, gateway: StandInGateway) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self.up, self.hello = Door(gateway, "up"), Door(gateway, "hello")
        self._context: aiocoap.Context | None = None

    async def start(self) -> None:
        site = resource.Site()
        site.add_resource(["up"], self.up)
        site.add_resource(["hello"], self.hello)
        self._context = await aiocoap.Context.create_server_context(
            site, bind=("127.0.0.1", self.port), transports=["simplesocketserver"]
        )

    async def stop(self) -> None:
        if self._context is not None:
            await self._context.shutdown()
            self._context = None

    async def __aenter__(self) -> "CoapGateway":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class LossyProxy(asyncio.DatagramProtocol):
    """Passes datagrams between one client and a server; loses, repeats and delays some, by a seed."""

    def __init__(self, server_port: int, seed: int, loss: float) -> None:
        self._server = ("127.0.0.1", server_port)
        self._chance = random.Random(seed)
        self._loss = loss
        self._client: tuple[str, int] | None = None
        self.lost = 0
        self.repeated = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address == self._server:
            target = self._client
        else:
            self._client, target = address, self._server
        if self._chance.random() < self._loss:
            self.lost += 1
            return
        copies = 2 if self._chance.random() < self._loss else 1
        self.repeated += copies - 1
        for _ in range(copies):
            delay = self._chance.random() * 0.03
            asyncio.get_running_loop().call_later(delay, self._send, data, target)

    def error_received(self, exc: Exception) -> None:
        self.lost += 1

    def _send(self, data: bytes, target: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, target)


@contextlib.asynccontextmanager
async def lossy_proxy(server_port: int, seed: int, loss: float) -> AsyncIterator[tuple[int, LossyProxy]]:
    """A proxy on a free port: yields the port and the protocol with its counts."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: LossyProxy(server_port, seed, loss), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1], protocol
    finally:
        transport.close()
