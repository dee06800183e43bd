"""Reading multipart bodies as they arrive, a piece at a time: nothing of a part's content is kept here.

Pure: bytes in, events out. Preamble and headers have limits; the parts' sizes are the caller's to watch.
Source: RFC 2046, section 5.1. Next: remote_media.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto

MAX_HEADER_BYTES = 16_384
MAX_PREAMBLE_BYTES = 65_536
MAX_BOUNDARY = 200
_PADDING = b" \t"


class Malformed(Exception):
    """The bytes are not what their headers promise."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers, by lower-case name; of several with one name the first."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartBytes:
    """More of the part's content."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is complete."""


Piece = PartBegins | PartBytes | PartEnds


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    CONTENT = auto()
    END = auto()


class MultipartReader:
    """Feed it the body; it tells what it finds. `is_complete` once the closing delimiter was there."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._buffer = bytearray(b"\r\n")  # a delimiter may stand at the very beginning
        self._state = _State.PREAMBLE
        self._skipped = 0

    @property
    def is_complete(self) -> bool:
        return self._state is _State.END

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What is in `data`, with what was left of earlier pieces. Raises Malformed. Go through all of it."""
        self._buffer += data
        while True:
            if self._state in (_State.PREAMBLE, _State.CONTENT):
                at = self._buffer.find(self._delimiter)
                # What may be the beginning of a delimiter waits for the next piece.
                size = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
                content = bytes(self._buffer[:size])
                if self._state is _State.CONTENT:
                    if content:
                        yield PartBytes(content)
                else:
                    self._skipped += size
                    if self._skipped > MAX_PREAMBLE_BYTES:
                        raise Malformed("There is too much before the first part")
                if at < 0:
                    del self._buffer[:size]
                    return
                del self._buffer[: at + len(self._delimiter)]
                if self._state is _State.CONTENT:
                    yield PartEnds()
                self._state = _State.DELIMITER
            elif self._state is _State.DELIMITER:
                if not self._end_delimiter():
                    return
            elif self._state is _State.HEADERS:
                headers = self._take_headers()
                if headers is None:
                    return
                self._state = _State.CONTENT
                yield PartBegins(headers)
            else:
                self._buffer.clear()  # the epilogue is nobody's
                return

    def _end_delimiter(self) -> bool:
        """Read what follows a delimiter: "--" after the last part, else the line's end. False: more must come."""
        if self._buffer.startswith(b"--"):
            self._state = _State.END
            return True
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise Malformed("A delimiter has no end")
            return False
        if self._buffer[:end].strip(_PADDING):
            raise Malformed("Something follows a delimiter")
        # The line's end stays: with the next one it ends the headers where there are none.
        del self._buffer[:end]
        self._state = _State.HEADERS
        return True

    def _take_headers(self) -> dict[str, str] | None:
        """The header lines up to the empty one; None if that has not come."""
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEADER_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_HEADER_BYTES:
                raise Malformed("The headers of a part are too long")
            return None
        text = bytes(self._buffer[2:end]).decode("utf-8", "replace") if end > 2 else ""
        del self._buffer[: end + 4]
        headers: dict[str, str] = {}
        for line in text.split("\r\n") if text else ():
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise Malformed("A header of a part has no name")
            headers.setdefault(name.strip().lower(), value.strip(" \t"))
        return headers


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart/mixed type; None for other types, and for what cannot be a boundary."""
    message = _message("content-type", content_type)
    if message is None or message.get_content_type() != "multipart/mixed":
        return None
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= MAX_BOUNDARY:
        return None
    return boundary if boundary.isascii() and boundary.isprintable() else None


def file_name_of(disposition: str) -> str | None:
    """The file name in a Content-Disposition, in any of its forms (RFC 6266); None for none that can be read."""
    message = _message("content-disposition", disposition)
    if message is None:
        return None
    try:
        name = message.get_filename()
    except (ValueError, LookupError, AttributeError, IndexError):  # what the library makes of odd parameters
        return None
    if not name:
        return None
    printable = "".join(character for character in name if character.isprintable())
    return printable.encode("utf-8", "replace").decode("utf-8") or None


def _message(name: str, value: str) -> Message | None:
    message = Message()
    if "\r" in value or "\n" in value:
        return None
    message[name] = value
    return message
