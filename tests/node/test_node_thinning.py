"""A full outbox thins its oldest readings out: what is kept, what is counted as lost, and what a power cut leaves."""

import itertools
import shutil
from pathlib import Path

import pytest

from thingroom_node.counters import open_counters
from thingroom_node.outbox import Outbox, Place, open_outbox


def body(sequence: int) -> tuple[bytes, bytes]:
    return b"head", b"%06d" % sequence * 5


def opened(folder: Path, max_segments: int = 8) -> Outbox:
    (folder / "outbox").mkdir(exist_ok=True)
    counters = open_counters(str(folder / "counters"), not (folder / "counters").exists())
    return open_outbox(str(folder / "outbox"), counters, 500, max_segments, True)


def places(outbox: Outbox) -> list[Place]:
    found: list[Place] = []
    while (place := outbox.next_pending(found[-1].sequence if found else 0)) is not None:
        found.append(place)
    return found


def pending(outbox: Outbox) -> list[int]:
    """The numbers that wait, each of which can be read."""
    found = places(outbox)
    for place in found:
        assert outbox.load(place) == body(place.sequence)
    assert outbox.waiting == len(found)
    return [place.sequence for place in found]


def test_the_older_the_fewer_and_all_that_is_missing_is_counted(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    losses = []
    for sequence in range(1, 601):
        if loss := outbox.append(sequence, *body(sequence)):
            losses.append(loss)
        assert len(list((tmp_path / "outbox").glob("*.s*"))) <= 8
    left = pending(outbox)
    steps = [after - before for before, after in itertools.pairwise(left)]
    assert set(steps) >= {8, 4, 2, 1} and left[-1] == 600
    assert steps[0] > steps[-1] == 1 and left[-1] - left[0] > 150
    assert sum(loss.count for loss in losses) == 600 - len(left)
    missing = set(range(1, 601)) - set(left)
    assert all(any(loss.first <= number <= loss.last for loss in losses) for number in missing)
    assert {loss.every for loss in losses} == {2, 4, 8, 0}
    outbox.close()
    again = opened(tmp_path)
    assert pending(again) == left and again.last == 600
    assert open_counters(str(tmp_path / "counters"), False).lost == 600 - len(left)


def test_what_is_settled_stays_settled(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for sequence in range(1, 301):
        outbox.append(sequence, *body(sequence))
    left = pending(outbox)
    first, last = left[3], left[20]
    assert outbox.settle(first - 1, last + 1) == len([number for number in left if first - 1 <= number <= last + 1])
    remaining = pending(outbox)
    assert not set(remaining) & set(range(first, last + 1))
    outbox.close()
    outbox = opened(tmp_path)
    assert pending(outbox) == remaining
    for sequence in range(301, 601):
        outbox.append(sequence, *body(sequence))
    assert not set(pending(outbox)) & set(range(first, last + 1))
    assert outbox.settle(1, 600) > 0 and outbox.waiting == 0


def test_what_was_about_to_be_sent_is_found_where_it_has_moved_to(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    sequence = 0
    while not list((tmp_path / "outbox").glob("*.sg1")):
        before = places(outbox)
        sequence += 1
        outbox.append(sequence, *body(sequence))
    for place in before:
        found = outbox.load(place)
        assert found == body(place.sequence) or (place.sequence % 2 and found is None)


@pytest.mark.parametrize("steps", range(4))
def test_a_power_cut_while_thinning(tmp_path: Path, steps: int) -> None:
    """Nothing that is kept is lost, and nothing comes twice, however far it came."""
    outbox = opened(tmp_path)
    folder = tmp_path / "outbox"
    sequence = 0
    while not (merged := list(folder.glob("*.sg1"))):
        outbox.close()
        shutil.rmtree(tmp_path / "before", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "before")
        outbox = opened(tmp_path)
        sequence += 1
        outbox.append(sequence, *body(sequence))
    kept = pending(outbox)
    outbox.close()
    number = int(merged[0].name[:8], 16)
    whole = merged[0].read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)
    (folder / (merged[0].name + (".new" if steps == 0 else ""))).write_bytes(whole[:-7] if steps == 0 else whole)
    for gone in range(steps - 1):
        (folder / f"{number - gone:08x}.seg").unlink()
    outbox = opened(tmp_path)
    found = pending(outbox)
    assert found == sorted(set(found)) and set(found) >= set(kept) - {sequence}
    assert outbox.last == sequence - 1
    assert not list(folder.glob("*.new"))
    for later in range(sequence, sequence + 100):
        outbox.append(later, *body(later))
    pending(outbox)
