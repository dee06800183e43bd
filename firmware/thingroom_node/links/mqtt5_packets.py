"""MQTT 5 control packets (OASIS, 7 March 2019) where they differ from mqtt_packets.py, with the same names. Pure.

Loaded only by nodes whose settings ask for this version. A property that the specification does not know, one that
comes twice and one that does not fit make the packet malformed; of those that do fit, only what binds us is kept.
"""

from collections import namedtuple

from thingroom_node.links import mqtt_packets
from thingroom_node.links.mqtt_packets import PINGREQ, PacketError, Pingresp, Publish, Suback  # noqa: F401

# What a broker keeps for a node that is away.
SESSION_S = 7 * 86_400
# Unacknowledged publications that the broker may have under way to us.
RECEIVE_MAXIMUM = 8
MAX_PACKET = mqtt_packets.MAX_REMAINING + 5

DISCONNECT_KIND = 14
DISCONNECT = b"\xe0\x00"

# `keepalive` in seconds and None where the broker does not say; the limits are what holds when it does not.
Connack = namedtuple("Connack", ("session_present", "code", "receive_maximum", "max_packet", "keepalive", "max_qos"))
Puback = namedtuple("Puback", ("packet_id", "code"))
Disconnect = namedtuple("Disconnect", ("code",))

# 2.2.2.2: how long each property is; 0 an integer of variable length, -1 a block with its length, -2 two of those.
_SIZES = {1: 1, 2: 4, 3: -1, 8: -1, 9: -1, 11: 0, 17: 4, 18: -1, 19: 2, 21: -1, 22: -1, 23: 1, 24: 4, 25: 1, 26: -1}
_SIZES.update({28: -1, 31: -1, 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 38: -2, 39: 4, 40: 1, 41: 1, 42: 1})
_TOPIC_ALIAS, _SUBSCRIPTION, _USER = 35, 11, 38
_REASONS = {
    0x01: "unacceptable_protocol",
    0x82: "protocol_error",
    0x84: "unacceptable_protocol",
    0x85: "client_id_refused",
    0x86: "bad_user_or_password",
    0x87: "not_authorised",
    0x88: "broker_unavailable",
    0x89: "broker_busy",
    0x8A: "banned",
    0x8B: "broker_shutting_down",
    0x8D: "keep_alive_timeout",
    0x8E: "session_taken_over",
    0x93: "receive_maximum_exceeded",
    0x95: "packet_too_large",
    0x97: "quota_exceeded",
    0x9C: "use_another_broker",
    0x9D: "broker_moved",
}


def reason_of(code):
    """Short word for the reason code of a refusal."""
    return _REASONS.get(code) or "reason_{}".format(code)


def connect(client_id, username, password, keepalive, will):
    """CONNECT (3.1), as in mqtt_packets.py; with a will the session outlives the connection by `SESSION_S`."""
    flags = 0b1110_1100 if will else 0b1100_0010
    properties = b"\x21" + RECEIVE_MAXIMUM.to_bytes(2, "big") + b"\x27" + MAX_PACKET.to_bytes(4, "big") + b"\x17\x00"
    if will:
        properties += b"\x11" + SESSION_S.to_bytes(4, "big")
    text, block = mqtt_packets.text_field, mqtt_packets.block_field
    variable = text("MQTT") + bytes((5, flags)) + keepalive.to_bytes(2, "big") + bytes((len(properties),)) + properties
    will_fields = b"\x00" + text(will[0]) + block(will[1]) if will else b""
    return mqtt_packets.packet(0x10, variable + text(client_id) + will_fields + text(username) + text(password))


def publish(topic, payload, packet_id, retain=False, dup=False):
    """PUBLISH (3.3) with QoS 1."""
    return mqtt_packets.publish(topic, b"\x00" + payload, packet_id, retain, dup)


def puback(packet_id):
    """PUBACK (3.4) with success."""
    return mqtt_packets.puback(packet_id)


