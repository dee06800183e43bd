"""The outbox: numbered readings wait here, on disk, until the gateway says that it has them.

A directory of segment files, oldest first. A kill at any instant loses nothing that `append` returned for, and a torn
tail is ignored. The number of segments is bounded: when it is reached the oldest are thinned out, two into one that
keeps every second number, later every fourth and eighth, or the oldest goes; what was unsent is counted as lost (twice
where a power cut comes between counting and thinning). In memory there is an interval list per segment, never a
reading. The segment that holds the newest record stays even when everything in it is settled: the newest record is the
predecessor of the next one.
May import segment, durable and counters. runner.py uses it; node.py makes what is appended.
"""

import os
from collections import namedtuple

from thingroom_node import intervals
from thingroom_node.segment import Segment, ending

# Where a pending record is: its number, the number of its segment, its offset there in bytes.
Place = namedtuple("Place", ("sequence", "segment", "offset"))

# Readings dropped unsent because the outbox was full: a range that holds them, how many they are, and how many of the
# numbers make one that was kept there (0: none was).
Loss = namedtuple("Loss", ("first", "last", "count", "every"))

SEGMENTS = 64
# Every eighth number is kept of the oldest.
MAX_LEVEL = 3
# Less than a block of flash is no segment.
MIN_SEGMENT_BYTES = 4096


class Outbox:
    """`open_outbox` makes one. `waiting` is the number of unsettled records."""

    def __init__(self, directory, segments, counters, segment_bytes, max_segments, first_free, is_thinned):
        self._is_thinned = is_thinned
        self._directory = directory
        self._segments = segments
        self._counters = counters
        self._segment_bytes = segment_bytes
        self._max_segments = max_segments
        self._next_number = first_free
        self._newest = None
        self._reading = None
        self.torn_bytes = sum(segment.torn_bytes for segment in segments)
        self.waiting = sum(intervals.count(segment.pending) for segment in segments)
        self._sweep()

    @property
    def last(self):
        """The newest number on disk, 0 when there is none."""
        for segment in reversed(self._segments):
            if segment.last:
                return segment.last
        return 0

    def append(self, sequence, protected, payload):
        """Keep a reading. Durable on return. Returns None, or the Loss of older ones that made room for it.

        Raises OSError when the storage refuses; the number must then not be used again.
        """
        loss = None
        if self._must_roll(len(protected) + len(payload)):
            loss = self._make_room()
            self._roll()
        live = self._segments[-1]
        try:
            offset = live.append(sequence, protected, payload)
        except OSError:
            live.close()
            if not live.last:
                self._delete(live)
            raise
        self._newest = Place(sequence, live.number, offset)
        self.waiting += 1
        self._sweep()
        return loss

    def next_pending(self, after):
        """Place of the oldest unsettled record whose number is greater than `after`, or None."""
        for segment in self._segments:
            if segment.last <= after:
                continue
            sequence = segment.next_after(after)
            if sequence is not None:
                offset = self._use(segment).find(sequence)
                if offset is not None:
                    return Place(sequence, segment.number, offset)
        return None

    def newest_pending(self):
        """Place of the newest record if it is one of this run and unsettled, else None."""
        if self._newest is None or not intervals.contains(self._segments[-1].pending, self._newest.sequence):
            return None
        return self._newest

    def held(self, most):
        """The newest number on disk, and the oldest ranges of unsettled numbers, at most so many: for the hello."""
        ranges = []
        for segment in self._segments:
            for first, last in segment.ranges():
                if len(ranges) == most:
                    return self.last, ranges
                ranges.append((first, last))
        return self.last, ranges

    def load(self, place):
        """`(protected, payload)` of a record, or None when it is gone (settled, dropped) or damaged."""
        for segment in self._segments:
            if segment.number == place.segment:
                found = self._use(segment).load(place.offset)
                if found is not None and found[0] == place.sequence:
                    return found[1], found[2]
                break
        # It may have moved when the segment was thinned out.
        moved = self.next_pending(place.sequence - 1)
        if moved is None or moved.sequence != place.sequence or moved == place:
            return None
        return self.load(moved)

    def load_newest(self):
        """`(sequence, protected, payload)` of the newest record, settled or not, or None: the chain goes on from it."""
        for segment in reversed(self._segments):
            if segment.last:
                offset = self._use(segment).find(segment.last)
                return None if offset is None else segment.load(offset)
        return None

    def settle(self, first, last):
        """Forget the numbers `first` to `last` (acknowledged, refused). Returns how many were waiting."""
        settled = 0
        for segment in self._segments:
            if segment.last >= first:
                settled += segment.settle(first, last)
        if settled:
            self.waiting -= settled
            self._sweep()
        return settled

    def close(self):
        """Close the files."""
        for segment in self._segments:
            segment.close()

    def _must_roll(self, body_bytes):
        if not self._segments or self._segments[-1].sealed:
            return True
        live = self._segments[-1]
        return live.size > 0 and live.size + body_bytes > self._segment_bytes

    def _roll(self):
        if self._segments:
            self._segments[-1].close()
        self._segments.append(Segment(self._directory, self._next_number))
        self._next_number += 1

    def _make_room(self):
        if len(self._segments) < self._max_segments:
            return None
        before = len(self._segments)
        if self._is_thinned and (place := self._thinnable()) is not None:
            loss = self._thin(place)
            if len(self._segments) < before:
                return loss
        oldest = self._segments[0]
        loss = None
        if oldest.pending:
            ranges = oldest.ranges()
            loss = Loss(ranges[0][0], ranges[-1][1], intervals.count(oldest.pending), 0)
            # Counted first: if a kill comes between, the next start sees from `lost_through` what to finish.
            self._counters.declare_loss(oldest.last, loss.count)
            self.waiting -= loss.count
        self._delete(oldest)
        return loss

    def _thinnable(self):
        """Index of the older of two segments to be made one, or None.

        Half of the storage is for all numbers, a quarter for every second one, an eighth for every fourth.
        """
        for level in range(MAX_LEVEL):
            own = [index for index, segment in enumerate(self._segments[:-1]) if segment.level == level]
            if len(own) >= max(2, self._max_segments >> (level + 1)) and own[1] == own[0] + 1:
                return own[0]
        return None

    def _thin(self, index):
        sources = self._segments[index : index + 2]
        merged = Segment(self._directory, sources[1].number, sources[0].level + 1)
        ranges = sources[0].ranges() + sources[1].ranges()
        try:
            merged.take(sources)
        except OSError:
            # No room for both: the oldest goes after all.
            merged.remove()
            return None
        self._reading = None
        waiting = sum(intervals.count(segment.pending) for segment in sources)
        count = waiting - intervals.count(merged.pending)
        loss = None
        if count:
            loss = Loss(ranges[0][0], ranges[-1][1], count, 1 << merged.level)
            self._counters.declare_loss(self._counters.lost_through, count)
            self.waiting -= count
        # The newer first: what a kill leaves of the older is seen to be in the merged one by its numbers.
        sources[1].remove()
        sources[0].remove()
        self._segments[index : index + 2] = [merged]
        if not merged.pending:
            self._delete(merged)
        return loss

    def _sweep(self):
        """Delete the segments with nothing unsettled, except the one with the newest record."""
        last = self.last
        for segment in list(self._segments) if self._has_settled(last) else ():
            if not segment.pending and segment.last < last:
                self._delete(segment)

    def _has_settled(self, last):
        for segment in self._segments:
            if not segment.pending and segment.last < last:
                return True
        return False

    def _delete(self, segment):
        if self._reading is segment:
            self._reading = None
        segment.remove()
        self._segments.remove(segment)

    def _use(self, segment):
        """Let only one segment at a time hold a handle for reading."""
        if self._reading is not None and self._reading is not segment:
            self._reading.close_reader()
        self._reading = segment
        return segment


