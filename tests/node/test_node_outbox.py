"""The outbox on CPython against a model: reopening at any moment, tails cut anywhere, bounds, damage."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_node import durable
from thingroom_node.counters import open_counters
from thingroom_node.outbox import Outbox, open_outbox
from thingroom_node.segment import Segment


def opened(folder: Path, segment_bytes: int = 200, max_segments: int = 1000) -> Outbox:
    (folder / "outbox").mkdir(exist_ok=True)
    counters = open_counters(str(folder / "counters"), True)
    return open_outbox(str(folder / "outbox"), counters, segment_bytes, max_segments)


def body(sequence: int) -> tuple[bytes, bytes]:
    return b"header %d" % sequence, b"payload %d" % sequence * (sequence % 5)


def pending(outbox: Outbox) -> list[int]:
    """All pending numbers, each loaded and compared."""
    found = []
    place = outbox.next_pending(0)
    while place is not None:
        assert outbox.load(place) == body(place.sequence)
        found.append(place.sequence)
        place = outbox.next_pending(place.sequence)
    assert outbox.waiting == len(found)
    return found


append = st.tuples(st.just("append"), st.integers(1, 3))
settle = st.tuples(st.just("settle"), st.integers(0, 40), st.integers(0, 12))
reopen = st.tuples(st.just("reopen"))
cut = st.tuples(st.just("cut"), st.integers(1, 40))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(append, append, append, settle, reopen, cut), max_size=50))
def test_it_behaves_like_a_set_whatever_happens(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = opened(folder)
        model: set[int] = set()
        last = 0
        for step in steps:
            if step[0] == "append":
                last += step[1]
                assert outbox.append(last, *body(last)) is None
                model.add(last)
            elif step[0] == "settle":
                gone = {number for number in model if step[1] <= number <= step[1] + step[2]}
                assert outbox.settle(step[1], step[1] + step[2]) == len(gone)
                model -= gone
            elif step[0] == "reopen":
                outbox.close()
                outbox = opened(folder)
            elif last:
                # A record whose tail never reached the disk: the node dies while it appends number last + 1.
                outbox.close()
                live = max((folder / "outbox").glob("*.seg"))
                whole = live.read_bytes()
                probe = Segment(tempfile.mkdtemp(dir=name), 1)
                probe.append(last + 1, *body(last + 1))
                probe.close()
                torn = Path(probe.path).read_bytes()[: -step[1]]
                live.write_bytes(whole + torn)
                shutil.rmtree(Path(probe.path).parent)
                outbox = opened(folder)
            assert pending(outbox) == sorted(model)
            assert outbox.last == last
            newest = outbox.load_newest()
            assert newest is None if last == 0 else newest == (last, *body(last))
        outbox.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 25), st.integers(0, 800), st.integers(0, 800))
def test_any_cut_of_the_files_leaves_a_prefix(count: int, keep: int, keep_notes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = opened(folder, segment_bytes=100_000)
        for sequence in range(1, count + 1):
            outbox.append(sequence, *body(sequence))
        outbox.settle(2, 3)
        outbox.settle(5, 5)
        outbox.close()
        records, notes = folder / "outbox/00000001.seg", folder / "outbox/00000001.ack"
        records.write_bytes(records.read_bytes()[:keep])
        if notes.exists():
            notes.write_bytes(notes.read_bytes()[:keep_notes])
        found = pending(outbox := opened(folder, segment_bytes=100_000))
        present = max([*found, 0])
        assert set(found) >= set(range(1, present + 1)) - {2, 3, 5}
        outbox.append(count + 1, *body(count + 1))
        outbox.settle(1, 1)
        outbox.close()
        again = pending(opened(folder, segment_bytes=100_000))
        assert again == [number for number in found if number != 1] + [count + 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_damage_anywhere_never_gives_a_wrong_record(position: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = opened(folder)
        for sequence in range(1, 21):
            outbox.append(sequence, *body(sequence))
        outbox.close()
        files = sorted((folder / "outbox").glob("*.seg"))
        file = files[position % len(files)]
        content = bytearray(file.read_bytes())
        content[position % len(content)] ^= value
        file.write_bytes(content)
        assert set(pending(opened(folder))) <= set(range(1, 21))


def test_damage_found_while_running_is_no_record(tmp_path: Path) -> None:
    outbox = opened(tmp_path, segment_bytes=100_000)
    for sequence in (1, 2, 3):
        outbox.append(sequence, *body(sequence))
    place = outbox.next_pending(1)
    file = tmp_path / "outbox/00000001.seg"
    content = bytearray(file.read_bytes())
    content[place.offset + 20] ^= 1
    file.write_bytes(content)
    outbox._segments[0].close_reader()
    assert outbox.load(place) is None
    assert outbox.settle(2, 2) == 1
    assert pending(outbox) == [1, 3]


def test_a_full_outbox_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    outbox = opened(tmp_path, segment_bytes=150, max_segments=3)
    losses = [loss for sequence in range(1, 41) if (loss := outbox.append(sequence, *body(sequence)))]
    left = pending(outbox)
    assert left == list(range(left[0], 41))
    assert sum(loss.count for loss in losses) == left[0] - 1
    assert losses[0].first == 1 and losses[-1].last == left[0] - 1
    assert len(list((tmp_path / "outbox").glob("*.seg"))) <= 3
    outbox.close()
    counters = open_counters(str(tmp_path / "counters"), False)
    assert counters.lost == left[0] - 1 and counters.lost_through == left[0] - 1


def test_a_kill_between_counting_a_loss_and_deleting_it_counts_once(tmp_path: Path) -> None:
    outbox = opened(tmp_path, segment_bytes=150, max_segments=3)
    for sequence in range(1, 9):
        outbox.append(sequence, *body(sequence))
    outbox.close()
    oldest = Segment(str(tmp_path / "outbox"), 1)
    oldest.scan()
    counters = open_counters(str(tmp_path / "counters"), False)
    counters.declare_loss(oldest.last, len(range(1, oldest.last + 1)))
    outbox = opened(tmp_path, segment_bytes=150, max_segments=3)
    assert pending(outbox) == list(range(oldest.last + 1, 9))
    assert open_counters(str(tmp_path / "counters"), False).lost == oldest.last


def test_settled_segments_are_deleted_and_the_newest_record_stays(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for sequence in range(1, 31):
        outbox.append(sequence, *body(sequence))
    assert len(list((tmp_path / "outbox").glob("*.seg"))) > 5
    assert outbox.settle(1, 30) == 30
    assert [file.suffix for file in sorted((tmp_path / "outbox").iterdir())] == [".ack", ".seg"]
    outbox.close()
    outbox = opened(tmp_path)
    assert outbox.waiting == 0 and outbox.load_newest() == (30, *body(30))
    outbox.append(31, *body(31))
    assert pending(outbox) == [31]


def test_a_restart_does_not_forget_what_was_acknowledged_inside_a_segment(tmp_path: Path) -> None:
    outbox = opened(tmp_path, segment_bytes=100_000)
    for sequence in range(1, 101):
        outbox.append(sequence, *body(sequence))
    for sequence in range(1, 100, 2):
        outbox.settle(sequence, sequence)
    outbox.close()
    assert pending(opened(tmp_path, segment_bytes=100_000)) == list(range(2, 101, 2))


def test_foreign_and_orphaned_files_are_no_records(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.append(1, *body(1))
    outbox.close()
    for name in ("00000009.ack", "00000001.ack.new", "notes.txt", "lost+found"):
        (tmp_path / "outbox" / name).write_bytes(b"x" * 30)
    outbox = opened(tmp_path)
    assert pending(outbox) == [1]
    assert not (tmp_path / "outbox/00000009.ack").exists() and (tmp_path / "outbox/notes.txt").exists()


class FullDisk:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: object) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data[:10])
        self._file.flush()
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        self._file.close()


def test_half_a_record_on_a_full_disk_is_followed_by_nothing(tmp_path: Path) -> None:
    outbox = opened(tmp_path, segment_bytes=100_000)
    outbox.append(1, *body(1))
    live = outbox._segments[-1]
    live._append_file = FullDisk(live._append_file)
    with pytest.raises(OSError, match="No space"):
        outbox.append(2, *body(2))
    outbox.append(3, *body(3))
    assert pending(outbox) == [1, 3]
    outbox.close()
    reopened = opened(tmp_path, segment_bytes=100_000)
    assert pending(reopened) == [1, 3] and reopened.torn_bytes == 10


def test_a_record_larger_than_an_envelope_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8192"):
        opened(tmp_path).append(1, b"", bytes(8193))


def test_whole_files_are_replaced_or_not(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert durable.read_checked(path) is None
    durable.write_atomic(path, b"one")
    (tmp_path / "file.new").write_bytes(b"half of tw")
    assert durable.read_checked(path) == b"one"
    durable.write_atomic(path, b"")
    assert durable.read_checked(path) == b""
    for broken in (b"", b"abc", b"abcdefgh", b"x" * 5000):
        (tmp_path / "file").write_bytes(broken)
        with pytest.raises(durable.StorageError):
            durable.read_checked(path)
