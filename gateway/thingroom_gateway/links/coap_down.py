"""The way down over CoAP: a device observes /down, and gets answers and commands without asking for each.

FETCH (RFC 8132) with Observe (RFC 7641) and a signed hello as the body: whoever cannot sign as the device observes
nothing of it. What is larger than a block goes out block-wise (RFC 7959), the rest for a GET of the same remote. May
import aiocoap, coap_latest's blocks. links/coap.py has the hello judged; commands/queue.py sends through `Down.send`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiocoap.interfaces
import aiocoap.resource
from aiocoap import Code, Message
from aiocoap.numbers.constants import Reliable
from aiocoap.optiontypes import BlockOption

COSE_SIGN1, COSE_MAC0 = 18, 17
# 1024 bytes (RFC 7959, 2.2): with its headers that fits into a datagram that nobody has to split.
BLOCK: Final = 6
BLOCK_BYTES: Final = 1 << (BLOCK + 4)
# What waits for one device that has not acknowledged the last; then it has to ask.
MAX_WAITING: Final = 8


@dataclass(frozen=True, slots=True)
class Registered:
    """A device may observe: `reply` answers its hello, said at the uptime (ms) of the boot in `moment`."""

    kid: bytes
    reply: bytes
    moment: tuple[int, int]


@dataclass(eq=False, slots=True)
class _Channel:
    """One observation. `current` is what the remote may still be fetching blocks of."""

    remote: Any
    moment: tuple[int, int]
    waiting: deque[bytes] = field(default_factory=deque)
    current: bytes = b""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: bool = False


Judge = Callable[[Message], Awaitable[Registered | Message]]


class Down(aiocoap.resource.Resource):  # type: ignore[misc]
    """/down. `judge` takes a request with a hello and says who it is, or what to refuse it with.

    `is_busy` says of a remote that it owes an acknowledgement; `most` is how many observations there may be.
    """

    def __init__(self, judge: Judge, is_busy: Callable[[Any], bool], most: int) -> None:
        super().__init__()
        self._judge = judge
        self._is_busy = is_busy
        self._most = most
        self._channels: dict[bytes, _Channel] = {}
        # Also of those who have gone: an old hello, sent again by somebody else, opens nothing.
        self._moments: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def send(self, kid: bytes, data: bytes) -> bool:
        """Send `data` down to the device `kid`; False if it does not observe, or is slow to acknowledge."""
        channel = self._channels.get(kid)
        if channel is None or len(channel.waiting) >= MAX_WAITING or self._is_busy(channel.remote):
            return False
        channel.waiting.append(data)
        channel.wake.set()
        return True

    def close(self, kid: bytes) -> None:
        """The device may not speak any more."""
        channel = self._channels.get(kid)
        if channel is not None:
            channel.replaced = True
            channel.wake.set()

    # --- what aiocoap calls --------------------------------------------------------------------------------------

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        return False

    async def render_to_pipe(self, pipe: Any) -> None:
        """FETCH with Observe stays until the remote loses interest: aiocoap then cancels this. Else as any resource."""
        request = pipe.request
        if request.code != Code.FETCH or request.opt.observe != 0:
            await aiocoap.interfaces.Resource._render_to_pipe(self, pipe)
            return
        found = await self._judge(request)
        if isinstance(found, Message):
            pipe.add_response(found, is_last=True)
            return
        channel = self._open(found, request.remote)
        response = self._message(channel, found.reply) if channel else _plain(found.reply)
        if channel is None:
            pipe.add_response(response, is_last=True)
            return
        try:
            number = 0
            while True:
                response.opt.observe = number
                pipe.add_response(response, is_last=False)
                number += 1
                while not channel.waiting:
                    if channel.replaced:
                        pipe.add_response(Message(code=Code.SERVICE_UNAVAILABLE), is_last=True)
                        return
                    channel.wake.clear()
                    await channel.wake.wait()
                response = self._message(channel, channel.waiting.popleft())
        finally:
            if self._channels.get(found.kid) is channel:
                del self._channels[found.kid]

    def _open(self, found: Registered, remote: Any) -> _Channel | None:
        """The channel of a device that has just said hello; None if there is no room, or the hello is an old one."""
        before = self._channels.get(found.kid)
        last = self._moments.get(found.kid)
        if last is not None and (found.moment < last or (found.moment == last and before is None)):
            return None
        if before is None and len(self._channels) >= self._most:
            return None
        if before is not None:
            before.replaced = True
            before.wake.set()
        self._moments[found.kid] = found.moment
        channel = self._channels[found.kid] = _Channel(remote, found.moment)
        return channel

    def _message(self, channel: _Channel, data: bytes) -> Message:
        """The response with `data`, or with the first block of it. Confirmable: who is not there observes no more."""
        channel.current = data
        response = _block(data, 0)
        response.transport_tuning = Reliable
        return response

    async def render_fetch(self, request: Message) -> Message:
        """Without Observe it is a hello as any."""
        found = await self._judge(request)
        return found if isinstance(found, Message) else _plain(found.reply)

    async def render_get(self, request: Message) -> Message:
        """A further block of what was sent to this remote last; or, without a block, whether it observes still."""
        block = request.opt.block2
        mine = next((channel for channel in self._channels.values() if channel.remote == request.remote), None)
        if mine is None:
            return Message(code=Code.FORBIDDEN)
        if block is None:
            return Message(code=Code.VALID)
        if block.size_exponent != BLOCK or block.start >= len(mine.current):
            return Message(code=Code.REQUEST_ENTITY_INCOMPLETE)
        return _block(mine.current, block.block_number)


def _block(data: bytes, number: int) -> Message:
    start = number * BLOCK_BYTES
    response = _plain(data[start : start + BLOCK_BYTES])
    if len(data) > BLOCK_BYTES:
        more = start + BLOCK_BYTES < len(data)
        response.opt.block2 = BlockOption.BlockwiseTuple(number, more, BLOCK)
        response.opt.etag = hashlib.sha256(data).digest()[:8]
    return response


def _plain(data: bytes) -> Message:
    return Message(code=Code.CONTENT, payload=data, content_format=COSE_MAC0)