def shape(outbox_bytes):
    """(bytes in a segment, number of segments) of an outbox that takes that much."""
    segment_bytes = max(MIN_SEGMENT_BYTES, outbox_bytes // SEGMENTS)
    return segment_bytes, outbox_bytes // segment_bytes


def open_outbox(directory, counters, segment_bytes, max_segments=SEGMENTS, is_thinned=False):
    """Open the outbox in `directory` (which exists) and finish what a kill has interrupted. Raises OSError."""
    levels = _sort(directory)
    segments = []
    for number in sorted(levels):
        segment = Segment(directory, number, levels[number])
        segment.scan()
        segment.close()
        highest = segments[-1].last if segments else 0
        if segment.last <= max(highest, counters.lost_through):
            segment.remove()
            continue
        if segments and segment.first <= highest:
            # It was made of the one before and of itself.
            segments.pop().remove()
        segments.append(segment)
    first_free = max(levels) + 1 if levels else 1
    return Outbox(directory, segments, counters, segment_bytes, max_segments, first_free, is_thinned)


def _sort(directory):
    """How often each segment was thinned, by its number; what a kill has left beside them is removed."""
    kinds = {ending(level): level for level in range(MAX_LEVEL + 1)}
    names = os.listdir(directory)
    levels = {}
    for name in names:
        if name[9:] in kinds:
            number = int(name[:8], 16)
            levels[number] = max(levels.get(number, 0), kinds[name[9:]])
    for name in names:
        kind = name[9:]
        if kind in kinds:
            is_left = levels[int(name[:8], 16)] != kinds[kind]
        elif kind == "ack":
            is_left = name[:8] not in ["{:08x}".format(number) for number in levels]
        else:
            is_left = kind[-4:] == ".new" and (kind[:-4] == "ack" or kind[:-4] in kinds)
        if is_left:
            os.remove(directory + "/" + name)
    return levels
