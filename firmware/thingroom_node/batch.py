"""Samples that wait to go out in one envelope, under one signature: on the storage, so that no power cut loses them.

`batch` is a file of samples, each `length, CRC-32` and CBOR `[boot, state, uptime, unix, [record ...]]`; it is only
appended to, and removed once the envelope with all of them is in the outbox. A start finds what an earlier run
left, and whether an envelope was made of it already. In memory there are counts only. May import durable, clock and
thingroom_wire. runner.py fills and empties it.
"""

import struct
from binascii import crc32

from thingroom_node import durable
from thingroom_node.clock import Moment
from thingroom_wire import cbor, envelope
from thingroom_wire.senml import Record

_HEAD = ">HI"
_HEAD_BYTES = 6
# Of CBOR's 1024 items in a pack, and of an envelope's 8192 bytes: some are left for the first record.
MAX_ITEMS = 1000
MAX_BYTES = 6000


class Batch:
    """`samples` wait at most, for at most `wait_ms`; `count` do now; `boot` and `moment` are those of the last one."""

    def __init__(self, path, samples, wait_ms):
        self._path = path
        self._samples = samples
        self._wait_ms = wait_ms
        self._forget()

    def __len__(self):
        """Records in all samples."""
        return self._records

    def __iter__(self):
        """The records, their times relative to the last sample; read from the storage one by one."""
        with open(self._path, "rb") as file:
            for _ in range(self.count):
                _, moment, records = _read(file)
                for name, unit, value, time in records:
                    yield Record(name, unit, value, time + moment.uptime - self.moment.uptime)

    def add(self, boot, moment, records):
        """Keep a sample; durable on return. Raises OSError: then it is not kept."""
        data = cbor.encode([boot, moment.state, moment.uptime, moment.unix, [list(record) for record in records]])
        if durable.exists(self._path) and durable.size_of(self._path) != self._bytes:
            # Half a sample of an attempt that failed: nothing can follow it.
            if self.count:
                raise OSError("the batch ends with half a sample")
            durable.remove(self._path)
        if not self.has_room(records):
            raise OSError("the batch is full")
        with open(self._path, "ab") as file:
            file.write(struct.pack(_HEAD, len(data), crc32(data)) + data)
            durable.sync(file)
        self._took(boot, moment, records, len(data))

    def has_room(self, records):
        """Whether a sample more makes no envelope that is too large."""
        return self._items + _items(records) <= MAX_ITEMS and self._bytes < MAX_BYTES

    def is_due(self, interval_ms):
        """Whether to make the envelope now rather than at the next sample."""
        if not self.count:
            return False
        return self.count >= self._samples or self.moment.uptime - self._first + interval_ms > self._wait_ms

    def clear(self):
        """An envelope with all of them is stored. Raises OSError."""
        self._forget()
        durable.remove(self._path)

    def scan(self):
        """Learn what an earlier run has left. A torn sample at the end was never counted as made."""
        if not durable.exists(self._path):
            return
        with open(self._path, "rb") as file:
            while (found := _read(file)) is not None:
                boot, moment, records = found
                self._took(boot, moment, records, file.tell() - self._bytes - _HEAD_BYTES)
        if not self.count:
            self.clear()

    def is_in(self, protected):
        """Whether the envelope with this protected header was made of these samples."""
        clock = cbor.decode(protected).get(envelope.CLOCK)
        return self.count > 0 and list(clock[1:]) == [self.boot, self.moment.uptime]

    def _forget(self):
        self.count = self._records = self._items = self._bytes = self._first = 0
        self.boot = 0
        self.moment = None

    def _took(self, boot, moment, records, length):
        if not self.count:
            self._first = moment.uptime
        self.count += 1
        self.boot = boot
        self.moment = moment
        self._records += len(records)
        self._items += _items(records)
        self._bytes += _HEAD_BYTES + length


def open_batch(path, samples, wait_ms, newest):
    """The Batch at `path`; `newest` as of Outbox.load_newest. Raises OSError."""
    batch = Batch(path, samples, wait_ms)
    batch.scan()
    if newest is not None and batch.is_in(newest[1]):
        batch.clear()
    return batch


def _items(records):
    """CBOR items that they take at most: four labels, name, unit, and value and time, both decimal fractions."""
    return 15 * len(records)


def _read(file):
    """(boot, Moment, records) of the sample where `file` stands, or None at the end and where it is torn."""
    head = file.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES:
        return None
    length, checksum = struct.unpack(_HEAD, head)
    data = file.read(length)
    if len(data) < length or crc32(data) != checksum:
        return None
    boot, state, uptime, unix, records = cbor.decode(data)
    return boot, Moment(state, uptime, unix), records
