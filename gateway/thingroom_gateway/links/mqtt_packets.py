"""MQTT 3.1.1 and 5 packets as a subscribing client needs them: bytes in, packets out, and back.

Pure; imports the standard library only. Section numbers are those of the OASIS standard, MQTT Version 5.0 (the same in
3.1.1 but for properties). links/mqtt.py speaks with a broker through this. Packets beyond the size limit are skipped
as they stream in, never held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MQTT_311: Final = 4
MQTT_5: Final = 5

# What must be held of a packet that is skipped: topic length, topic, packet id.
_MAX_TOPIC = 65_535
_RECEIVE_MAXIMUM, _MAXIMUM_PACKET_SIZE, _SESSION_EXPIRY = 0x21, 0x27, 0x11
# Property identifiers by the shape of their value (section 2.2.2.2).
_ONE_BYTE = frozenset({0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A})
_TWO_BYTES = frozenset({0x13, 0x21, 0x22, 0x23})
_FOUR_BYTES = frozenset({0x02, 0x11, 0x18, 0x27})
_VARIABLE = frozenset({0x0B})
_STRING = frozenset({0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F})
_PAIR = frozenset({0x26})


class MqttProtocolError(Exception):
    """The peer does not speak MQTT as agreed: the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Connack:
    """`code` 0 is success. `receive_maximum`: how many QoS 1 messages the broker takes at once."""

    code: int
    session_present: bool
    receive_maximum: int
    keepalive: int | None


@dataclass(frozen=True, slots=True)
class Publish:
    """A message; `packet_id` is None at QoS 0."""

    topic: bytes
    payload: bytes
    packet_id: int | None
    retain: bool


@dataclass(frozen=True, slots=True)
class Oversized:
    """A message beyond the limit, of which only this is known; `size` is its remaining length."""

    topic: bytes
    packet_id: int | None
    size: int


@dataclass(frozen=True, slots=True)
class Puback:
    packet_id: int
    code: int


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pingresp:
    pass


@dataclass(frozen=True, slots=True)
class Disconnect:
    code: int


Packet = Connack | Publish | Oversized | Puback | Suback | Pingresp | Disconnect


class Reader:
    """Cuts a byte stream into packets. Holds at most one packet of `max_packet` bytes, or one topic."""

    def __init__(self, version: int, max_packet: int) -> None:
        self._version = version
        self._max_packet = max_packet
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes. Raises MqttProtocolError; the reader is then of no more use."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        buffer = self._buffer + data if self._buffer else data
        packets: list[Packet] = []
        position, end = 0, len(buffer)
        while end - position >= 2:
            first = buffer[position]
            length = buffer[position + 1]
            body = position + 2
            if length & 0x80:
                long = _variable_integer(buffer, position + 1)
                if long is None:
                    break
                length, body = long
            if length > self._max_packet:
                oversized = self._oversized(buffer, first, body, length)
                if oversized is None:
                    break
                packets.append(oversized)
                position = body + length
                if position > end:
                    self._skip = position - end
                    position = end
                continue
            stop = body + length
            if stop > end:
                break
            packets.append(self._packet(first, buffer, body, stop))
            position = stop
        self._buffer = buffer[position:]
        return packets

    def _packet(self, first: int, buffer: bytes, start: int, stop: int) -> Packet:
        kind = first >> 4
        if kind == 3:
            return self._publish(first, buffer, start, stop)
        body = buffer[start:stop]
        if kind == 4:
            if len(body) < 2:
                raise MqttProtocolError("a short PUBACK")
            return Puback(int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0)
        if kind == 13:
            return Pingresp()
        if kind == 2:
            return self._connack(body)
        if kind == 9:
            offset = 2
            if self._version == MQTT_5:
                _, offset = _properties(body, 2)
            if len(body) <= offset:
                raise MqttProtocolError("a short SUBACK")
            return Suback(int.from_bytes(body[:2], "big"), tuple(body[offset:]))
        if kind == 14 and self._version == MQTT_5:
            return Disconnect(body[0] if body else 0)
        raise MqttProtocolError(f"a packet of type {kind}, which a broker does not send to us")

    def _publish(self, first: int, buffer: bytes, start: int, stop: int) -> Publish:
        qos = first >> 1 & 3
        if qos > 1:
            raise MqttProtocolError("a message of a quality of service that was not asked for")
        if stop - start < 2:
            raise MqttProtocolError("a short PUBLISH")
        topic_end = start + 2 + (buffer[start] << 8 | buffer[start + 1])
        position = topic_end + 2 if qos else topic_end
        if position > stop:
            raise MqttProtocolError("a short PUBLISH")
        packet_id = None
        if qos:
            packet_id = buffer[topic_end] << 8 | buffer[topic_end + 1]
            if packet_id == 0:
                raise MqttProtocolError("packet id 0")
        if self._version == MQTT_5:
            if position < stop and buffer[position] == 0:
                position += 1
            else:
                _, offset = _properties(buffer[position:stop], 0)
                position += offset
        return Publish(buffer[start + 2 : topic_end], buffer[position:stop], packet_id, bool(first & 1))

    def _connack(self, body: bytes) -> Connack:
        if len(body) < 2:
            raise MqttProtocolError("a short CONNACK")
        receive_maximum, keepalive = 65_535, None
        if self._version == MQTT_5 and len(body) > 2:
            properties, _ = _properties(body, 2)
            receive_maximum = properties.get(_RECEIVE_MAXIMUM, receive_maximum)
            keepalive = properties.get(0x13)
            if receive_maximum == 0:
                raise MqttProtocolError("a receive maximum of 0")
        return Connack(body[1], bool(body[0] & 1), receive_maximum, keepalive)

    def _oversized(self, buffer: bytes, first: int, body: int, length: int) -> Oversized | None:
        """None while the topic and the packet id are not there yet."""
        if first >> 4 != 3:
            raise MqttProtocolError("an oversized packet that is no message")
        if len(buffer) < body + 2:
            return None
        topic_end = body + 2 + (buffer[body] << 8 | buffer[body + 1])
        with_id = bool(first >> 1 & 3)
        needed = topic_end + 2 if with_id else topic_end
        if needed > body + length:
            raise MqttProtocolError("a topic longer than its packet")
        if len(buffer) < needed:
            return None
        packet_id = int.from_bytes(buffer[topic_end:needed], "big") if with_id else None
        return Oversized(buffer[body + 2 : topic_end], packet_id, length)


