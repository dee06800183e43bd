"""Which sequences of a device have been received, as disjoint intervals, and what the gaps between them mean.

Pure: integers in, integers out; imports the standard library only. storage/received.py keeps the intervals in SQLite
and asks here how they grow. Terms are those of docs/wire_format.md (skipped, lost).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["lost", "skipped", "buffered", "refused", "unknown"]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Interval:
    """Every sequence from `first` to `last` was received.

    `predecessor` is what the envelope numbered `first` names as its predecessor; None where it names none. `noticed` is
    when (Unix ms) numbers were first missing before it.
    """

    first: int
    last: int
    predecessor: int | None = None
    noticed: int = 0


@dataclass(frozen=True, slots=True)
class Merge:
    """What a run adds: the sequences that are `new`, and the one `interval` that replaces all that it touches."""

    new: tuple[int, ...]
    interval: Interval


@dataclass(frozen=True, slots=True)
class Held:
    """What a device said at `at` (Unix ms): of the numbers up to `reach` the ranges `waiting` are in its outbox."""

    at: int
    reach: int
    waiting: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """`first` to `last` did not come; `since` (Unix ms, 0: not known) is when that was noticed, `note` says more.

    lost: they were made and are not on the device any more. skipped: never used, the device restarted. buffered: they
    wait on the device. refused: they came and could not be used. unknown: nobody has said yet.
    """

    first: int
    last: int
    kind: Kind
    since: int
    note: str

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Maximal runs of consecutive numbers, ascending: {1, 2, 5} -> [(1, 2), (5, 5)]."""
    found: list[tuple[int, int]] = []
    for sequence in sorted(set(sequences)):
        if found and found[-1][1] == sequence - 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found


def merge(first: int, last: int, touching: Sequence[Interval], predecessor: int | None, noticed: int = 0) -> Merge:
    """Add the run `first` to `last` to the intervals that overlap or adjoin it (`touching`, ascending).

    `predecessor` is what the envelope numbered `first` names; it is kept if the result begins there. `noticed` is when
    the gap was noticed that the run falls into, or now.
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
    return Merge(tuple(new), Interval(begin, end, before, touching[0].noticed if touching else noticed))


def gaps(
    intervals: Sequence[Interval],
    held: Held | None = None,
    refused: Iterable[tuple[int, int, str]] = (),
    whole: bool = True,
) -> list[Gap]:
    """What is missing, ascending: between and before the ascending `intervals`, and what waits behind the last.

    The envelope after a hole names its predecessor: what lies between the two was never used. Of the rest `refused`
    (first, last, reason) came, and `held` tells what may still come. What is before the first interval was another
    gateway's, as far as is known; with `whole` False the intervals are only the newest and nothing is said of it.
    """
    known = sorted(refused)
    found: list[Gap] = []
    if intervals and whole and intervals[0].predecessor is not None:
        found += _hole(0, intervals[0], held, known)
    for before, after in pairwise(intervals):
        found += _hole(before.last, after, held, known)
    if held is not None:
        last = intervals[-1].last if intervals else 0
        for first, end in held.waiting:
            if end > last:
                found.append(Gap(max(first, last + 1), end, "buffered", held.at, ON_DEVICE))
    return found


ON_DEVICE = "on the device"
GONE = "not on the device any more"
GONE_OR_UNUSED = "not on the device any more; some of them may never have been used"
RESTARTED = "the device restarted"
BEFORE = "before the first that came here"
NOT_SAID = "the device has not said whether it has them"


def _hole(before: int, after: Interval, held: Held | None, refused: Sequence[tuple[int, int, str]]) -> Iterator[Gap]:
    """What became of the numbers after `before` and up to `after`."""
    first, last, since = before + 1, after.first - 1, after.noticed
    # Whoever says that it is the first of its key after others have come contradicts itself: believe the others.
    made = last if after.predecessor is None else min(after.predecessor, last)
    for start, end, reason in _cut(first, made, refused):
        if reason:
            yield Gap(start, end, "refused", since, reason)
            continue
        for begin, until, is_there in _cut(start, end, [(*one, "y") for one in held.waiting] if held else ()):
            if is_there:
                yield Gap(begin, until, "buffered", since, ON_DEVICE)
                continue
            reach = held.reach if held else 0
            if not before:
                yield Gap(begin, until, "unknown", since, BEFORE)
                continue
            if begin <= reach:
                certain = begin == until == after.predecessor
                yield Gap(begin, min(until, reach), "lost", since, GONE if certain else GONE_OR_UNUSED)
            if until > reach:
                yield Gap(max(begin, reach + 1), until, "unknown", since, NOT_SAID)
    if made < last:
        yield Gap(max(first, made + 1), last, "skipped", since, RESTARTED)


def _cut(first: int, last: int, marked: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """`first` to `last` in pieces: those within an ascending range of `marked` with its mark, the others with ""."""
    for start, end, mark in marked:
        if end < first:
            continue
        if start > last or first > last:
            break
        if start > first:
            yield first, start - 1, ""
            first = start
        yield first, min(end, last), mark
        first = end + 1
    if first <= last:
        yield first, last, ""


_WORDS = {
    "lost": "{} lost",
    "buffered": "{} waiting on the device",
    "refused": "{} refused",
    "unknown": "{} not accounted for",
}


def summary(found: Iterable[Gap]) -> str:
    """For people: "3 lost, 12 waiting on the device"; empty if nothing is missing. Skipped numbers were no readings."""
    counts = dict.fromkeys(_WORDS, 0)
    for gap in found:
        if gap.kind in counts:
            counts[gap.kind] += gap.count
    return ", ".join(_WORDS[kind].format(number) for kind, number in counts.items() if number)


def ranges_text(intervals: Iterable[tuple[int, int]]) -> str:
    """For people: "1-4, 7"."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in intervals)