def subscribe(packet_id, topic):
    """SUBSCRIBE (3.8) to one topic filter with QoS 1; what is retained there is not wanted."""
    data = packet_id.to_bytes(2, "big") + b"\x00" + mqtt_packets.text_field(topic) + b"\x21"
    return mqtt_packets.packet(0x82, data)


class PacketReader(mqtt_packets.PacketReader):
    """As mqtt_packets.PacketReader, and takes the broker's DISCONNECT."""

    def _parse(self, first, body):
        kind = first >> 4
        if kind == mqtt_packets.PUBLISH:
            return _parse_publish(first & 15, body)
        if first & 15:
            raise PacketError("bad_flags")
        if kind == mqtt_packets.CONNACK:
            return _parse_connack(body)
        if kind == mqtt_packets.PUBACK:
            _require(len(body) >= 2)
            code = body[2] if len(body) > 2 else 0
            if len(body) > 3:
                _properties(body, 3, True)
            return Puback(mqtt_packets.packet_id_at(body, 0), code)
        if kind == mqtt_packets.SUBACK:
            _require(len(body) >= 4)
            packet_id = mqtt_packets.packet_id_at(body, 0)
            _, start = _properties(body, 2)
            _require(start < len(body))
            # 3.9.3: what is 0x80 or above is a refusal.
            return Suback(packet_id, bytes(0x80 if code >= 0x80 else code for code in body[start:]))
        if kind == DISCONNECT_KIND:
            if len(body) > 1:
                _properties(body, 1, True)
            return Disconnect(body[0] if body else 0)
        _require(kind == mqtt_packets.PINGRESP, "unexpected_packet")
        _require(not body)
        return Pingresp()


def _parse_connack(body):
    _require(len(body) >= 2 and body[0] <= 1)
    if len(body) == 2:
        # An older broker says in its own way that it does not know this version.
        _require(body[1] == 1)
        return Connack(False, 1, 65535, None, None, 1)
    found, _ = _properties(body, 2, True)
    receive_maximum, max_packet = found.get(33, 65535), found.get(39)
    _require(receive_maximum and max_packet != 0)
    return Connack(body[0] == 1, body[1], receive_maximum, max_packet, found.get(19), found.get(36, 2))


def _parse_publish(flags, body):
    plain = mqtt_packets.parse_publish(flags, body)
    found, start = _properties(plain.payload, 0)
    # We have allowed no aliases.
    _require(_TOPIC_ALIAS not in found)
    return Publish(plain.topic, plain.payload[start:], plain.qos, plain.retain, plain.dup, plain.packet_id)


def _properties(data, start, to_the_end=False):
    """`({identifier: integer, or None where it is no integer}, where they end)`. Raises PacketError."""
    length, start = _integer(data, start)
    end = start + length
    _require(end <= len(data) and (not to_the_end or end == len(data)))
    found = {}
    while start < end:
        identifier, start = _integer(data, start)
        size = _SIZES.get(identifier)
        _require(size is not None)
        _require(identifier not in found or identifier in (_SUBSCRIPTION, _USER))
        value = None
        if size == 0:
            value, start = _integer(data, start)
        elif size > 0:
            _require(start + size <= end)
            value = int.from_bytes(data[start : start + size], "big")
            start += size
        else:
            for _ in range(-size):
                _require(start + 2 <= end)
                start += 2 + int.from_bytes(data[start : start + 2], "big")
        _require(start <= end)
        found[identifier] = value
    return found, end


def _integer(data, start):
    """1.5.5: an integer of variable length, and where it ends."""
    value = 0
    for index in range(4):
        _require(start + index < len(data))
        digit = data[start + index]
        value |= (digit & 0x7F) << (7 * index)
        if not digit & 0x80:
            return value, start + index + 1
    raise PacketError("malformed_packet")


def _require(condition, reason="malformed_packet"):
    if not condition:
        raise PacketError(reason)
