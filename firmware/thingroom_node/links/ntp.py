"""SNTP (RFC 4330): asks a server for the time, once an hour, for as long as the gateway does not tell it.

The request's transmit timestamp is random, so only who saw the request can answer it; beyond that NTP is unsigned, and
clock.py takes it as a hint. May import sockets.
"""

import asyncio
import errno
import os
import socket

from thingroom_node.links import LinkError, sockets

PORT = 123
# The gateway's own answer usually comes first.
FIRST_MS = 5_000
AGAIN_MS = (30_000, 1800_000)
LOOK_MS = 60_000
ANSWER_MS = 3_000

PACKET_BYTES = 48
# Seconds from 1900 to 1970; a first bit that is not set means that they are counted from 2036 (RFC 4330, 3).
EPOCH = 2_208_988_800
ERA = 1 << 32


def request(nonce):
    """A client's packet, version 4, with 8 random bytes as the time it went out."""
    return b"\x23" + bytes(39) + nonce


def parse(data, nonce):
    """The server's Unix time in ms, half-way between what came and what went. None: no answer to `nonce`, or no use."""
    if len(data) < PACKET_BYTES or data[24:32] != nonce:
        return None
    leap, mode, stratum = data[0] >> 6, data[0] & 7, data[1]
    # 5: not synchronised, no server, a kiss of death.
    if leap == 3 or mode != 4 or not 1 <= stratum <= 15:
        return None
    received, sent = _unix(data, 32), _unix(data, 40)
    if received is None or sent is None or not 0 <= sent - received <= 1000:
        return None
    return (received + sent) // 2


def _unix(data, at):
    seconds = int.from_bytes(data[at : at + 4], "big")
    fraction = int.from_bytes(data[at + 4 : at + 8], "big")
    if not seconds and not fraction:
        return None
    if not seconds >> 31:
        seconds += ERA
    return (seconds - EPOCH) * 1000 + fraction * 1000 // ERA


async def ask(host, port, uptime):
    """`(Unix ms, uptime at which it was asked for)`. Raises LinkError, after `ANSWER_MS` at the latest."""
    sock = sockets.open_socket(host, port, socket.SOCK_DGRAM)
    try:
        nonce = os.urandom(8)
        stream = asyncio.StreamReader(sock)
        asked_at = uptime()
        sock.send(request(nonce))
        return await sockets.within(ANSWER_MS, _answer(sock, stream, nonce), "no_answer"), asked_at
    except OSError as error:
        raise LinkError(sockets.reason_of(error))
    finally:
        sock.close()


async def _answer(sock, stream, nonce):
    while True:
        await stream.read(0)
        try:
            time = parse(sock.recv(PACKET_BYTES * 4), nonce)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            continue
        if time is not None:
            return time


async def keep(clock, server, emit, set_clock):
    """Give `clock` hints from `server`, "host" or "host:port", for ever. `set_clock(Unix ms)` sets the chip's clock."""
    host, _, port = server.partition(":")
    port = int(port or PORT)
    pause_ms = AGAIN_MS[0]
    await asyncio.sleep_ms(FIRST_MS)
    while True:
        if clock.wants_hint():
            try:
                time, asked_at = await ask(host, port, clock.uptime)
            except LinkError as error:
                sockets.forget_address(host, port, socket.SOCK_DGRAM)
                emit({"event": "ntp", "state": "failed", "reason": error.reason, "retry_ms": pause_ms})
            else:
                if clock.hint(time, asked_at):
                    set_clock(time)
                    emit({"event": "clock", "state": "hinted", "round_trip_ms": clock.uptime() - asked_at})
                else:
                    emit({"event": "ntp", "state": "not_taken", "retry_ms": pause_ms})
        if clock.wants_hint():
            await asyncio.sleep_ms(pause_ms)
            pause_ms = min(pause_ms * 2, AGAIN_MS[1])
        else:
            pause_ms = AGAIN_MS[0]
            await asyncio.sleep_ms(LOOK_MS)
