"""One connection to an MQTT broker: paho-mqtt's client, driven by the asyncio loop through its external-loop interface.

paho speaks the protocol. Here are the socket's readiness, the order of acknowledgements, the pause while ingest has no
room, and the end. A client serves one connection and goes with it, so nothing of one connection reaches the next. May
import paho and the standard library; mqtt.py holds these connections.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

KEEPALIVE: Final = 15
# How long the broker may take for each of: the TCP connection, the TLS handshake, the log-in with the subscription.
CONNECT_SECONDS: Final = 5.0
# How often paho looks after its keep-alive.
MISC_SECONDS: Final = 1.0
# One turn of the loop reads so many packets at most.
PACKETS_A_TURN: Final = 64
OUR_INFLIGHT: Final = 100
SESSION_SECONDS: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect. `tls` None for plain TCP; `window` binds a version 5 broker."""

    host: str
    port: int
    username: str
    password: str
    protocol: Literal["5", "3.1.1"]
    tls: ssl.SSLContext | None
    client_id: str
    shards: str
    window: int


@dataclass(slots=True, eq=False)
class Ticket:
    """Where a message came from: acknowledged there or nowhere."""

    connection: Connection
    message_id: int
    qos: int
    settled: bool = False


class LinkDown(Exception):
    """The connection to the broker is gone or did not come about; the message says why."""


class Receiver(Protocol):
    """Whose connection it is."""

    def received(self, message: MQTTMessage, ticket: Ticket) -> bool:
        """Take a message; False if there is no room now: it is offered again after `Connection.resume`."""

    def published(self) -> None:
        """The broker took something: there is room for more."""


