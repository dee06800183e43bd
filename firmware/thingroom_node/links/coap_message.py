"""CoAP messages (RFC 7252), the part that a client with small messages needs. Pure; imports nothing.

Options are numbers in ascending order with opaque values (3.1); the helpers at the end read and write the ones we use.
What goes up is never in blocks: an envelope is at most 8192 bytes and usually some 250. coap.py is the client over it.
"""

from collections import namedtuple

# Of what comes in: the gateway sends what is longer in blocks, and a small heap has no more in one piece.
MAX_MESSAGE = 2 * 1024
MAX_OPTIONS = 32

CON, NON, ACK, RST = 0, 1, 2, 3

EMPTY = 0
GET = 1
POST = 2
FETCH = 5

ETAG = 4
OBSERVE = 6
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
BLOCK2 = 23

# `code` is one byte, class * 32 + detail; `options` a list of (number, bytes), ascending.
Message = namedtuple("Message", ("kind", "code", "message_id", "token", "options", "payload"))


class MessageError(Exception):
    """A datagram is no CoAP message. `reason` is a snake_case word.

    `message_id` is set when the header could be read: a confirmable one is then answered with a reset (4.2).
    """

    def __init__(self, reason, message_id=None):
        super().__init__(reason)
        self.reason = reason
        self.message_id = message_id


def encode(message):
    """The datagram of a Message."""
    parts = [
        bytes((0x40 | message.kind << 4 | len(message.token), message.code)),
        message.message_id.to_bytes(2, "big"),
        message.token,
    ]
    previous = 0
    for number, value in message.options:
        delta, delta_more = _nibble(number - previous)
        length, length_more = _nibble(len(value))
        parts += [bytes((delta << 4 | length,)), delta_more, length_more, value]
        previous = number
    if message.payload:
        parts += [b"\xff", message.payload]
    return b"".join(parts)


def parse(data):
    """The Message in a datagram. Raises MessageError."""
    if len(data) > MAX_MESSAGE:
        raise MessageError("too_large")
    if len(data) < 4 or data[0] >> 6 != 1:
        raise MessageError("not_coap")
    kind, token_length, code = data[0] >> 4 & 3, data[0] & 15, data[1]
    message_id = int.from_bytes(data[2:4], "big")
    if token_length > 8 or len(data) < 4 + token_length:
        raise MessageError("bad_token", message_id)
    if code == EMPTY and len(data) != 4:
        raise MessageError("empty_with_content", message_id)
    options, start = _parse_options(data, 4 + token_length, message_id)
    return Message(kind, code, message_id, data[4 : 4 + token_length], options, data[start:])


def _parse_options(data, position, message_id):
    """`(options, start of the payload)`."""
    options = []
    number = 0
    while position < len(data):
        first = data[position]
        position += 1
        if first == 0xFF:
            if position == len(data):
                raise MessageError("marker_without_payload", message_id)
            return options, position
        delta, position = _extended(data, position, first >> 4, message_id)
        length, position = _extended(data, position, first & 15, message_id)
        number += delta
        if number > 65535 or position + length > len(data) or len(options) == MAX_OPTIONS:
            raise MessageError("bad_option", message_id)
        options.append((number, data[position : position + length]))
        position += length
    return options, position


def _extended(data, position, nibble, message_id):
    more = {13: 1, 14: 2}.get(nibble, 0)
    if nibble == 15 or position + more > len(data):
        raise MessageError("bad_option", message_id)
    if not more:
        return nibble, position
    base = 13 if more == 1 else 269
    return base + int.from_bytes(data[position : position + more], "big"), position + more


def _nibble(value):
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    return 14, (value - 269).to_bytes(2, "big")


def request(code, message_id, token, path, content_format, payload, observe=None, block=None):
    """A confirmable request to a path of one segment; what is None is left out."""
    options = []
    for number, value in ((OBSERVE, observe), (CONTENT_FORMAT, content_format), (BLOCK2, block)):
        if number == CONTENT_FORMAT:
            options.append((URI_PATH, path.encode()))
        if value is not None:
            options.append((number, encode_uint(value)))
    return Message(CON, code, message_id, token, options, payload)


def empty(kind, message_id):
    """An empty acknowledgement, a reset, or with CON a ping (4.3)."""
    return Message(kind, EMPTY, message_id, b"", [], b"")


def option_uint(message, number):
    """Value of an unsigned option (3.2), or None when it is absent or longer than four bytes."""
    for found, value in message.options:
        if found == number:
            return int.from_bytes(value, "big") if len(value) <= 4 else None
    return None


def encode_uint(value):
    """An unsigned option value in as few bytes as it takes; zero is none."""
    length = 0
    while value >> 8 * length:
        length += 1
    return value.to_bytes(length, "big")


def has_unknown_critical(message):
    """Whether an option must be understood (odd number, 5.4.1) and is not one of ours."""
    for number, _ in message.options:
        if number & 1 and number != URI_PATH and number != BLOCK2:
            return True
    return False


def code_text(code):
    """A code as people write it: `2.04`."""
    return "{}.{:02d}".format(code >> 5, code & 31)
