"""intervals.py against Python's sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from thingroom_node import intervals

numbers = st.sets(st.integers(1, 60))
spans = st.lists(st.tuples(st.integers(0, 62), st.integers(0, 62)), max_size=8)


def as_set(listed: list[list[int]]) -> set[int]:
    return {number for low, high in listed for number in range(low, high + 1)}


@given(numbers, spans)
def test_taking_ranges_out_is_set_difference(present: set[int], cuts: list[tuple[int, int]]) -> None:
    listed: list[list[int]] = []
    for number in sorted(present):
        intervals.add(listed, number)
    left = set(present)
    for first, last in cuts:
        gone = {number for number in left if first <= number <= last}
        assert intervals.subtract(listed, first, last) == len(gone)
        left -= gone
        assert as_set(listed) == left and intervals.count(listed) == len(left)
        assert all(low <= high for low, high in listed)
        assert all(one[1] + 1 < two[0] for one, two in pairwise(listed))


@given(numbers, st.integers(0, 62))
def test_looking_up(present: set[int], number: int) -> None:
    listed: list[list[int]] = []
    for each in sorted(present):
        intervals.add(listed, each)
    assert intervals.contains(listed, number) == (number in present)
    assert intervals.next_after(listed, number) == min((each for each in present if each > number), default=None)
