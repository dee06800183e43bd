"""An HTTP/1.1 client for the benchmarks that takes little time itself, so that what is measured is the server.

Connections are kept alive and taken in turn; as many are opened as there are requests at once. It understands what
the measured servers answer with: Content-Length and chunked bodies (RFC 9112, sections 6 and 7.1). Imports nothing of
ours. The next reading is bench/matrix_client.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

PATIENCE_SECONDS = 90.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked *\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close *\r\n", re.IGNORECASE)


class AnswerFailed(Exception):
    """The connection broke, or what came is not an answer that this client understands."""


class HttpClient:
    """Use as `async with HttpClient() as http:`. One event loop, any number of requests at once, any host."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._open:
            connection.close()

    async def request(
        self, method: str, base_url: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises AnswerFailed, OSError, TimeoutError."""
        idle = self._idle.setdefault(base_url, [])
        connection = idle.pop() if idle else await self._connect(base_url)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {connection.host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, content = await connection.exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if _CLOSE.search(head):
            connection.close()
        else:
            idle.append(connection)
        return int(head[9:12]), content

    async def _connect(self, base_url: str) -> _Connection:
        address = urlsplit(base_url)
        loop = asyncio.get_running_loop()
        connection = _Connection(address.netloc)
        await loop.create_connection(lambda: connection, address.hostname, address.port)
        self._open.add(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._head_end = 0
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    def exchange(self, request: bytes) -> asyncio.Future[tuple[bytes, bytes]]:
        assert self._transport is not None
        self._received.clear()
        self._head_end = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(AnswerFailed(f"the connection ended in the middle of an answer: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._head_end:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head_end = end + 4
        head = bytes(self._received[: self._head_end])
        content = _body(head, self._received, self._head_end)
        if content is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result((head, content))


def _body(head: bytes, received: bytearray, start: int) -> bytes | None:
    """The whole body, or None while some of it is missing. Raises AnswerFailed."""
    length = _LENGTH.search(head)
    if length is not None:
        end = start + int(length[1])
        return bytes(received[start:end]) if len(received) >= end else None
    if _CHUNKED.search(head) is None:
        raise AnswerFailed(f"an answer of unknown length: {head!r}")
    content = bytearray()
    while True:
        line_end = received.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = int(received[start:line_end], 16)
        start = line_end + 2
        if len(received) < start + size + 2:
            return None
        if not size:
            return bytes(content)
        content += received[start : start + size]
        start += size + 2
