"""CoAP clients that cost little while the clock runs: requests are encoded before, answers are looked at for their end.

Each client has a socket and a loopback address of its own and, as RFC 7252 asks of a node (NSTART, 4.7), one request
under way. Imports nothing of ours. Section numbers are those of RFC 7252.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import cast

_CONFIRMABLE, _ACKNOWLEDGEMENT, _RESET = 0, 2, 3
_POST, _CHANGED, _EMPTY = 0x02, 0x44, 0x00
_TOKEN_BYTES = 4
AGAIN_SECONDS = 3.0


class RequestRefused(Exception):
    """An answer was not 2.04 Changed."""


def post(path: str, payload: bytes, content_format: int, number: int) -> bytes:
    """A confirmable POST (3) whose message id and token are `number`; `content_format` up to 255."""
    head = bytes((0x40 | _CONFIRMABLE << 4 | _TOKEN_BYTES, _POST)) + (number & 0xFFFF).to_bytes(2, "big")
    name = path.encode()
    # Uri-Path is option 11, Content-Format is option 12 (5.10): the delta to the one before, then the length.
    options = bytes((11 << 4 | len(name),)) + name + bytes((1 << 4 | 1, content_format))
    return head + number.to_bytes(_TOKEN_BYTES, "big") + options + b"\xff" + payload


class CoapClient(asyncio.DatagramProtocol):
    """Sends prepared requests, one after the other."""

    def __init__(self, requests: Iterable[bytes]) -> None:
        self._waiting = deque(requests)
        self._transport: asyncio.DatagramTransport | None = None
        self._again: asyncio.TimerHandle | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of a kind that asyncio.DatagramTransport describes but, until Python 3.12, is no base of.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._send()

    def datagram_received(self, data: bytes, _address: tuple[str, int]) -> None:
        kind, code = data[0] >> 4 & 3, data[1]
        assert self._transport is not None
        if kind == _CONFIRMABLE:
            # A response of its own, after an empty acknowledgement (5.2.2).
            self._transport.sendto(bytes((0x40 | _ACKNOWLEDGEMENT << 4, _EMPTY)) + data[2:4])
        elif kind == _ACKNOWLEDGEMENT and code == _EMPTY:
            return
        if not self._waiting or data[4 : 4 + _TOKEN_BYTES] != self._waiting[0][4 : 4 + _TOKEN_BYTES]:
            return
        if code != _CHANGED or kind == _RESET:
            if not self.done.done():
                self.done.set_exception(RequestRefused(f"{code >> 5}.{code & 31:02}"))
            return
        self._waiting.popleft()
        self._send()

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._waiting:
            assert self._transport is not None
            self._transport.sendto(self._waiting[0])
            self._again = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._send)
        elif not self.done.done():
            self.done.set_result(None)


async def post_all(port: int, requests: Sequence[Sequence[bytes]]) -> None:
    """Each of `requests` is what one client sends; returns when all is answered. Raises RequestRefused."""
    loop = asyncio.get_running_loop()
    clients: list[CoapClient] = []
    try:
        for number, own in enumerate(requests):
            address = f"127.1.{number >> 8}.{number & 255 or 1}"
            _, client = await loop.create_datagram_endpoint(
                lambda own=own: CoapClient(own),  # type: ignore[misc]
                local_addr=(address, 0),
                remote_addr=("127.0.0.1", port),
            )
            clients.append(client)
        await asyncio.gather(*(client.done for client in clients))
    finally:
        for client in clients:
            client.close()
