"""The power goes at every change of the storage during an update, on MicroPython: the board starts and ends updated."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from tests.micropython_runner import MicroPythonFailure, run_file

from thingroom_common.firmware_image import Image, flash_files

MACHINE = Path(__file__).parent / "on_board" / "update_machine.py"
FILES = {"version": b"new", "thingroom_node/a.mpy": bytes(700), "thingroom_node/update/b.mpy": bytes(range(256)) * 3}
OLD = {"version": b"older", "thingroom_node/x.mpy": b"x"}
LOST = 9


def board(root: Path) -> None:
    """A board that runs "old" in the slot a; in the other is what ran before."""
    for slot, files in (("a", {"version": b"old"}), ("b", OLD)):
        for path, data in files.items():
            target = root / "app" / slot / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    (root / "main.py").write_bytes(flash_files()["main.py"])


class Board:
    def __init__(self, root: Path, bundle: bytes = b"", digest: bytes = b"") -> None:
        root.mkdir()
        board(root)
        self.root = root
        self.bundle = root / "what_is_sent"
        self.bundle.write_bytes(bundle or Image("new", "x64", FILES).bundle)
        self.digest = digest or hashlib.sha256(self.bundle.read_bytes()).digest()

    def live(self, cut: int = 0) -> str:
        """One life; what it said. With a cut it ends there, if it comes so far."""
        try:
            return run_file(MACHINE, str(self.root), str(self.bundle), self.digest.hex(), str(cut))
        except MicroPythonFailure as failure:
            assert failure.code == LOST and not failure.stderr, failure
            return failure.stdout


def until_updated(made: Board) -> None:
    """Whatever has happened: it starts, goes on, and ends with the new version whole."""
    for _ in range(4):
        said = made.live()
        assert re.match(r"(a old|b new)\n", said), said
        if said.startswith("b new\ndone"):
            break
    else:
        raise AssertionError(said)
    for path, data in FILES.items():
        assert (made.root / "app" / "b" / path).read_bytes() == data
    assert not (made.root / "app" / "b" / "thingroom_node" / "x.mpy").exists()
    assert not (made.root / "app" / "bundle").exists()


def changes(said: str) -> int:
    return int(said.split()[-1])


def test_without_a_cut(tmp_path: Path) -> None:
    made = Board(tmp_path / "board")
    assert made.live().startswith("a old\ntrial")
    assert made.live().startswith("b new\ndone")
    until_updated(made)


def test_the_power_goes_at_every_change(tmp_path: Path) -> None:
    """At each change of the first life, and at each of the second, which tries and confirms."""
    whole = Board(tmp_path / "whole")
    first, second = changes(whole.live()), changes(whole.live())
    assert first > 20 and second > 3
    for cut in range(1, first + 1):
        made = Board(tmp_path / f"first{cut}")
        made.live(cut)
        until_updated(made)
    for cut in range(1, second + 1):
        made = Board(tmp_path / f"second{cut}")
        made.live()
        made.live(cut)
        until_updated(made)


def test_the_power_goes_again_and_again(tmp_path: Path) -> None:
    made = Board(tmp_path / "board")
    for cut in (2, 5, 9, 12, 3, 20):
        assert made.live(cut).startswith("a old\n")
    until_updated(made)


def test_a_damaged_rest_is_fetched_again(tmp_path: Path) -> None:
    """What a loss of power leaves behind may be anything."""
    made = Board(tmp_path / "board")
    made.live(9)
    (made.root / "app" / "bundle").write_bytes(b"\xff" * 600)
    until_updated(made)


@pytest.mark.parametrize(
    ("bundle", "outcome"),
    [
        (b"\x07../evil\0\0\0\x01x", "bad_bundle"),
        (b"\x05/evil\0\0\0\x01x", "bad_bundle"),
        (b"\x04evil\0\0\xff\0x", "bad_bundle"),
    ],
)
def test_a_bundle_that_is_none(tmp_path: Path, bundle: bytes, outcome: str) -> None:
    made = Board(tmp_path / "board", bundle)
    assert outcome in made.live()
    assert not (tmp_path / "evil").exists() and not (made.root / "evil").exists()
    assert made.live().startswith("a old\n")


def test_what_arrived_is_not_what_was_signed(tmp_path: Path) -> None:
    made = Board(tmp_path / "board", digest=bytes(32))
    assert "bad_digest" in made.live()
    assert made.live().startswith("a old\n")


def test_a_version_that_does_not_start_is_given_up(tmp_path: Path) -> None:
    made = Board(tmp_path / "board")
    made.live()
    shutil.rmtree(made.root / "app" / "b")
    assert made.live().startswith("a old\ngave up did_not_start")
