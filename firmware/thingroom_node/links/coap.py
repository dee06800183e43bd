"""CoAP client (RFC 7252) over a non-blocking UDP socket: confirmable requests, one at a time (NSTART 1, 4.7).

Retransmission is exponential with jitter (4.2); responses come with the acknowledgement or apart from it (5.2.1, 5.2.2)
and are matched by address, message id and token (5.3.2). The socket is connected, so only the gateway's address is
heard. With its hello the node observes /down (RFC 7641), so that commands reach it unasked, and says now and then that
it is there, which also keeps its way through a router open. Datagrams are coap_message.py's business. Answers are
verified elsewhere: a response code alone is only a hint.
"""

import asyncio
import errno
import os
import socket

from thingroom_node.links import LinkError, Refused, coap_message, sockets

ACK_TIMEOUT_MS = 2000
MAX_RETRANSMIT = 4
SEPARATE_MS = 60_000
MAX_PAUSE_MS = 300_000
REMEMBERED = 8
KEEP_OPEN_MS = 55_000
CHECK_MS = 5_000

COSE_SIGN1 = 18
COSE_MAC0 = 17

NOT_FOUND = 4 << 5 | 4
SERVICE_UNAVAILABLE = 5 << 5 | 3
MAX_WHOLE = 8192


class _Exchange:
    """A request under way. `changed` is set on an acknowledgement, a reset or a response."""

    def __init__(self, message_id, token):
        self.message_id = message_id
        self.token = token
        self.changed = asyncio.Event()
        self.acknowledged = False
        self.was_reset = False
        self.failure = None
        self.response = None


