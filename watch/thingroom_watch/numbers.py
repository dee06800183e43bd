"""Sets of sequence numbers as intervals: small where a device's numbers come without holes. Pure; imports nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Numbers:
    """A set of positive integers."""

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        """`intervals`: (first, last), ascending, apart from each other, as iteration gives them."""
        pairs = list(intervals)
        self._firsts = [first for first, _ in pairs]
        self._lasts = [last for _, last in pairs]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    @property
    def count(self) -> int:
        return sum(last - first + 1 for first, last in self)

    @property
    def lowest(self) -> int:
        """0 where there is none."""
        return self._firsts[0] if self._firsts else 0

    @property
    def highest(self) -> int:
        """0 where there is none."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int) -> None:
        """Every number from `first` to `last`; nothing if there is none between them."""
        if last < first:
            return
        left = bisect_right(self._firsts, first) - 1
        if left < 0 or self._lasts[left] + 1 < first:
            left += 1
        else:
            first = self._firsts[left]
        right = bisect_right(self._firsts, last + 1)
        if right > left:
            last = max(last, self._lasts[right - 1])
        self._firsts[left:right] = [first]
        self._lasts[left:right] = [last]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The intervals of `first` to `last` that are not in the set."""
        holes = []
        place = max(bisect_right(self._firsts, first) - 1, 0)
        at = first
        for have_first, have_last in zip(self._firsts[place:], self._lasts[place:], strict=True):
            if have_first > last:
                break
            if have_first > at:
                holes.append((at, have_first - 1))
            at = max(at, have_last + 1)
        if at <= last:
            holes.append((at, last))
        return holes
