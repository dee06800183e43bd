"""The ledger is the exact set of received sequences, in whatever order and batches they arrive."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from thingroom_common.database import Transaction
from thingroom_gateway.ledger import Gap, Interval, Merge, gaps, merge, ranges_text, runs
from thingroom_gateway.storage import received
from thingroom_gateway.storage.received import Envelope
from thingroom_gateway.storage.schema import MIGRATIONS

LAST = 2**53 - 1
near = st.integers(1, 40)
sequences = st.one_of(near, st.integers(LAST - 5, LAST), st.integers(1, LAST))


def envelope(sequence: int, predecessor: int | None = None) -> Envelope:
    return Envelope(sequence, predecessor, 0, "mqtt", 0, sequence.to_bytes(8, "big"), "{}")


@contextlib.contextmanager
def database() -> Iterator[Transaction]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(MIGRATIONS[0].sql)
        connection.execute("INSERT INTO devices VALUES (1, x'00', x'00', x'00', x'00', 'n', 'p', 'c', 'active', 0)")
        connection.execute("INSERT INTO arrivals VALUES (1, 0, 0)")
        yield Transaction(connection)


@given(st.sets(sequences))
def test_runs_cover_exactly_the_set(numbers: set[int]) -> None:
    found = runs(numbers)
    assert {n for first, last in found for n in range(first, last + 1)} == numbers
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


@given(st.lists(st.lists(sequences, max_size=12), max_size=12))
def test_the_ledger_in_sqlite_is_a_set(batches: list[list[int]]) -> None:
    """Against a plain set: what is new, the intervals, and the stored envelopes, after every batch."""
    with database() as transaction:
        expected: set[int] = set()
        order: list[int] = []
        for batch in batches:
            new = received.store(transaction, 1, [envelope(sequence) for sequence in batch])
            assert new == set(batch) - expected
            order += [n for n in dict.fromkeys(batch) if n in new]
            expected |= set(batch)
            intervals = received.intervals(transaction, 1)  # type: ignore[arg-type]
            assert [(i.first, i.last) for i in intervals] == runs(expected)
            rows = transaction.execute("SELECT arrival, sequence, envelope FROM envelopes ORDER BY arrival").fetchall()
            assert [row[0] for row in rows] == list(range(1, len(order) + 1))
            assert [row[1] for row in rows] == order
            assert all(int.from_bytes(row[2], "big") == row[1] for row in rows)


@given(st.permutations(range(1, 25)), st.integers(1, 7))
def test_gaps_do_not_depend_on_the_order_of_arrival(order: list[int], step: int) -> None:
    """A chain of every `step`-th number with some left out tells the same gaps in any order."""
    chain = sorted({n * step for n in order} - {3 * step, 10 * step, 11 * step})
    arriving = [n * step for n in order if n * step in chain]
    with database() as transaction:
        for sequence in arriving:
            # Whoever was numbered before, also where it never arrived.
            received.store(transaction, 1, [envelope(sequence, sequence - step or None)])
        found = gaps(received.intervals(transaction, 1))  # type: ignore[arg-type]
    lost = [(gap.first, gap.last) for gap in found if gap.lost]
    if step == 1:
        assert lost == [(3, 3), (10, 11)]
    else:
        assert lost == [(2 * step + 1, 4 * step - 1), (9 * step + 1, 12 * step - 1)]
        assert len(found) == len(chain) - 1


def test_merging_by_example() -> None:
    assert merge(5, 6, [], 4) == Merge((5, 6), Interval(5, 6, 4))
    assert merge(5, 6, [Interval(1, 4, None)], 4) == Merge((5, 6), Interval(1, 6, None))
    assert merge(5, 6, [Interval(7, 9, 6)], 2) == Merge((5, 6), Interval(5, 9, 2))
    assert merge(2, 8, [Interval(3, 4, 2), Interval(6, 6, 5)], 1) == Merge((2, 5, 7, 8), Interval(2, 8, 1))
    assert merge(3, 4, [Interval(1, 9, None)], 2) == Merge((), Interval(1, 9, None))


def test_skipped_is_not_lost() -> None:
    intervals = [Interval(1, 10, None), Interval(17, 20, 10), Interval(25, 25, 24)]
    assert gaps(intervals) == [Gap(11, 16, 0), Gap(21, 24, 1)]
    assert ranges_text((gap.first, gap.last) for gap in gaps(intervals)) == "11-16, 21-24"
