"""Frames on a serial line: byte stuffing without zeros (COBS), a kind, a CRC-32. For boards and the gateway alike.

A line carries frames and whatever else a board prints: boot messages, tracebacks, noise. `FrameReader` tells them
apart and finds the next frame after anything. docs/wire_format.md, "Serial lines", has the bytes; the two ends are
thingroom_node/links/serial.py and the gateway's links/serial.py. Imports limits only.
"""

from binascii import crc32
from collections import namedtuple

from thingroom_wire import limits
from thingroom_wire.errors import WireError

UP = 1
HELLO = 2
DOWN = 3
ACKNOWLEDGED = 4
PROBE = 5
ASK = 6

DELIMITER = b"\0"
MARK_BYTES = 4
# Kind, payload and checksum, and what stuffing adds: a code for every 254 bytes begun.
_MAX_BODY = 1 + limits.MAX_ENVELOPE + MARK_BYTES
MAX_STUFFED = _MAX_BODY + _MAX_BODY // 254 + 1

Frame = namedtuple("Frame", ("kind", "payload", "mark"))
"""A frame that arrived whole. `mark` is its checksum, 4 bytes: what an acknowledgement names it by."""

Noise = namedtuple("Noise", ("data", "reason"))
"""Bytes that are no frame. `reason`: text (no frame at all), bad_checksum (a damaged one)."""


def encode_frame(kind: int, payload: bytes) -> "tuple[bytes, bytes]":
    """`(the bytes for the line, the frame's mark)`. Raises WireError for a payload above the limit."""
    if len(payload) > limits.MAX_ENVELOPE:
        raise WireError("too_large", "The payload is larger than a message may be.")
    body = bytes((kind,)) + payload
    mark = crc32(body).to_bytes(MARK_BYTES, "big")
    return DELIMITER + stuff(body + mark) + DELIMITER, mark


def acknowledgement(mark: bytes) -> bytes:
    """The bytes for the line that acknowledge the frame with that mark."""
    return encode_frame(ACKNOWLEDGED, mark)[0]


def stuff(data: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): the same without a zero byte."""
    out = bytearray()
    start = 0
    length = len(data)
    while True:
        limit = min(start + 254, length)
        zero = data.find(DELIMITER, start, limit)
        if zero >= 0:
            out.append(zero - start + 1)
            out.extend(data[start:zero])
            start = zero + 1
            continue
        out.append(limit - start + 1)
        out.extend(data[start:limit])
        if limit == length:
            return bytes(out)
        start = limit


def unstuff(stuffed: bytes) -> "bytes | None":
    """What `stuff` was given; None if that gives nothing like `stuffed`, which has no zero byte."""
    out = bytearray()
    at = 0
    length = len(stuffed)
    while at < length:
        code = stuffed[at]
        end = at + code
        if not code or end > length:
            return None
        out.extend(stuffed[at + 1 : end])
        if code < 255 and end < length:
            out.append(0)
        at = end
    return bytes(out)


class FrameReader:
    """The bytes of one line in, in any pieces; frames and noise out, in order. Holds MAX_STUFFED bytes at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_overlong = False

    def feed(self, data: bytes) -> "list[Frame | Noise]":
        """What `data` completes."""
        found: "list[Frame | Noise]" = []
        pieces = data.split(DELIMITER)
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            self._add(piece, found)
            if index < last:
                self._end(found)
        return found

    def flush(self) -> "list[Frame | Noise]":
        """The line has been silent for a while: what waits for the end of a frame is text after all."""
        found: "list[Frame | Noise]" = []
        if self._buffer:
            found.append(Noise(self._take(), "text"))
            # Should it be a frame that pauses, then the rest of it is no frame either.
            self._is_overlong = True
        return found

    def _add(self, piece: bytes, found: "list[Frame | Noise]") -> None:
        if self._is_overlong:
            if piece:
                found.append(Noise(piece, "text"))
        elif len(self._buffer) + len(piece) > MAX_STUFFED:
            found.append(Noise(self._take() + piece, "text"))
            self._is_overlong = True
        else:
            self._buffer.extend(piece)

    def _end(self, found: "list[Frame | Noise]") -> None:
        self._is_overlong = False
        if self._buffer:
            found.append(_parse(self._take()))

    def _take(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer = bytearray()
        return taken


def _parse(stuffed: bytes) -> "Frame | Noise":
    body = unstuff(stuffed)
    if body is None or len(body) <= MARK_BYTES:
        return Noise(stuffed, "text")
    mark = body[-MARK_BYTES:]
    body = body[:-MARK_BYTES]
    if crc32(body).to_bytes(MARK_BYTES, "big") != mark:
        return Noise(stuffed, "bad_checksum")
    return Frame(body[0], body[1:], mark)
