"""An MQTT 3.1.1 publisher that costs next to nothing while the clock runs: packets are encoded before, then written.

A client library would take about as much processor time as the gateway that is measured, on the same cores. Imports
nothing of ours. Section numbers are those of the OASIS standard MQTT 3.1.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

_CONNACK_ACCEPTED = b"\x20\x02\x00\x00"
_PUBACK = 0x40
_MAX_PACKET_ID = 65_535
# Fewer than the packet identifiers there are, so that one is never used while it is under way.
WINDOW = 2_000


class BrokerRefused(Exception):
    """The broker did not answer as the standard says."""


def connect_packet(client_id: str, username: str = "", password: str = "") -> bytes:
    """CONNECT with a clean session and no keep-alive (3.1)."""
    flags, log_in = (0xC2, _text(username) + _text(password)) if username else (0x02, b"")
    return _packet(0x10, _text("MQTT") + bytes((4, flags, 0, 0)) + _text(client_id) + log_in)


def publish_packet(topic: str, payload: bytes, packet_id: int) -> bytes:
    """PUBLISH with QoS 1 (3.3); `packet_id` from 1 to 65535."""
    return _packet(0x32, _text(topic) + packet_id.to_bytes(2, "big") + payload)


def publish_packets(messages: Iterable[tuple[str, bytes]]) -> list[bytes]:
    """One PUBLISH for each (topic, payload), numbered from 1 and around."""
    return [
        publish_packet(topic, payload, number % _MAX_PACKET_ID + 1) for number, (topic, payload) in enumerate(messages)
    ]


class Publisher:
    """A connection that publishes prepared packets, at most WINDOW of them unacknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Publisher:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(connect_packet("bench"))
        answer = await self._reader.readexactly(4)
        if answer != _CONNACK_ACCEPTED:
            raise BrokerRefused(f"CONNECT was answered with {answer.hex()}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    async def publish(self, packets: list[bytes]) -> None:
        """Write all packets and return once the broker has acknowledged each. Raises BrokerRefused."""
        sent = acknowledged = 0
        while acknowledged < len(packets):
            until = min(acknowledged + WINDOW, len(packets))
            if sent < until:
                self._writer.write(b"".join(packets[sent:until]))
                sent = until
                await self._writer.drain()
            acknowledged += await self._some_acknowledgements()

    async def _some_acknowledgements(self) -> int:
        """Every PUBACK is four bytes (3.4); at least one is awaited."""
        data = await self._reader.read(65_536)
        if len(data) % 4:
            data += await self._reader.readexactly(4 - len(data) % 4)
        if not data or any(first != _PUBACK for first in data[::4]):
            raise BrokerRefused("a PUBLISH was not answered with a PUBACK")
        return len(data) // 4


def _packet(first_byte: int, rest: bytes) -> bytes:
    return bytes((first_byte,)) + _remaining_length(len(rest)) + rest


def _remaining_length(length: int) -> bytes:
    """Seven bits a byte, least significant first, the top bit says that more follow (2.2.3)."""
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