def _variable_integer(buffer: bytes, position: int) -> tuple[int, int] | None:
    """(value, position after it) of a variable byte integer (1.5.5); None while it is not complete."""
    value = 0
    for index in range(4):
        if position + index >= len(buffer):
            return None
        byte = buffer[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, position + index + 1
    raise MqttProtocolError("a length of more than four bytes")


def _properties(body: bytes, position: int) -> tuple[dict[int, int], int]:
    """The integer properties and the position after all properties (2.2.2)."""
    length = _variable_integer(body, position)
    if length is None or length[1] + length[0] > len(body):
        raise MqttProtocolError("short properties")
    position, end = length[1], length[1] + length[0]
    found: dict[int, int] = {}
    while position < end:
        identifier = body[position]
        position += 1
        if identifier in _ONE_BYTE:
            size = 1
        elif identifier in _TWO_BYTES:
            size = 2
        elif identifier in _FOUR_BYTES:
            size = 4
        elif identifier in _VARIABLE:
            value = _variable_integer(body[:end], position)
            if value is None:
                raise MqttProtocolError("a short property")
            position = value[1]
            continue
        elif identifier in _STRING or identifier in _PAIR:
            for _ in range(2 if identifier in _PAIR else 1):
                position += 2 + int.from_bytes(body[position : position + 2], "big")
            continue
        else:
            raise MqttProtocolError(f"an unknown property {identifier}")
        found[identifier] = int.from_bytes(body[position : position + size], "big")
        position += size
    if position != end:
        raise MqttProtocolError("properties that overrun their length")
    return found, end


def _packet_bytes(first: int, body: bytes) -> bytes:
    length, head = len(body), bytearray((first,))
    while True:
        byte = length & 0x7F
        length >>= 7
        if length:
            head.append(byte | 0x80)
        else:
            head.append(byte)
            return bytes(head) + body


def _text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    if len(data) > _MAX_TOPIC:
        raise ValueError("too long for an MQTT string")
    return len(data).to_bytes(2, "big") + data


def connect(
    version: int, client_id: str, username: str, password: str, keepalive: int, receive_maximum: int, max_packet: int
) -> bytes:
    """CONNECT (3.1) of a session that outlives the connection. `receive_maximum` and `max_packet` bind a v5 broker."""
    flags = (0x80 if username else 0) | (0x40 if username and password else 0)
    body = _text("MQTT") + bytes((version, flags)) + keepalive.to_bytes(2, "big")
    if version == MQTT_5:
        properties = bytes((_SESSION_EXPIRY,)) + (7 * 86_400).to_bytes(4, "big")
        properties += bytes((_RECEIVE_MAXIMUM,)) + receive_maximum.to_bytes(2, "big")
        properties += bytes((_MAXIMUM_PACKET_SIZE,)) + max_packet.to_bytes(4, "big")
        body += bytes((len(properties),)) + properties
    body += _text(client_id)
    if username:
        body += _text(username)
        if password:
            body += _text(password)
    return _packet_bytes(0x10, body)


def subscribe(version: int, packet_id: int, filters: list[str]) -> bytes:
    """SUBSCRIBE (3.8) to all `filters` at QoS 1."""
    body = packet_id.to_bytes(2, "big") + (b"\0" if version == MQTT_5 else b"")
    for topic_filter in filters:
        body += _text(topic_filter) + b"\x01"
    return _packet_bytes(0x82, body)


def publish(version: int, packet_id: int, topic: str, payload: bytes) -> bytes:
    """PUBLISH (3.3) at QoS 1, not retained."""
    properties = b"\0" if version == MQTT_5 else b""
    return _packet_bytes(0x32, _text(topic) + packet_id.to_bytes(2, "big") + properties + payload)


def puback(packet_id: int) -> bytes:
    """PUBACK (3.4), success; the same bytes in both versions."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
