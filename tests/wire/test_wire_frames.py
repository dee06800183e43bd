"""Frames on a serial line, whatever else is on it: nothing is lost that arrived whole, nothing is made up."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_wire import frames
from thingroom_wire.limits import MAX_ENVELOPE

PAYLOADS = st.one_of(
    st.binary(max_size=600),
    st.builds(lambda size, byte: bytes((byte,)) * size, st.integers(0, MAX_ENVELOPE), st.sampled_from([0, 1, 255])),
)
FRAMES = st.tuples(st.integers(0, 255), PAYLOADS)
PIECES = st.lists(st.integers(1, 5000), min_size=1, max_size=20)


def read(line: bytes, pieces: list[int]) -> list[Any]:
    """What a reader finds in `line`, cut into pieces of these sizes, over and over."""
    reader, found, at, turn = frames.FrameReader(), [], 0, 0
    while at < len(line):
        size = pieces[turn % len(pieces)]
        found += reader.feed(line[at : at + size])
        at, turn = at + size, turn + 1
    return found + reader.flush()


@given(st.binary(max_size=2000))
def test_stuffing_and_back(data: bytes) -> None:
    stuffed = frames.stuff(data)
    assert 0 not in stuffed and frames.unstuff(stuffed) == data
    assert len(stuffed) <= len(data) + len(data) // 254 + 1


@given(st.binary(max_size=600))
def test_unstuffing_takes_anything(data: bytes) -> None:
    unstuffed = frames.unstuff(data)
    assert unstuffed is None or len(unstuffed) <= len(data)


@given(st.lists(FRAMES, max_size=5), PIECES)
def test_frames_arrive_in_any_pieces(sent: list[tuple[int, bytes]], pieces: list[int]) -> None:
    line = b"".join(frames.encode_frame(kind, payload)[0] for kind, payload in sent)
    assert len(line) <= len(sent) * (frames.MAX_STUFFED + 2)
    assert [(item.kind, item.payload) for item in read(line, pieces)] == sent


@given(st.lists(st.one_of(FRAMES, st.binary(max_size=300)), max_size=8), PIECES)
def test_every_frame_is_found_whatever_stands_between(mixed: list[Any], pieces: list[int]) -> None:
    """Of what stands between nothing is taken for a frame, but for one chance in 2^32, and nothing of it is lost."""
    line = b"".join(one if isinstance(one, bytes) else frames.encode_frame(*one)[0] for one in mixed)
    found = read(line, pieces)
    sent = [one for one in mixed if not isinstance(one, bytes)]
    assert [(item.kind, item.payload) for item in found if isinstance(item, frames.Frame)] == sent
    noise = b"".join(item.data for item in found if isinstance(item, frames.Noise))
    assert noise == b"".join(one for one in mixed if isinstance(one, bytes)).replace(b"\0", b"")


@given(FRAMES, st.integers(0), st.integers(1, 255))
def test_a_changed_byte_makes_no_other_frame(frame: tuple[int, bytes], at: int, change: int) -> None:
    line = bytearray(frames.encode_frame(*frame)[0])
    line[at % len(line)] ^= change
    after = frames.encode_frame(2, b"next")[0]
    found = [item for item in read(bytes(line) + after, [4096]) if isinstance(item, frames.Frame)]
    assert found[-1].payload == b"next"
    assert all((item.kind, item.payload) == frame for item in found[:-1])


@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 200))
def test_a_line_without_an_end_is_not_kept(piece: bytes, times: int) -> None:
    reader = frames.FrameReader()
    out = 0
    for _ in range(times):
        out += sum(len(item.data) for item in reader.feed(piece.replace(b"\0", b"x")))
        assert len(reader._buffer) <= frames.MAX_STUFFED
    assert out + len(reader._buffer) == len(piece) * times
    out += sum(len(item.data) for item in reader.flush() + reader.feed(b"the rest"))
    assert out == len(piece) * times + len(b"the rest") and not reader.flush()
    line = frames.encode_frame(1, b"then a frame")[0]
    assert [item.payload for item in reader.feed(line) if isinstance(item, frames.Frame)] == [b"then a frame"]
