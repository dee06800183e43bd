"""The cable between a board and the gateway: a TCP port that the gateway's pyserial opens, which stays when boards go.

As with a USB adapter, the port is there whether the board has power or not; what is sent meanwhile is lost. A test may
break the cable and mend it. May import nothing of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

READ_BYTES = 4096


class Wire:
    """`async with Wire() as wire`: `url` is for `[gateway.serial] ports`; a board plugs its own end in."""

    def __init__(self) -> None:
        self.is_broken = False
        self.url = ""
        self.lost_bytes = 0
        self._server: asyncio.Server | None = None
        self._gateways: set[asyncio.StreamWriter] = set()
        self._board: asyncio.StreamWriter | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._let_go: Callable[[], object] = lambda: None

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._from_gateway, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"socket://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.unplug()
        assert self._server is not None
        self._server.close()
        for writer in self._gateways:
            writer.close()
        await self._server.wait_closed()

    def plug(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, let_go: Callable[[], object] = lambda: None
    ) -> None:
        """Connect the board's end; `let_go` is called when it is taken out again."""
        self._board = writer
        self._let_go = let_go
        self._carrying = asyncio.create_task(self._from_board(reader))

    async def unplug(self) -> None:
        """Take the board's end out; harmless when there is none."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._carrying is not None:
            self._carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._carrying
            self._carrying = None
            self._let_go()

    def _put(self, writer: asyncio.StreamWriter | None, data: bytes) -> None:
        if writer is None or self.is_broken or writer.is_closing():
            self.lost_bytes += len(data)
        else:
            writer.write(data)

    async def _from_gateway(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gateways.add(writer)
        try:
            while data := await reader.read(READ_BYTES):
                self._put(self._board, data)
        except OSError:
            pass
        finally:
            self._gateways.discard(writer)
            writer.close()

    async def _from_board(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                for writer in list(self._gateways):
                    self._put(writer, data)
