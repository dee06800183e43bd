"""MQTT 3.1.1 control packets (OASIS, 29 October 2014), the part that a node needs. Pure; imports nothing.

Encoders return bytes. `PacketReader` takes the bytes of a connection as they come, in any pieces, and gives whole
packets; it refuses what a broker may not send and what is larger than a board can hold. mqtt.py is the client over it.
"""

from collections import namedtuple

MAX_REMAINING = 16 * 1024

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13

Connack = namedtuple("Connack", ("session_present", "code"))
Publish = namedtuple("Publish", ("topic", "payload", "qos", "retain", "dup", "packet_id"))
Puback = namedtuple("Puback", ("packet_id",))
Suback = namedtuple("Suback", ("packet_id", "codes"))
Pingresp = namedtuple("Pingresp", ())

_REASONS = (
    "",
    "unacceptable_protocol",
    "client_id_refused",
    "broker_unavailable",
    "bad_user_or_password",
    "not_authorised",
)

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class PacketError(Exception):
    """The peer broke the protocol or our limits; the connection must be closed. `reason` is a snake_case word."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def reason_of(code):
    """Short word for the code of a CONNACK that refuses."""
    return _REASONS[code]


def connect(client_id, username, password, keepalive, will):
    """CONNECT (3.1). Texts are str, `keepalive` seconds.

    `will` is `(topic, message bytes)`: retained, QoS 1, with a persistent session; None: no will and a clean session.
    """
    # Flags (3.1.2.3): user name, password; with a will: will retain, will QoS 1, will; without: clean session.
    flags = 0b1110_1100 if will else 0b1100_0010
    variable = text_field("MQTT") + bytes((4, flags)) + keepalive.to_bytes(2, "big")
    will_fields = text_field(will[0]) + block_field(will[1]) if will else b""
    return packet(0x10, variable + text_field(client_id) + will_fields + text_field(username) + text_field(password))


def publish(topic, payload, packet_id, retain=False, dup=False):
    """PUBLISH (3.3) with QoS 1."""
    first = 0x32 | (0x08 if dup else 0) | (0x01 if retain else 0)
    return packet(first, text_field(topic) + packet_id.to_bytes(2, "big") + payload)


def puback(packet_id):
    """PUBACK (3.4)."""
    return packet(0x40, packet_id.to_bytes(2, "big"))


def subscribe(packet_id, topic):
    """SUBSCRIBE (3.8) to one topic filter with QoS 1."""
    return packet(0x82, packet_id.to_bytes(2, "big") + text_field(topic) + b"\x01")


class PacketReader:
    """The bytes of one connection in, packets out. After a PacketError it must not be used again."""

    def __init__(self, max_remaining=MAX_REMAINING):
        self._buffer = bytearray()
        self._max_remaining = max_remaining

    def feed(self, data):
        """The packets that `data` completes, a list. Raises PacketError."""
        self._buffer.extend(data)
        packets = []
        start = 0
        while True:
            header = self._header(start)
            if header is None:
                break
            body, end = header
            if len(self._buffer) < end:
                break
            packets.append(self._parse(self._buffer[start], bytes(memoryview(self._buffer)[body:end])))
            start = end
        if start:
            self._buffer = self._buffer[start:]
        return packets

    def _parse(self, first, body):
        return _parse(first, body)

    def _header(self, start):
        """`(start of the body, end of the packet)`, or None while the fixed header (2.2) is incomplete."""
        remaining = 0
        for index in range(4):
            position = start + 1 + index
            if position >= len(self._buffer):
                return None
            digit = self._buffer[position]
            remaining |= (digit & 0x7F) << (7 * index)
            if remaining > self._max_remaining:
                raise PacketError("packet_too_large")
            if not digit & 0x80:
                return position + 1, position + 1 + remaining
        raise PacketError("bad_length")


def _parse(first, body):
    kind, flags = first >> 4, first & 0x0F
    if kind == PUBLISH:
        return parse_publish(flags, body)
    if flags:
        raise PacketError("bad_flags")
    if kind == CONNACK:
        _require(len(body) == 2 and body[0] <= 1 and body[1] <= 5)
        return Connack(body[0] == 1, body[1])
    if kind == PUBACK:
        _require(len(body) == 2)
        return Puback(packet_id_at(body, 0))
    if kind == SUBACK:
        _require(len(body) >= 3)
        for code in body[2:]:
            _require(code in (0, 1, 2, 0x80))
        return Suback(packet_id_at(body, 0), body[2:])
    if kind == PINGRESP:
        _require(not body)
        return Pingresp()
    raise PacketError("unexpected_packet")


def parse_publish(flags, body):
    """The Publish in `body`. Raises PacketError."""
    qos = flags >> 1 & 3
    # We subscribe with QoS 1, so QoS 2 is never delivered to us (3.8.4), and QoS 3 does not exist.
    _require(qos < 2 and len(body) >= 2)
    topic_end = 2 + int.from_bytes(body[:2], "big")
    _require(2 < topic_end <= len(body))
    try:
        topic = str(body[2:topic_end], "utf-8")
    except UnicodeError:
        raise PacketError("bad_utf8")
    _require("\0" not in topic and "#" not in topic and "+" not in topic)
    packet_id = 0
    start = topic_end
    if qos:
        _require(topic_end + 2 <= len(body))
        packet_id = packet_id_at(body, topic_end)
        start += 2
    _require(qos or not flags & 8)
    return Publish(topic, body[start:], qos, flags & 1 == 1, flags & 8 == 8, packet_id)


def packet_id_at(body, start):
    """The packet id at `start`; zero is none (2.3.1). Raises PacketError."""
    packet_id = int.from_bytes(body[start : start + 2], "big")
    _require(packet_id)
    return packet_id


def _require(condition):
    if not condition:
        raise PacketError("malformed_packet")


def packet(first, body):
    """A packet with its fixed header (2.2)."""
    length = len(body)
    header = bytearray((first,))
    while True:
        digit = length & 0x7F
        length >>= 7
        header.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(header) + body


def text_field(text):
    """A text as a field (1.5.3)."""
    return block_field(text.encode())


def block_field(data):
    """Bytes as a field."""
    return len(data).to_bytes(2, "big") + data
