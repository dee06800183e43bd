"""Finds the gateway, or a name in .local, by multicast DNS (RFC 6762, RFC 6763). May import sockets.

One question at a time from a port of our own, as 6.7 wants it of a simple asker: responders then answer to us alone.
Whoever is on the network can answer; what a wrong gateway says is not believed later, and the next time another one of
those that answered has its turn. sockets.py loads this when it is needed and forgets it then.
"""

import asyncio
import errno
import os
import socket
import time
from collections import namedtuple

from thingroom_node.links import LinkError, sockets

GROUP = ("224.0.0.251", 5353)
SERVICE = "_thingroom"
FIRST_WAIT_MS = 1000
ROUNDS = 5
TOTAL_MS = 8000

MAX_MESSAGE = 1500
MAX_RECORDS = 40
MAX_NAME = 255
MAX_JUMPS = 16

A, PTR, SRV = 1, 12, 33
# IN, and an answer to us alone is fine (5.4).
QUESTION_CLASS = 0x8001

# `value` is an address as text (A), a name (PTR) or `(name, port)` (SRV). Names are in small letters.
Record = namedtuple("Record", ("name", "type", "value"))


class MessageError(Exception):
    """A datagram is no answer that can be read."""


def question(query_id, name, kind):
    """A question for the records of `kind` at `name`."""
    data = bytearray(query_id.to_bytes(2, "big") + b"\0\0\0\1\0\0\0\0\0\0")
    for label in name.split("."):
        part = label.encode()
        data.append(len(part))
        data.extend(part)
    return bytes(data) + b"\0" + kind.to_bytes(2, "big") + QUESTION_CLASS.to_bytes(2, "big")


def parse(data):
    """`(query id, list of Records)` of a response. Raises MessageError."""
    _require(12 <= len(data) <= MAX_MESSAGE and data[2] & 0x80 and not data[3] & 0x0F)
    questions = _uint16(data, 4)
    records = _uint16(data, 6) + _uint16(data, 8) + _uint16(data, 10)
    _require(questions + records <= MAX_RECORDS)
    at = 12
    for _ in range(questions):
        at = _name(data, at)[1] + 4
    found = []
    for _ in range(records):
        name, at = _name(data, at)
        _require(at + 10 <= len(data))
        kind, klass, length = _uint16(data, at), _uint16(data, at + 2) & 0x7FFF, _uint16(data, at + 8)
        at += 10
        end = at + length
        _require(end <= len(data))
        if klass == 1 and kind == A and length == 4:
            found.append(Record(name, A, ".".join(str(byte) for byte in data[at:end])))
        elif klass == 1 and kind == PTR:
            found.append(Record(name, PTR, _name(data, at)[0]))
        elif klass == 1 and kind == SRV and length > 6:
            found.append(Record(name, SRV, (_name(data, at + 6)[0], _uint16(data, at + 4))))
        at = end
    return _uint16(data, 0), found


def _name(data, at):
    """The name at `at`, and where it ends there; pointers lead back only, so this ends. Raises MessageError."""
    labels = []
    length = jumps = 0
    end = None
    while True:
        _require(at < len(data))
        size = data[at]
        if size >= 0xC0:
            _require(at + 1 < len(data) and jumps < MAX_JUMPS)
            jumps += 1
            if end is None:
                end = at + 2
            target = _uint16(data, at) & 0x3FFF
            _require(target < at)
            at = target
            continue
        _require(size < 0x40 and at + 1 + size <= len(data))
        at += 1
        if not size:
            return ".".join(labels).lower(), at if end is None else end
        length += size + 1
        _require(length <= MAX_NAME)
        try:
            labels.append(str(data[at : at + size], "utf-8"))
        except UnicodeError:
            raise MessageError()
        at += size


def _uint16(data, at):
    return data[at] << 8 | data[at + 1]


def _require(condition):
    if not condition:
        raise MessageError()


class Search:
    """What is known so far on the way to an address. Pure. `turn` says which of several gateways it is to be."""

    def __init__(self, host, port, protocol, turn=0):
        self._service = None if host != "auto" else "{}.{}.local".format(SERVICE, protocol)
        self._target = None if host == "auto" else host.lower()
        self._port = port
        self._turn = turn
        self._records = []

    def take(self, records):
        """Keep the Records that a response brought; unrelated ones may be among them."""
        for record in records:
            if record not in self._records and len(self._records) < MAX_RECORDS:
                self._records.append(record)

    def step(self):
        """`(host, port)` when it is known; else `(name, kind)` to ask for, a name and A, PTR or SRV."""
        target, port = self._target, self._port
        if self._service is not None:
            instances = sorted(self._values(self._service, PTR))
            if not instances:
                return None, (self._service, PTR)
            instance = instances[self._turn % len(instances)]
            places = self._values(instance, SRV)
            if not places:
                return None, (instance, SRV)
            target, port = places[0]
        addresses = self._values(target, A)
        if not addresses:
            return None, (target, A)
        return (addresses[self._turn % len(addresses)], port), None

    def _values(self, name, kind):
        return [record.value for record in self._records if record.name == name and record.type == kind]


async def find(host, port, protocol, group=GROUP):
    """`(address, port)` of `host`, a name in .local or "auto". Raises LinkError, after `TOTAL_MS` at the latest."""
    return await sockets.within(TOTAL_MS, _find(Search(host, port, protocol, sockets.turn()), group), "not_found")


async def _find(search, group):
    address = socket.getaddrinfo(group[0], group[1], 0, socket.SOCK_DGRAM)[0][-1]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        stream = asyncio.StreamReader(sock)
        wait_ms = FIRST_WAIT_MS
        for _ in range(ROUNDS):
            found, wanted = search.step()
            if found is not None:
                return found
            query_id = int.from_bytes(os.urandom(2), "big")
            sock.sendto(question(query_id, wanted[0], wanted[1]), address)
            if not await _listen(sock, stream, search, query_id, wanted, wait_ms):
                wait_ms *= 2
    finally:
        sock.close()
    raise LinkError("not_found")


async def _listen(sock, stream, search, query_id, wanted, wait_ms):
    """Take responses until one gets the search further, or for `wait_ms`. Returns whether it got further."""
    began = time.ticks_ms()
    while (left := wait_ms - time.ticks_diff(time.ticks_ms(), began)) > 0:
        try:
            await asyncio.wait_for_ms(stream.read(0), left)
        except asyncio.TimeoutError:
            return False
        try:
            data = sock.recv(MAX_MESSAGE + 1)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            continue
        try:
            responded_id, records = parse(data)
        except MessageError:
            continue
        if responded_id in (0, query_id):
            search.take(records)
        if search.step()[1] != wanted:
            return True
    return False
