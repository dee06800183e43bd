"""Which sequences of a device have been received, as disjoint intervals, and what the gaps between them mean.

Pure: integers in, integers out; imports the standard library only. storage/received.py keeps the intervals in SQLite
and asks here how they grow. Terms are those of docs/wire_format.md (skipped, lost).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Interval:
    """Every sequence from `first` to `last` was received.

    `predecessor` is what the envelope numbered `first` names as its predecessor; None where it names none.
    """

    first: int
    last: int
    predecessor: int | None = None


@dataclass(frozen=True, slots=True)
class Merge:
    """What a run adds: the sequences that are `new`, and the one `interval` that replaces all that it touches."""

    new: tuple[int, ...]
    interval: Interval


@dataclass(frozen=True, slots=True)
class Gap:
    """`first` to `last` are missing between two intervals; `lost` of them are known to have been sent."""

    first: int
    last: int
    lost: int


def runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Maximal runs of consecutive numbers, ascending: {1, 2, 5} -> [(1, 2), (5, 5)]."""
    found: list[tuple[int, int]] = []
    for sequence in sorted(set(sequences)):
        if found and found[-1][1] == sequence - 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found


def merge(first: int, last: int, touching: Sequence[Interval], predecessor: int | None) -> Merge:
    """Add the run `first` to `last` to the intervals that overlap or adjoin it (`touching`, ascending).

    `predecessor` is what the envelope numbered `first` names; it is kept if the result begins there.
    """
    new: list[int] = []
    position = first
    for interval in touching:
        new.extend(range(position, min(interval.first, last + 1)))
        position = max(position, interval.last + 1)
    new.extend(range(position, last + 1))
    if touching and touching[0].first <= first:
        begin, before = touching[0].first, touching[0].predecessor
    else:
        begin, before = first, predecessor
    end = max(last, touching[-1].last) if touching else last
    return Merge(tuple(new), Interval(begin, end, before))


def gaps(intervals: Sequence[Interval]) -> list[Gap]:
    """The holes between ascending `intervals`.

    The envelope after a hole names its predecessor: what lies between the two was skipped (numbers reserved before a
    reset), and a named predecessor that never came is lost. Of a longer hole only that much is certain.
    """
    found = []
    for before, after in pairwise(intervals):
        lost = 0 if after.predecessor is None or after.predecessor <= before.last else 1
        found.append(Gap(before.last + 1, after.first - 1, lost))
    return found


def ranges_text(intervals: Iterable[tuple[int, int]]) -> str:
    """For people: "1-4, 7"."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in intervals)
