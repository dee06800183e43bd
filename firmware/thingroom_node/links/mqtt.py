"""MQTT client (3.1.1 and 5) over asyncio streams, as far as a node needs it: QoS 1 up, one subscription, a will.

A publication is kept until its PUBACK and goes out again, marked as a repeat, when the next connection continues the
session. Silence of the broker is found by ping and by PUBACKs that stay away. The bytes are mqtt_packets.py's business
or, for MQTT 5, mqtt5_packets.py's, topics those of docs/wire_format.md, "Transports".
"""

import asyncio
import socket

from thingroom_node.links import LinkError, Refused, mqtt_packets
from thingroom_node.links.sockets import forget_address, locate, open_socket, reason_of, within
from thingroom_node.memory import unload

CONNECT_MS = 10_000
WRITE_MS = 10_000
KEEPALIVE_S = 60
PING_AFTER_MS = KEEPALIVE_S * 500
PONG_MS = 10_000
PUBACK_MS = 30_000
IN_FLIGHT = 24
READ_BYTES = 1024


class MqttLink:
    """A node's connection to its broker; the object outlives reconnects.

    `uptime` is a callable for monotonic milliseconds. With `pairing` the session is clean, without will and status.
    `version` is "3.1.1", "5" or "auto": 5, and 3.1.1 once a broker does not know it. `ca` vouches for the broker: a
    path or PEM (see tls.py); None: no TLS.
    """

    def __init__(self, host, port, kid, username, password, on_answer, uptime, pairing=False, version="3.1.1", ca=None):
        self._host = host
        self._port = port
        self._kid = kid
        self._username = username
        self._password = password
        self._on_answer = on_answer
        self._uptime = uptime
        self._pairing = pairing
        self._is_auto = version == "auto"
        self._ca = ca
        self._choose_version(version != "3.1.1")
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
            if self._is_auto and self._awaited is self._packets.Connack:
                # Brokers that do not know the version may also just close, or stay silent.
                self._choose_version(self._packets is mqtt_packets)
            raise
        if not self._pairing:
            await self._publish("status", b"online", retain=True)

    async def serve(self):
        """Take what the broker sends and keep the connection alive. Ends with a LinkError, never returns."""
        while True:
            now = self._uptime()
            self._check_patience(now)
            if self._pinged_at is None and now - self._last_written >= self._ping_after:
                self._pinged_at = now
                await self._write(mqtt_packets.PINGREQ)
            try:
                data = await asyncio.wait_for_ms(self._read(), self._patience_ms(self._uptime()))
            except asyncio.TimeoutError:
                continue
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

    def _choose_version(self, is_5):
        self._packets = mqtt_packets
        self._limits(IN_FLIGHT, None, None)
        if is_5:
            from thingroom_node.links import mqtt5_packets

            self._packets = mqtt5_packets
        else:
            unload("thingroom_node.links.mqtt5_packets")

    def _limits(self, receive_maximum, max_packet, keepalive):
        """What the broker can take: publications under way, bytes of a packet (None: any), seconds of silence."""
        self._in_flight_limit = min(IN_FLIGHT, receive_maximum)
        self._max_packet = max_packet
        self._ping_after = min(PING_AFTER_MS, keepalive * 500) if keepalive else PING_AFTER_MS

    async def _connect(self):
        self._awaited = None
        self._pinged_at = None
        host, port = await locate(self._host, self._port, "_tcp")
        self._socket = open_socket(host, port, socket.SOCK_STREAM)
        if self._ca is not None:
            from thingroom_node.links import tls

            self._socket = await tls.wrap(self._socket, self._host, self._ca)
            unload("thingroom_node.links.tls")
        self._stream = asyncio.StreamReader(self._socket)
        self._reader = self._packets.PacketReader()
        will = None if self._pairing else (self._base + "status", b"offline")
        self._awaited = self._packets.Connack
        await self._write(self._packets.connect(self._kid, self._username, self._password, KEEPALIVE_S, will))
        connack = await self._take_awaited()
        if connack.code:
            reason = self._packets.reason_of(connack.code)
            if self._is_auto and reason == "unacceptable_protocol":
                self._choose_version(False)
            raise LinkError(reason)
        if self._packets is not mqtt_packets:
            if not connack.max_qos:
                raise LinkError("no_qos_1")
            self._limits(connack.receive_maximum, connack.max_packet, connack.keepalive)
        await self._repeat(connack.session_present)
        packet_id = self._new_id()
        self._awaited = self._packets.Suback
        await self._write(self._packets.subscribe(packet_id, self._base + "down"))
        suback = await self._take_awaited()
        if suback.packet_id != packet_id or suback.codes == b"\x80":
            raise LinkError("subscription_refused")

    async def _take_awaited(self):
        """Take packets until the awaited one is among them. What a known session has waiting comes right with it."""
        while isinstance(self._awaited, type):
            await self._take(await self._read())
        return self._awaited

    async def _repeat(self, session_present):
        """4.4: send what has no PUBACK again; to a broker that knows the session it is a repeat.

        Hellos and the status are not: fresh ones follow.
        """
        now = self._uptime()
        repeated = 0
        for packet_id in sorted(self._in_flight):
            leaf, payload, _ = self._in_flight[packet_id]
            if leaf != "up" or repeated >= self._in_flight_limit:
                # runner.py comes back to an envelope that nobody answers.
                del self._in_flight[packet_id]
                continue
            self._in_flight[packet_id] = (leaf, payload, now)
            repeated += 1
            await self._write(self._packets.publish(self._base + leaf, payload, packet_id, dup=session_present))

    async def _publish(self, leaf, payload, retain=False):
        for _, known, _ in self._in_flight.values():
            if known == payload:
                # Its PUBACK is still to come, or the next connection repeats it.
                return
        while len(self._in_flight) >= self._in_flight_limit:
            self._room.clear()
            await within(PUBACK_MS, self._room.wait(), "puback_timeout")
        packet_id = self._new_id()
        packet = self._packets.publish(self._base + leaf, payload, packet_id, retain)
        if self._max_packet is not None and len(packet) > self._max_packet:
            raise Refused("packet_too_large")
        self._in_flight[packet_id] = (leaf, payload, self._uptime())
        await self._write(packet)

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
                await within(WRITE_MS, self._stream.drain(), "write_timeout")
            except (OSError, ValueError) as error:
                raise LinkError(self._lost(error))

    async def _read(self):
        try:
            return await self._stream.read(READ_BYTES)
        except (OSError, ValueError) as error:
            raise LinkError(self._lost(error))

    def _lost(self, error):
        if self._ca is None:
            return "connection_reset"
        # The handshake goes on in reads and writes; a certificate that is refused is a ValueError there.
        return "certificate_refused" if isinstance(error, ValueError) else reason_of(error)

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
        elif self._awaited is self._packets.Connack:
            raise LinkError("packet_before_connack")
        elif isinstance(packet, mqtt_packets.Publish):
            if packet.topic == self._base + "down":
                self._on_answer(packet.payload)
            else:
                self.ignored += 1
            if packet.qos:
                await self._write(mqtt_packets.puback(packet.packet_id))
        elif isinstance(packet, self._packets.Puback):
            self._in_flight.pop(packet.packet_id, None)
            self._room.set()
            if self._packets is not mqtt_packets and packet.code >= 0x80:
                raise LinkError("publish_" + self._packets.reason_of(packet.code))
        elif self._packets is not mqtt_packets and isinstance(packet, self._packets.Disconnect):
            raise LinkError(self._packets.reason_of(packet.code))
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
            until = self._last_written + self._ping_after
        if self._in_flight:
            until = min(until, self._oldest_in_flight() + PUBACK_MS)
        return max(1, until - now)

    def _oldest_in_flight(self):
        return min(entry[2] for entry in self._in_flight.values())
