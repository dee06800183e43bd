"""The ledger is the exact set of received sequences, in whatever order and batches they arrive."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_common.database import Transaction
from thingroom_gateway.ledger import (
    GONE,
    GONE_OR_UNUSED,
    Gap,
    Held,
    Interval,
    Merge,
    gaps,
    merge,
    ranges_text,
    runs,
)
from thingroom_gateway.storage import missing, received
from thingroom_gateway.storage.received import Envelope
from thingroom_gateway.storage.schema import MIGRATIONS

LAST = 2**53 - 1
RECEIVED = 77
near = st.integers(1, 40)
sequences = st.one_of(near, st.integers(LAST - 5, LAST), st.integers(1, LAST))


def envelope(sequence: int, predecessor: int | None = None) -> Envelope:
    return Envelope(sequence, predecessor, RECEIVED, "mqtt", 0, sequence.to_bytes(8, "big"), "{}")


@contextlib.contextmanager
def database() -> Iterator[Transaction]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration.sql)
        connection.execute(
            "INSERT INTO devices (id, kid, device_key, agreement_key, downlink_key, name, place, profile, status,"
            " enrolled_at) VALUES (1, x'00', x'00', x'00', x'00', 'n', 'p', 'c', 'active', 0)"
        )
        connection.execute("INSERT INTO arrivals VALUES (1, 0, 0)")
        yield Transaction(connection)


@settings(deadline=None)
@given(st.sets(sequences))
def test_runs_cover_exactly_the_set(numbers: set[int]) -> None:
    found = runs(numbers)
    assert {n for first, last in found for n in range(first, last + 1)} == numbers
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.permutations(range(1, 25)), st.integers(1, 7))
def test_gaps_do_not_depend_on_the_order_of_arrival(order: list[int], step: int) -> None:
    """A chain of every `step`-th number with some left out tells the same gaps in any order."""
    chain = sorted({n * step for n in order} - {3 * step, 10 * step, 11 * step})
    arriving = [n * step for n in order if n * step in chain]
    with database() as transaction:
        for sequence in arriving:
            # Whoever was numbered before, also where it never arrived.
            received.store(transaction, 1, [envelope(sequence, sequence - step or None)])
        missing.hold(transaction, 1, 1, 1, Held(5, 24 * step, ()))
        found = missing.gaps_of(transaction, 1)  # type: ignore[arg-type]
    lost = [(gap.first, gap.last) for gap in found if gap.kind == "lost"]
    if step == 1:
        assert lost == [(3, 3), (10, 11)]
    else:
        assert lost == [(2 * step + 1, 3 * step), (9 * step + 1, 11 * step)]
        assert {(gap.first, gap.last) for gap in found if gap.kind == "skipped"} == {
            (before + 1 if before + step == after else after - step + 1, after - 1) for before, after in pairwise(chain)
        }
    assert {gap.since for gap in found} == {RECEIVED}


def test_merging_by_example() -> None:
    assert merge(5, 6, [], 4) == Merge((5, 6), Interval(5, 6, 4))
    assert merge(5, 6, [Interval(1, 4, None)], 4) == Merge((5, 6), Interval(1, 6, None))
    assert merge(5, 6, [Interval(7, 9, 6)], 2) == Merge((5, 6), Interval(5, 9, 2))
    assert merge(2, 8, [Interval(3, 4, 2), Interval(6, 6, 5)], 1) == Merge((2, 5, 7, 8), Interval(2, 8, 1))
    assert merge(3, 4, [Interval(1, 9, None)], 2) == Merge((), Interval(1, 9, None))


CHAIN = [Interval(1, 10, None), Interval(17, 20, 10, 5), Interval(25, 25, 24, 6), Interval(40, 41, 34, 7)]


def kinds(found: Sequence[Gap]) -> list[tuple[int, int, str]]:
    return [(gap.first, gap.last, gap.kind) for gap in found]


def test_what_the_chain_says_and_the_device_does_not() -> None:
    assert kinds(gaps(CHAIN)) == [(11, 16, "skipped"), (21, 24, "unknown"), (26, 34, "unknown"), (35, 39, "skipped")]
    assert [gap.since for gap in gaps(CHAIN)] == [5, 6, 7, 7]


def test_what_waits_on_the_device_and_what_does_not() -> None:
    held = Held(9, 43, ((22, 23), (30, 31), (33, 34), (41, 43)))
    assert kinds(gaps(CHAIN, held)) == [
        (11, 16, "skipped"),
        (21, 21, "lost"),
        (22, 23, "buffered"),
        (24, 24, "lost"),
        (26, 29, "lost"),
        (30, 31, "buffered"),
        (32, 32, "lost"),
        (33, 34, "buffered"),
        (35, 39, "skipped"),
        (42, 43, "buffered"),
    ]
    by_first = {gap.first: gap for gap in gaps(CHAIN, held)}
    assert by_first[24].note == GONE, "named as a predecessor: it was there for certain"
    assert by_first[21].note == by_first[32].note == GONE_OR_UNUSED
    assert by_first[42].since == 9


def test_a_device_says_nothing_of_what_is_beyond_its_reach() -> None:
    assert kinds(gaps(CHAIN, Held(9, 28, ((22, 23), (27, 28)))))[2:] == [
        (22, 23, "buffered"),
        (24, 24, "lost"),
        (26, 26, "lost"),
        (27, 28, "buffered"),
        (29, 34, "unknown"),
        (35, 39, "skipped"),
    ]
    assert kinds(gaps([], Held(9, 4, ((1, 3),)))) == [(1, 3, "buffered")]


def test_what_was_refused_came() -> None:
    held = Held(9, 41, ())
    found = gaps(CHAIN, held, [(27, 30, "below_range"), (21, 24, "no_records")])
    assert kinds(found)[1:] == [
        (21, 24, "refused"),
        (26, 26, "lost"),
        (27, 30, "refused"),
        (31, 34, "lost"),
        (35, 39, "skipped"),
    ]
    assert [gap.note for gap in found if gap.kind == "refused"] == ["no_records", "below_range"]


def test_what_was_before_this_gateway_is_not_called_lost() -> None:
    later = [Interval(90, 95, 89, 4)]
    assert kinds(gaps(later, Held(9, 95, ((80, 84),)))) == [
        (1, 79, "unknown"),
        (80, 84, "buffered"),
        (85, 89, "unknown"),
    ]
    assert gaps(later, whole=False) == []
    assert gaps([Interval(90, 95, None)]) == []


@settings(deadline=None)
@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.sets(st.integers(1, 70)),
    st.sets(st.integers(1, 60)),
    st.integers(1, 70),
    st.data(),
)
def test_every_missing_number_is_in_one_gap(
    came: set[int], waiting: set[int], refused: set[int], reach: int, data: st.DataObject
) -> None:
    intervals = [
        Interval(first, last, data.draw(st.integers(1, first - 1)) if first > 1 else None) for first, last in runs(came)
    ]
    held = Held(9, max([reach, *waiting]), tuple(runs(waiting)))
    found = gaps(intervals, held, [(first, last, "no_records") for first, last in runs(refused)])
    numbers = [n for gap in found for n in range(gap.first, gap.last + 1)]
    assert numbers == sorted(set(numbers))
    between = set(range(1, max(came))) - came
    assert set(numbers) == between | {n for n in waiting if n > max(came)}
    assert all(gap.first <= gap.last and gap.note for gap in found)


def test_an_older_word_of_a_device_changes_nothing() -> None:
    with database() as transaction:
        assert missing.hold(transaction, 1, 2, 500, Held(10, 9, ((8, 9),)))
        assert not missing.hold(transaction, 1, 2, 500, Held(11, 9, ()))
        assert not missing.hold(transaction, 1, 1, 900, Held(12, 9, ()))
        assert missing.held_by(transaction, 1) == Held(10, 9, ((8, 9),))  # type: ignore[arg-type]
        assert missing.hold(transaction, 1, 3, 1, Held(13, 12, ()))
        assert missing.held_by(transaction, 1) == Held(13, 12, ())  # type: ignore[arg-type]


def test_what_is_kept_of_refusals_is_bounded() -> None:
    with database() as transaction:
        for sequence in (4, 5, 6, 6, 5, 9):
            missing.refuse(transaction, 1, sequence, "no_records")
        missing.refuse(transaction, 1, 10, "below_range")
        rows = [tuple(row) for row in transaction.execute("SELECT first, last, reason FROM refused")]
        assert rows == [(4, 6, "no_records"), (9, 9, "no_records"), (10, 10, "below_range")]
        for sequence in range(100, 1000, 2):
            missing.refuse(transaction, 1, sequence, "no_records")
        assert transaction.execute("SELECT COUNT(*), MAX(last) FROM refused").fetchone() == (missing.MAX_REFUSED, 998)


def test_ranges_for_people() -> None:
    assert ranges_text([(11, 16), (21, 21)]) == "11-16, 21"
