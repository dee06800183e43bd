"""MQTT 3.1.1 client over asyncio streams, as far as a node needs it: QoS 1 up, one subscription, a will.

A publication is kept until its PUBACK and goes out again, marked as a repeat, when the next connection continues the
session. Silence of the broker is found by ping and by PUBACKs that stay away. The bytes are mqtt_packets.py's business,
topics those of docs/wire_format.md, "Transports".
"""

import asyncio
import socket

from thingroom_node.links import LinkError, mqtt_packets
from thingroom_node.links.sockets import forget_address, open_socket, within

CONNECT_MS = 10_000
WRITE_MS = 10_000
KEEPALIVE_S = 60
PING_AFTER_MS = KEEPALIVE_S * 500
PONG_MS = 10_000
PUBACK_MS = 30_000
IN_FLIGHT = 24
READ_BYTES = 1024

CONNACK_REASONS = {
    1: "unacceptable_protocol",
    2: "client_id_refused",
    3: "broker_unavailable",
    4: "bad_user_or_password",
    5: "not_authorised",
}


class MqttLink:
    """A node's connection to its broker; the object outlives reconnects.

    `uptime` is a callable for monotonic milliseconds. With `pairing` the session is clean, without will and status.
    """

    def __init__(self, host, port, kid, username, password, on_answer, uptime, pairing=False):
        self._host = host
        self._port = port
        self._kid = kid
        self._username = username
        self._password = password
        self._on_answer = on_answer
        self._uptime = uptime
        self._pairing = pairing
        self._base = "thingroom/1/{}/{}/".format(kid[0], kid)
        self._socket = None
        self._stream = None
        self._reader = None
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._in_flight = {}
        self._awaited = None
        self._last_id = 0
        self._last_written = 0
        self._pinged_at = None
        self.ignored = 0

    async def connect(self):
        """Connect, go on with the session, subscribe, say that we are there. Raises LinkError."""
        self.close()
        try:
            await within(CONNECT_MS, self._connect(), "connect_timeout")
        except LinkError:
            forget_address(self._host, self._port, socket.SOCK_STREAM)
            self.close()
            raise
        if not self._pairing:
            await self._publish("status", b"online", retain=True)

    async def serve(self):
        """Take what the broker sends and keep the connection alive. Ends with a LinkError, never returns."""
        while True:
            now = self._uptime()
            self._check_patience(now)
            if self._pinged_at is None and now - self._last_written >= PING_AFTER_MS:
                self._pinged_at = now
                await self._write(mqtt_packets.PINGREQ)
            try:
                data = await asyncio.wait_for_ms(self._stream.read(READ_BYTES), self._patience_ms(self._uptime()))
            except asyncio.TimeoutError:
                continue
            except OSError:
                raise LinkError("connection_reset")
            await self._take(data)

    async def send_envelope(self, data):
        """Publish an envelope; returns when it is written, the broker may still be silent. Raises LinkError."""
        await self._publish("up", data)

    async def send_hello(self, data):
        """Publish a hello; its answer comes through `on_answer`. Raises LinkError."""
        await self._publish("hello", data)

    async def send_ask(self, data):
        """Publish a question for a block of an update. Raises LinkError."""
        await self._publish("ask", data)

    def close(self):
        """Drop the connection; the broker then publishes the will. Publications without PUBACK are kept."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._stream = self._reader = None

    async def leave(self):
        """Close in good order, without the will."""
        await self._write(mqtt_packets.DISCONNECT)
        self.close()

    async def _connect(self):
        self._socket = open_socket(self._host, self._port, socket.SOCK_STREAM)
        self._stream = asyncio.StreamReader(self._socket)
        self._reader = mqtt_packets.PacketReader()
        self._pinged_at = None
        will = None if self._pairing else (self._base + "status", b"offline")
        await self._write(mqtt_packets.connect(self._kid, self._username, self._password, KEEPALIVE_S, will))
        self._awaited = mqtt_packets.Connack
        connack = await self._take_awaited()
        if connack.code:
            raise LinkError(CONNACK_REASONS[connack.code])
        await self._repeat(connack.session_present)
        packet_id = self._new_id()
        self._awaited = mqtt_packets.Suback
        await self._write(mqtt_packets.subscribe(packet_id, self._base + "down"))
        suback = await self._take_awaited()
        if suback.packet_id != packet_id or suback.codes == b"\x80":
            raise LinkError("subscription_refused")

    async def _take_awaited(self):
        """Take packets until the awaited one is among them. What a known session has waiting comes right with it."""
        while isinstance(self._awaited, type):
            await self._take(await self._stream.read(READ_BYTES))
        return self._awaited

    async def _repeat(self, session_present):
        """4.4: send what has no PUBACK again; to a broker that knows the session it is a repeat.

        Hellos and the status are not: fresh ones follow.
        """
        now = self._uptime()
        for packet_id in sorted(self._in_flight):
            leaf, payload, _ = self._in_flight[packet_id]
            if leaf != "up":
                del self._in_flight[packet_id]
                continue
            self._in_flight[packet_id] = (leaf, payload, now)
            await self._write(mqtt_packets.publish(self._base + leaf, payload, packet_id, dup=session_present))

    async def _publish(self, leaf, payload, retain=False):
        for _, known, _ in self._in_flight.values():
            if known == payload:
                # Its PUBACK is still to come, or the next connection repeats it.
                return
        while len(self._in_flight) >= IN_FLIGHT:
            self._room.clear()
            await self._room.wait()
        packet_id = self._new_id()
        self._in_flight[packet_id] = (leaf, payload, self._uptime())
        await self._write(mqtt_packets.publish(self._base + leaf, payload, packet_id, retain))

    def _new_id(self):
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._in_flight:
                return self._last_id

    async def _write(self, data):
        async with self._writing:
            if self._stream is None:
                raise LinkError("closed")
            self._last_written = self._uptime()
            try:
                self._stream.write(data)
            except OSError:
                raise LinkError("connection_reset")
            await within(WRITE_MS, self._stream.drain(), "write_timeout")

    def _parse(self, data):
        if not data:
            raise LinkError("closed_by_broker")
        try:
            return self._reader.feed(data)
        except mqtt_packets.PacketError as error:
            raise LinkError(error.reason)

    async def _take(self, data):
        self._pinged_at = None
        for packet in self._parse(data):
            await self._handle(packet)

    async def _handle(self, packet):
        if isinstance(self._awaited, type) and isinstance(packet, self._awaited):
            self._awaited = packet
        elif self._awaited is mqtt_packets.Connack:
            raise LinkError("packet_before_connack")
        elif isinstance(packet, mqtt_packets.Publish):
            if packet.topic == self._base + "down":
                self._on_answer(packet.payload)
            else:
                self.ignored += 1
            if packet.qos:
                await self._write(mqtt_packets.puback(packet.packet_id))
        elif isinstance(packet, mqtt_packets.Puback):
            self._in_flight.pop(packet.packet_id, None)
            self._room.set()
        elif not isinstance(packet, mqtt_packets.Pingresp):
            raise LinkError("unexpected_packet")

    def _check_patience(self, now):
        if self._pinged_at is not None and now - self._pinged_at >= PONG_MS:
            raise LinkError("ping_timeout")
        if self._in_flight and now - self._oldest_in_flight() >= PUBACK_MS:
            raise LinkError("puback_timeout")

    def _patience_ms(self, now):
        """Until when a silent broker is fine."""
        if self._pinged_at is not None:
            until = self._pinged_at + PONG_MS
        else:
            until = self._last_written + PING_AFTER_MS
        if self._in_flight:
            until = min(until, self._oldest_in_flight() + PUBACK_MS)
        return max(1, until - now)

    def _oldest_in_flight(self):
        return min(entry[2] for entry in self._in_flight.values())