class Connection:
    """`open`, then `stay` until it ends, then `close`. Everything but the connecting itself happens on the loop.

    `max_packet`: what a version 5 broker is told to send at most, in bytes.
    """

    def __init__(self, broker: Broker, filters: list[str], max_packet: int, receiver: Receiver) -> None:
        self._loop = asyncio.get_running_loop()
        self._broker = broker
        self._filters = filters
        self._max_packet = max_packet
        self._receiver = receiver
        self._client = self._new_client()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._paused = False
        # Handed over by paho and not yet taken by the receiver.
        self._held: deque[tuple[MQTTMessage, Ticket]] = deque()
        # In order of arrival, those not yet acknowledged.
        self._unacknowledged: deque[Ticket] = deque()
        self._inflight = 0
        self._max_inflight = OUR_INFLIGHT
        self._packets = 0
        self._room = False

    def _new_client(self) -> Client:
        """A client whose session outlives it, and which acknowledges nothing by itself."""
        broker = self._broker
        v5 = broker.protocol == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            broker.client_id,
            clean_session=None if v5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            # Or paho would go down to MQTT 3.1 by itself.
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if broker.username:
            client.username_pw_set(broker.username, broker.password or None)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.max_inflight_messages_set(OUR_INFLIGHT)
        client.connect_timeout = CONNECT_SECONDS
        return client

    # --- life ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, log in and subscribe. Raises LinkDown."""
        try:
            await self._connect()
        except (OSError, ValueError) as error:
            raise LinkDown(f"cannot connect ({error or 'no answer'})") from None
        client, sock = self._client, self._client.socket()
        if sock is None or client.want_write():
            raise LinkDown("cannot connect (the first packet did not go out)")
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # From here on paho calls us, and all of it on the loop.
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_socket_register_write
        client.on_socket_unregister_write = self._on_socket_unregister_write
        self._loop.add_reader(sock, self._readable)
        while not self._subscribed.done():
            waiting = (self._subscribed, self._lost)
            await asyncio.wait(waiting, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise LinkDown(self._lost.result())
            # What waited for us at the broker may come before its answer, and fill ingest.
            if not self._subscribed.done() and not self._paused:
                raise LinkDown("the broker did not answer")

    async def _connect(self) -> None:
        """paho's connecting blocks, so a thread does it. A daemon: what hangs there does not hold up our end."""
        connected: asyncio.Future[None] = self._loop.create_future()

        def finish(error: Exception | None) -> None:
            if connected.cancelled():
                self._client.disconnect()
            elif error is not None:
                connected.set_exception(error)
            else:
                connected.set_result(None)

        def connect() -> None:
            error: Exception | None = None
            try:
                self._client.connect(self._broker.host, self._broker.port, KEEPALIVE, **self._v5_options())
            except Exception as raised:
                error = raised
            # RuntimeError: the loop is closed, and the process about to end.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(finish, error)

        threading.Thread(target=connect, name="mqtt connect", daemon=True).start()
        await connected

    def _v5_options(self) -> dict[str, Any]:
        """For CONNECT (MQTT 5.0, section 3.1): keep our session, send at most so many at once, none larger."""
        if self._broker.protocol != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_SECONDS
        properties.ReceiveMaximum = self._broker.window
        properties.MaximumPacketSize = self._max_packet
        return {"clean_start": False, "properties": properties}

    async def stay(self) -> None:
        """Keep alive; raises LinkDown when the connection is over."""
        while not self._lost.done():
            self._client.loop_misc()
            await asyncio.wait((self._lost,), timeout=MISC_SECONDS)
        raise LinkDown(self._lost.result())

    def close(self) -> None:
        """Say goodbye after what is still to be sent, and close."""
        self._lose("closed")
        client, sock = self._client, self._client.socket()
        if sock is None:
            return
        client.disconnect()
        client.loop_write()
        if client.socket() is not None:
            # The broker does not read. paho closes its socket when it cannot write at all.
            with suppress(OSError):
                assert isinstance(sock, socket.socket)
                sock.shutdown(socket.SHUT_RDWR)
            client.loop_write()

    def _lose(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)

    # --- the socket ----------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """Read until the socket runs dry, this turn's share is used up, or the receiver has no room."""
        client = self._client
        for _ in range(PACKETS_A_TURN):
            before = self._packets
            client.loop_read()
            self._drain()
            if self._paused or self._packets == before:
                break
        if self._room:
            self._room = False
            self._receiver.published()
        sock = client.socket()
        if isinstance(sock, ssl.SSLSocket) and not self._paused and sock.pending():
            # Decrypted already: the selector does not see it.
            self._loop.call_soon(self._readable)

    def _drain(self) -> None:
        """Hand over what paho handed to us; with no room at the receiver, stop reading from the socket."""
        held = self._held
        while held:
            if not self._receiver.received(*held[0]):
                self._pause()
                return
            held.popleft()

    def _pause(self) -> None:
        sock = self._client.socket()
        if not self._paused and sock is not None:
            self._paused = True
            self._loop.remove_reader(sock)

    def resume(self) -> None:
        """The receiver has room again."""
        self._paused = False
        self._drain()
        sock = self._client.socket()
        if not self._paused and sock is not None:
            self._loop.add_reader(sock, self._readable)
            self._loop.call_soon(self._readable)

    def _on_socket_close(self, _client: Client, _userdata: object, sock: Any) -> None:
        self._loop.remove_reader(sock)

    def _on_socket_register_write(self, client: Client, _userdata: object, sock: Any) -> None:
        self._loop.add_writer(sock, client.loop_write)

    def _on_socket_unregister_write(self, _client: Client, _userdata: object, sock: Any) -> None:
        self._loop.remove_writer(sock)

    # --- what paho tells: noted only, for paho's locks are held meanwhile -----------------------------------------

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._packets += 1
        if code.is_failure:
            self._lose(f"the broker refused us ({code})")
            return
        self._max_inflight = min(OUR_INFLIGHT, getattr(properties, "ReceiveMaximum", OUR_INFLIGHT))
        client.subscribe([(topic_filter, 1) for topic_filter in self._filters])

    def _on_subscribe(
        self, _client: Client, _userdata: object, _id: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._packets += 1
        if any(code.is_failure for code in codes):
            self._lose("the broker refused the subscription: what may this user read?")
        elif not self._subscribed.done():
            self._subscribed.set_result(None)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._packets += 1
        ticket = Ticket(self, message.mid, message.qos)
        self._unacknowledged.append(ticket)
        self._held.append((message, ticket))

    def _on_publish(
        self, _client: Client, _userdata: object, _id: int, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._packets += 1
        self._inflight -= 1
        self._room = True

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        self._lose(f"the broker disconnected us ({code})" if by_broker else f"connection lost ({code})")

    # --- out -----------------------------------------------------------------------------------------------------

    def acknowledge(self, ticket: Ticket) -> None:
        """PUBACK goes out in the order of arrival ([MQTT-4.6.0-2]): once all that came before are settled, too."""
        ticket.settled = True
        waiting = self._unacknowledged
        while waiting and waiting[0].settled:
            first = waiting.popleft()
            if not self._lost.done():
                self._client.ack(first.message_id, first.qos)

    def subscribe(self, filters: list[str]) -> None:
        """Subscribe to more, after `open`; a refusal ends the connection."""
        if filters and not self._lost.done():
            self._client.subscribe([(topic_filter, 1) for topic_filter in filters])

    def may_publish(self) -> bool:
        return self._subscribed.done() and not self._lost.done() and self._inflight < self._max_inflight

    def publish(self, topic: str, payload: bytes) -> None:
        """Send at QoS 1. Only after `may_publish`."""
        if self._client.publish(topic, payload, qos=1).rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._inflight += 1
