"""One segment file of the outbox: records in the order of their numbers, and a log of the numbers that are settled.

`<number>.seg` holds records, each `length, protected length, sequence, CRC-32` and the body (protected header,
payload); it is only ever appended to, so a kill can tear nothing but its tail. `<number>.ack` holds `first, last,
CRC-32` for each range that was settled; losing an entry of it only means sending something twice. Reads go record by
record, so a segment is never in memory. May import intervals and durable. outbox.py strings segments together.
"""

import os
import struct
from binascii import crc32

from thingroom_node import durable, intervals

_HEAD = ">HHQ"
_HEAD_BYTES = 12
_CRC_BYTES = 4
_FRAME_BYTES = _HEAD_BYTES + _CRC_BYTES
_NOTE_BYTES = 20
MAX_BODY = 8192


def ending(level):
    """What the names of segments end with that were thinned `level` times."""
    return "sg{}".format(level) if level else "seg"


def _head(sequence, protected, payload):
    head = struct.pack(_HEAD, len(protected) + len(payload), len(protected), sequence)
    return head, struct.pack(">I", crc32(payload, crc32(protected, crc32(head))))


class Segment:
    """A segment on disk. `pending` is the interval list of unsettled numbers, divided by 2**`level`: a segment that
    was thinned holds multiples of that only. `first` and `last` are the oldest and the newest number (0: none),
    `sealed` whether half a record may be at its end, so that nothing can follow."""

    def __init__(self, directory, number, level=0):
        self.number = number
        self.level = level
        self.path = "{}/{:08x}.{}".format(directory, number, ending(level))
        self.notes_path = "{}/{:08x}.ack".format(directory, number)
        self.pending = []
        self.first = 0
        self.last = 0
        self.size = 0
        self.torn_bytes = 0
        self.sealed = False
        self._append_file = None
        self._read_file = None
        self._cursor = (0, 0)

    def scan(self):
        """Learn from the files what is inside. A torn tail ends the segment: `torn_bytes` says how long it is."""
        offset = 0
        if durable.exists(self.path):
            total = durable.size_of(self.path)
            while True:
                found = self._read(offset)
                if found is None or found[0] <= self.last:
                    break
                self._hold(found[0])
                offset += _FRAME_BYTES + len(found[1]) + len(found[2])
            self.torn_bytes = total - offset
            self.sealed = total > offset
        self.size = offset
        self._apply_notes()

    def append(self, sequence, protected, payload):
        """Store a record; it is on the storage when this returns. Returns its offset. Raises OSError (disk full ...);
        the segment is sealed then.
        """
        if len(protected) + len(payload) > MAX_BODY:
            raise ValueError("a record is at most 8192 bytes")
        head, checksum = _head(sequence, protected, payload)
        if self._append_file is None:
            self._append_file = open(self.path, "ab")
        self.sealed = True
        self._append_file.write(b"".join((head, checksum, protected, payload)))
        durable.sync(self._append_file)
        # On littlefs a file that is open for reading stays as it was when it was opened.
        self.close_reader()
        self.sealed = False
        offset = self.size
        self.size += _FRAME_BYTES + len(protected) + len(payload)
        self._hold(sequence)
        return offset

    def settle(self, first, last):
        """Mark the numbers `first` to `last` as needing no more sending. Returns how many were unsettled."""
        settled = self._subtract(first, last)
        if settled:
            self._note(first, last)
        return settled

    def next_after(self, number):
        """The smallest unsettled number greater than `number`, or None."""
        found = intervals.next_after(self.pending, number >> self.level)
        return None if found is None else found << self.level

    def ranges(self):
        """(first, last) of the unsettled numbers, oldest first; in a thinned segment with others in between."""
        return [(low << self.level, high << self.level) for low, high in self.pending]

    def take(self, sources):
        """Fill this new segment with every second number that is unsettled in `sources`; durable on return.

        Raises OSError: then there is no such segment.
        """
        beside = self.path + ".new"
        with open(beside, "wb") as file:
            for source in sources:
                sequence = source.next_after(0)
                while sequence is not None:
                    found = None
                    if not sequence & (1 << self.level) - 1 and (offset := source.find(sequence)) is not None:
                        found = source.load(offset)
                    if found is not None:
                        head, checksum = _head(*found)
                        file.write(b"".join((head, checksum, found[1], found[2])))
                        self.size += _FRAME_BYTES + len(found[1]) + len(found[2])
                        self._hold(sequence)
                    sequence = source.next_after(sequence)
            durable.sync(file)
        os.rename(beside, self.path)

    def _hold(self, sequence):
        self.first = self.first or sequence
        self.last = sequence
        intervals.add(self.pending, sequence >> self.level)

    def _subtract(self, first, last):
        return intervals.subtract(self.pending, -(-first >> self.level), last >> self.level)

    def find(self, sequence):
        """Offset of the record numbered `sequence`, or None. Cheap when asked in ascending order."""
        offset, known = self._cursor
        if known > sequence:
            offset = 0
        while offset < self.size:
            head = self._read_at(offset, _HEAD_BYTES)
            if len(head) < _HEAD_BYTES:
                return None
            length, _, found = struct.unpack(_HEAD, head)
            if found == sequence:
                self._cursor = (offset, found)
                return offset
            if found > sequence:
                return None
            offset += _FRAME_BYTES + length
        return None

    def load(self, offset):
        """`(sequence, protected, payload)` of the record at `offset`, or None when the storage has damaged it."""
        return self._read(offset)

    def close(self):
        """Close the files; the segment can be used again."""
        for file in (self._append_file, self._read_file):
            if file is not None:
                file.close()
        self._append_file = self._read_file = None

    def remove(self):
        """Delete the files, the records first: notes without records say nothing and are swept at the next start."""
        self.close()
        durable.remove(self.path)
        if self.level:
            durable.remove(self.path + ".new")
        durable.remove(self.notes_path)

    def _read(self, offset):
        frame = self._read_at(offset, _FRAME_BYTES)
        if len(frame) < _FRAME_BYTES:
            return None
        length, protected_length, sequence = struct.unpack_from(_HEAD, frame, 0)
        if length > MAX_BODY or protected_length > length or sequence == 0:
            return None
        body = self._read_file.read(length)
        if len(body) < length:
            return None
        if crc32(body, crc32(frame[:_HEAD_BYTES])) != struct.unpack_from(">I", frame, _HEAD_BYTES)[0]:
            return None
        return sequence, body[:protected_length], body[protected_length:]

    def _read_at(self, offset, length):
        if self._read_file is None:
            self._read_file = open(self.path, "rb")
        self._read_file.seek(offset)
        return self._read_file.read(length)

    def close_reader(self):
        """Give the file handle for reading back; it opens again by itself."""
        if self._read_file is not None:
            self._read_file.close()
            self._read_file = None

    def _note(self, first, last):
        entry = struct.pack(">QQ", first, min(last, self.last))
        try:
            with open(self.notes_path, "ab") as file:
                file.write(entry + struct.pack(">I", crc32(entry)))
        except OSError:
            # A full disk: the numbers are settled for this run, and after a restart they are sent once more.
            return

    def _apply_notes(self):
        if not durable.exists(self.notes_path):
            return
        good = 0
        with open(self.notes_path, "rb") as file:
            while True:
                entry = file.read(_NOTE_BYTES)
                if len(entry) < _NOTE_BYTES or crc32(entry[:16]) != struct.unpack_from(">I", entry, 16)[0]:
                    break
                first, last = struct.unpack_from(">QQ", entry, 0)
                self._subtract(first, last)
                good += _NOTE_BYTES
        if good != durable.size_of(self.notes_path):
            self._cut_notes(good)

    def _cut_notes(self, length):
        """Take a torn entry off the end, so that later entries stay aligned."""
        beside = self.notes_path + ".new"
        with open(self.notes_path, "rb") as source, open(beside, "wb") as target:
            for _ in range(0, length, _NOTE_BYTES):
                target.write(source.read(_NOTE_BYTES))
        os.rename(beside, self.notes_path)
