"""The MQTT link: a client of a broker that acknowledges a message only when its envelope is on disk.

QoS 1 with acknowledgements of our own making: PUBACK goes out after the commit, so a slow disk fills the in-flight
window and the broker holds the rest back. May import links.mqtt_packets, ingest's values, answers. See
docs/decisions/0003-own-mqtt-client.md for why no client library does this.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from thingroom_gateway.answers import Pending
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links import mqtt_packets as packets
from thingroom_gateway.outcomes import MAX_FRAME, Frame, FrameKind, Greeted, Outcome

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEEPALIVE = 30
CONNECT_SECONDS = 10.0
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# A message of the largest envelope, its topic and a little; beyond it a message is not held, only counted.
MAX_PACKET = MAX_FRAME + 512
OUR_INFLIGHT = 100


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect. `version` is mqtt_packets.MQTT_5 or MQTT_311; `tls` None for plain TCP."""

    host: str
    port: int
    username: str
    password: str
    version: int
    tls: ssl.SSLContext | None
    client_id: str
    shards: str
    window: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a frame came from: acknowledged there or nowhere."""

    connection: _Connection
    packet_id: int | None


class LinkDown(Exception):
    """The connection to the broker is gone or did not come about; the message says why."""


class MqttLink:
    """Owns the connection, reconnects, and what devices have not been told yet (one `Pending` a device)."""

    def __init__(self, broker: Broker, ingest: Ingest, registry: Registry, counters: Counters) -> None:
        self._broker = broker
        self._ingest = ingest
        self._registry = registry
        self._counters = counters
        self._connection: _Connection | None = None
        self._pending: dict[bytes, Pending] = {}
        self._replies: deque[Greeted] = deque(maxlen=256)
        self.connected = asyncio.Event()
        self.connected_watchers: list[Callable[[], None]] = []

    async def run(self) -> None:
        """Keep connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._session()
                failures = 0
            except LinkDown as error:
                was_up = self.connected.is_set()
                self.connected.clear()
                failures = 0 if was_up else failures + 1
                pause = BACK_OFF[min(failures, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311
                logger.warning("MQTT broker %s:%d: %s; next try in %.1f s", *self._address(), error, pause)
                await asyncio.sleep(pause)

    def _address(self) -> tuple[str, int]:
        return self._broker.host, self._broker.port

    async def _session(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._broker, self), *self._address(), ssl=self._broker.tls
                )
        except (OSError, TimeoutError) as error:
            raise LinkDown(f"cannot connect ({error or 'no answer'})") from None
        try:
            await connection.ready()
            self._connection = connection
            self.connected.set()
            logger.info("connected to the MQTT broker %s:%d", *self._address())
            for watcher in self.connected_watchers:
                watcher()
            self._pump()
            await connection.stay()
        finally:
            self._connection = None
            connection.close()

    def received(self, connection: _Connection, packet: packets.Publish) -> bool:
        """Offer a message to ingest; False if there is no room for it now."""
        kind = packet.topic[packet.topic.rfind(b"/") + 1 :]
        if kind == b"up" or kind == b"hello":
            ticket = Ticket(connection, packet.packet_id)
            frame_kind: FrameKind = "up" if kind == b"up" else "hello"
            return self._ingest.offer(Frame(frame_kind, packet.payload, "mqtt", ticket), self)
        if kind == b"status":
            self._status(packet)
        else:
            self._counters.add("mqtt.rejected.unknown_topic")
        if packet.packet_id is not None:
            connection.acknowledge((packet.packet_id,))
        return True

    def oversized(self, connection: _Connection, packet: packets.Oversized) -> None:
        self._counters.add("mqtt.rejected.too_large")
        if packet.packet_id is not None:
            connection.acknowledge((packet.packet_id,))

    def _status(self, packet: packets.Publish) -> None:
        """An unsigned hint, believed of enrolled devices only and shown to people, never acted upon."""
        parts = packet.topic.split(b"/")
        with suppress(ValueError):
            device = self._registry.get(bytes.fromhex(parts[-2].decode("ascii", "replace"))) if len(parts) > 1 else None
            if device is not None and packet.payload in (b"online", b"offline"):
                device.presence.status = packet.payload.decode()
                self._counters.add("mqtt.status")
                return
        self._counters.add("mqtt.rejected.bad_status")

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        """After the commit: PUBACKs in the order of arrival ([MQTT-4.6.0-2]), then answers, one a device."""
        connection = self._connection
        ids: list[int] = []
        for frame, outcome in settled:
            ticket = frame.ticket
            assert type(ticket) is Ticket
            if ticket.connection is connection and ticket.packet_id is not None:
                ids.append(ticket.packet_id)
            if type(outcome) is Greeted:
                self._replies.append(outcome)
            elif (kid := getattr(outcome, "kid", None)) is not None:
                pending = self._pending.get(kid)
                if pending is None:
                    pending = self._pending[kid] = Pending()
                pending.add(outcome)
        if connection is not None:
            connection.acknowledge(ids)
            self._pump()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def _pump(self) -> None:
        """Send answers while the broker takes more."""
        connection = self._connection
        while connection is not None and connection.may_publish():
            if self._replies:
                reply = self._replies.popleft()
                connection.publish(down_topic(reply.kid), reply.reply)
                continue
            kid = next(iter(self._pending), None)
            if kid is None:
                return
            pending, device = self._pending.pop(kid), self._registry.get(kid)
            if device is None:
                continue
            connection.publish(down_topic(kid), pending.take(device.row.downlink_key, kid))
            if pending:
                self._pending[kid] = pending

    def published(self) -> None:
        """The broker took an answer: there is room for the next."""
        self._pump()


def down_topic(kid: bytes) -> str:
    digits = kid.hex()
    return f"thingroom/1/{digits[0]}/{digits}/down"


def filters(shards: str) -> list[str]:
    """What to subscribe to: everything below one `+`, or each shard of its own."""
    digits = ["+"] if len(set(shards)) == 16 else sorted(set(shards))
    return [f"thingroom/1/{digit}/+/{kind}" for digit in digits for kind in ("up", "hello", "status")]


class _Connection(asyncio.Protocol):
    """One TCP connection: handshake, keep-alive, packets in and out. Paused while ingest has no room."""

    def __init__(self, broker: Broker, link: MqttLink) -> None:
        loop = asyncio.get_running_loop()
        self._broker = broker
        self._link = link
        self._reader = packets.Reader(broker.version, MAX_PACKET)
        self._held: deque[packets.Packet] = deque()
        self._transport: asyncio.Transport | None = None
        self._connack: asyncio.Future[packets.Connack] = loop.create_future()
        self._suback: asyncio.Future[packets.Suback] = loop.create_future()
        self._lost: asyncio.Future[str] = loop.create_future()
        self._writable = True
        self._inflight: set[int] = set()
        self._max_inflight = OUR_INFLIGHT
        self._next_id = 1
        self._keepalive = KEEPALIVE
        self._heard = True

    # --- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        broker = self._broker
        transport.write(
            packets.connect(
                broker.version, broker.client_id, broker.username, broker.password, KEEPALIVE, broker.window, MAX_PACKET
            )
        )

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._held.extend(self._reader.feed(data))
        except packets.MqttProtocolError as error:
            self._fail(f"the broker sent {error}")
            return
        self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost ({exc or 'closed by the broker'})")

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._link.published()

    # --- in ------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Handle packets in order; with no room in ingest, stop reading from the socket until `resume`."""
        held = self._held
        while held:
            packet = held[0]
            if type(packet) is packets.Publish:
                if not self._link.received(self, packet):
                    if self._transport is not None:
                        self._transport.pause_reading()
                    return
            else:
                self._control(packet)
            held.popleft()

    def resume(self) -> None:
        self._drain()
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _control(self, packet: packets.Packet) -> None:
        if type(packet) is packets.Puback:
            self._inflight.discard(packet.packet_id)
            self._link.published()
        elif type(packet) is packets.Oversized:
            self._link.oversized(self, packet)
        elif type(packet) is packets.Connack:
            if not self._connack.done():
                self._connack.set_result(packet)
        elif type(packet) is packets.Suback:
            if not self._suback.done():
                self._suback.set_result(packet)
        elif type(packet) is packets.Disconnect:
            self._fail(f"the broker disconnected us (reason {packet.code:#04x})")

    # --- out -----------------------------------------------------------------------------------------------------

    def acknowledge(self, packet_ids: tuple[int, ...] | list[int]) -> None:
        if packet_ids and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join([packets.puback(packet_id) for packet_id in packet_ids]))

    def may_publish(self) -> bool:
        return self._writable and len(self._inflight) < self._max_inflight and not self._lost.done()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send at QoS 1. Only after `may_publish`."""
        packet_id = self._free_id()
        self._inflight.add(packet_id)
        assert self._transport is not None
        self._transport.write(packets.publish(self._broker.version, packet_id, topic, payload))

    def _free_id(self) -> int:
        while self._next_id in self._inflight:
            self._next_id = self._next_id % 65_535 + 1
        packet_id = self._next_id
        self._next_id = self._next_id % 65_535 + 1
        return packet_id

    # --- life ----------------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait for CONNACK and SUBACK. Raises LinkDown."""
        connack = await self._expect(self._connack, "no CONNACK")
        if connack.code != 0:
            raise LinkDown(f"the broker refused us (reason {connack.code:#04x})")
        self._max_inflight = min(OUR_INFLIGHT, connack.receive_maximum)
        self._keepalive = connack.keepalive or KEEPALIVE
        assert self._transport is not None
        packet_id = self._free_id()
        self._transport.write(packets.subscribe(self._broker.version, packet_id, filters(self._broker.shards)))
        suback = await self._expect(self._suback, "no SUBACK")
        if any(code & 0x80 for code in suback.codes):
            raise LinkDown("the broker refused the subscription: what may this user read?")

    async def _expect(self, answer: asyncio.Future[T], otherwise: str) -> T:
        await asyncio.wait((answer, self._lost), timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise LinkDown(self._lost.result() if self._lost.done() else otherwise)

    async def stay(self) -> None:
        """Ping now and then; raises LinkDown when the connection is over."""
        assert self._transport is not None
        while True:
            self._heard = False
            self._transport.write(packets.PINGREQ)
            await asyncio.wait((self._lost,), timeout=self._keepalive / 2)
            if self._lost.done():
                raise LinkDown(self._lost.result())
            if not self._heard and self._transport.is_reading():
                raise LinkDown("the broker fell silent")

    def _fail(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packets.DISCONNECT)
            self._transport.close()
        if not self._lost.done():
            self._lost.set_result("closed")