class CoapLink:
    """A node's way to the gateway's CoAP endpoint. `random_below(n)` returns an integer from 0 to n-1."""

    def __init__(self, host, port, on_answer, random_below, ack_timeout_ms=ACK_TIMEOUT_MS, keep_open_ms=KEEP_OPEN_MS):
        self._host = host
        self._port = port
        self._on_answer = on_answer
        self._random_below = random_below
        self._ack_timeout_ms = ack_timeout_ms
        self._socket = None
        self._stream = None
        self._one_at_a_time = asyncio.Lock()
        self._exchange = None
        self._message_id = random_below(65536)
        self._acknowledged = []
        self._keep_open_ms = keep_open_ms
        # The token of the observation of /down, None for none; what ended it; what came with its last notification.
        self._observed = None
        self._failure = None
        self._notified = None
        self._is_quiet = True
        self.ignored = 0

    async def connect(self):
        """Open the socket and ping the gateway (4.3). Raises LinkError."""
        self.close()
        self._observed = self._failure = self._notified = None
        host, port = await sockets.locate(self._host, self._port, "_udp")
        self._socket = sockets.open_socket(host, port, socket.SOCK_DGRAM)
        self._stream = asyncio.StreamReader(self._socket)
        exchange = self._begin(b"")
        listening = asyncio.create_task(self._listen(exchange))
        try:
            await self._transmit(exchange, coap_message.empty(coap_message.CON, exchange.message_id))
        except LinkError:
            sockets.forget_address(self._host, self._port, socket.SOCK_DGRAM)
            self.close()
            raise
        finally:
            self._exchange = None
            listening.cancel()

    async def serve(self):
        """Take what the gateway sends. Ends with a LinkError, never returns."""
        keeping = asyncio.create_task(self._keep_open())
        try:
            while True:
                self._take(await self._receive())
        finally:
            keeping.cancel()

    async def _keep_open(self):
        """While nothing else is sent, ask now and then whether the gateway still knows of the observation."""
        try:
            while True:
                await asyncio.sleep_ms(self._keep_open_ms)
                was_quiet, self._is_quiet = self._is_quiet, True
                if self._observed is not None and was_quiet:
                    response = await self._converse(coap_message.GET, "down", None, b"", None)
                    if response.code >> 5 != 2:
                        raise LinkError("not_observed")
        except LinkError as error:
            self._failure = error

    async def send_envelope(self, data):
        """POST an envelope; its answer has gone to `on_answer` on return. Raises LinkError, Refused."""
        await self._post("up", COSE_SIGN1, data)

    async def send_hello(self, data):
        """Say hello (a COSE_Mac0 when pairing), as `send_envelope`; but for pairing it observes the way down, too."""
        if data[0] == 0xD1:
            await self._post("hello", COSE_MAC0, data)
            return
        token = os.urandom(4)
        # What comes under it before its response is looked at is a notification already.
        self._observed = token
        response = await self._converse(coap_message.FETCH, "down", COSE_SIGN1, data, 0, token)
        if coap_message.option_uint(response, coap_message.OBSERVE) is None:
            self._observed = None
        if response.code == NOT_FOUND:
            # A gateway that has no such door.
            await self._post("hello", COSE_SIGN1, data)
            return
        self._conclude(response, await self._whole(response))

    async def send_ask(self, data):
        """POST a question for a block of an update; as `send_envelope`."""
        await self._post("ask", COSE_MAC0, data)

    def close(self):
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._stream = None

    async def leave(self):
        """Close in good order: there is nobody to tell."""
        self.close()

    async def _post(self, path, content_format, payload):
        response = await self._converse(coap_message.POST, path, content_format, payload, None)
        self._conclude(response, response.payload)

    async def _converse(self, code, path, content_format, payload, observe, token=None, block=None):
        """Send a request and return its response. Raises LinkError."""
        async with self._one_at_a_time:
            exchange = self._begin(token or os.urandom(4))
            request = coap_message.request(
                code, exchange.message_id, exchange.token, path, content_format, payload, observe, block
            )
            try:
                await self._transmit(exchange, request)
                if exchange.response is None and not exchange.was_reset:
                    # The acknowledgement may have come after its waiting had timed out, and be noted still.
                    exchange.changed.clear()
                    await self._changed(exchange, SEPARATE_MS)
            finally:
                self._exchange = None
        if exchange.was_reset:
            raise LinkError("reset_by_gateway")
        if exchange.response is None:
            raise LinkError("no_response")
        return exchange.response

    async def _whole(self, first):
        """The payload that begins with `first`, its further blocks fetched (RFC 7959); None if it changed meanwhile."""
        payload, found = first.payload, first
        while (block := coap_message.option_uint(found, coap_message.BLOCK2)) is not None and block & 8:
            number = (block >> 4) + 1
            found = await self._converse(coap_message.GET, "down", None, b"", None, block=number << 4 | block & 7)
            is_next = coap_message.option_uint(found, coap_message.BLOCK2)
            if is_next is None or is_next >> 4 != number or _etag(found) != _etag(first):
                return None
            payload += found.payload
            if len(payload) > MAX_WHOLE:
                return None
        return payload

    async def _take_rest(self, first):
        """A notification that came in blocks."""
        try:
            whole = await self._whole(first)
        except LinkError:
            # The link is ending, or the gateway will send it again.
            return
        if whole is not None:
            self._on_answer(whole)

    def _conclude(self, response, payload):
        if payload is None:
            raise LinkError("changed_in_blocks")
        if payload and response.code >> 5 == 2:
            self._on_answer(payload)
        if response.code == SERVICE_UNAVAILABLE:
            seconds = coap_message.option_uint(response, coap_message.MAX_AGE)
            pause_ms = MAX_PAUSE_MS if seconds is None else min(seconds * 1000, MAX_PAUSE_MS)
            raise LinkError("gateway_unavailable", pause_ms)
        if response.code >> 5 != 2:
            raise Refused(coap_message.code_text(response.code))

    def _begin(self, token):
        self._message_id = (self._message_id + 1) & 0xFFFF
        self._exchange = _Exchange(self._message_id, token)
        return self._exchange

    async def _transmit(self, exchange, message):
        """4.2: send until acknowledged. Raises LinkError after the last repeat."""
        datagram = coap_message.encode(message)
        timeout = self._ack_timeout_ms + self._random_below(self._ack_timeout_ms // 2 + 1)
        for _ in range(MAX_RETRANSMIT + 1):
            self._send(datagram)
            await self._changed(exchange, timeout)
            if exchange.failure is not None:
                raise exchange.failure
            if exchange.acknowledged:
                return
            timeout *= 2
        raise LinkError("no_acknowledgement")

    async def _changed(self, exchange, milliseconds):
        """Wait for something to happen to `exchange`, or for the time to be over."""
        try:
            await asyncio.wait_for_ms(exchange.changed.wait(), milliseconds)
        except asyncio.TimeoutError:
            return
        exchange.changed.clear()

    async def _listen(self, exchange):
        """Take datagrams while `connect` waits; a failure ends the waiting at once."""
        try:
            await self.serve()
        except LinkError as error:
            exchange.failure = error
            exchange.changed.set()

    async def _receive(self):
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                # A stream's read would run datagrams together: it only waits here, and `recv` takes exactly one.
                await asyncio.wait_for_ms(self._stream.read(0), CHECK_MS)
            except asyncio.TimeoutError:
                continue
            try:
                return self._socket.recv(coap_message.MAX_MESSAGE + 1)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise LinkError(sockets.reason_of(error))

    def _send(self, datagram):
        if self._socket is None:
            raise LinkError("closed")
        self._is_quiet = False
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise LinkError(sockets.reason_of(error))

    def _take(self, datagram):
        try:
            message = coap_message.parse(datagram)
        except coap_message.MessageError as error:
            self.ignored += 1
            if error.message_id is not None and datagram[0] >> 4 & 3 == coap_message.CON:
                self._send(coap_message.encode(coap_message.empty(coap_message.RST, error.message_id)))
            return
        if message.kind in (coap_message.ACK, coap_message.RST):
            self._take_reply(message)
        else:
            self._take_separate(message)

    def _take_reply(self, message):
        exchange = self._exchange
        if exchange is None or message.message_id != exchange.message_id:
            self.ignored += 1
            return
        if message.kind == coap_message.RST:
            exchange.was_reset = True
        elif message.code != coap_message.EMPTY:
            if not _is_response(message, exchange):
                self.ignored += 1
                return
            exchange.response = message
        elif exchange.acknowledged:
            # A repeat: it brings nothing, and must not end the waiting for the response.
            return
        exchange.acknowledged = True
        exchange.changed.set()

    def _take_separate(self, message):
        exchange = self._exchange
        confirmable = message.kind == coap_message.CON
        if exchange is not None and _is_response(message, exchange):
            # The response stands for the acknowledgement too, which may have been lost (5.2.2).
            exchange.response = message
            exchange.acknowledged = True
            exchange.changed.set()
            if confirmable:
                self._remember(message.message_id)
        elif self._observed is not None and message.token == self._observed:
            self._take_notification(message)
        elif not confirmable or message.message_id not in self._acknowledged:
            self.ignored += 1
            if confirmable:
                self._send(coap_message.encode(coap_message.empty(coap_message.RST, message.message_id)))
            return
        if confirmable:
            self._send(coap_message.encode(coap_message.empty(coap_message.ACK, message.message_id)))

    def _take_notification(self, message):
        """Something comes down unasked. A repeat is acknowledged again, and brings nothing."""
        if message.message_id in self._acknowledged:
            return
        self._remember(message.message_id)
        if message.code >> 5 != 2 or coap_message.has_unknown_critical(message):
            # The gateway ends the observation: ask again for it.
            self._observed = None
            self._failure = LinkError("not_observed")
        elif (coap_message.option_uint(message, coap_message.BLOCK2) or 0) & 8:
            self._notified = asyncio.create_task(self._take_rest(message))
        else:
            self._on_answer(message.payload)

    def _remember(self, message_id):
        """Its acknowledgement may be lost, and then the same response comes again (4.5)."""
        self._acknowledged.append(message_id)
        if len(self._acknowledged) > REMEMBERED:
            del self._acknowledged[0]


def _is_response(message, exchange):
    return (
        message.code >> 5 >= 2
        and bool(exchange.token)
        and message.token == exchange.token
        and not coap_message.has_unknown_critical(message)
    )


def _etag(message):
    for number, value in message.options:
        if number == coap_message.ETAG:
            return value
    return None
