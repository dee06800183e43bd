"""The board files are right, `thingroom board` says what is wrong with others, and board.json is what boards read."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from tests import board_tables

from thingroom.board_file import json_schema
from thingroom.boards import BoardError, board_directory, board_json, find_board, load_board, load_boards
from thingroom.cli import main
from thingroom_node.equipment import SENSORS

FILES = sorted(board_directory().glob("*.toml"))
FIRMWARE = Path(__file__).parents[2] / "firmware"
NAMED = {
    "esp32-devkit", "esp32-s3", "esp32-c3", "esp32-c6", "xiao-esp32s3", "xiao-esp32c3",
    "pico-w", "pico-2-w", "pico", "mps2-an385", "unix",
}  # fmt: skip


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["board", *words], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_boards_that_there_have_to_be() -> None:
    assert set(load_boards()) >= NAMED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_board_file_is_right(path: Path) -> None:
    board = load_board(path)
    Draft202012Validator(json.loads(json_schema())).validate(tomllib.loads(path.read_text()))
    assert path.read_text().startswith("#:schema ./schema.json\n")
    assert not board.main or (FIRMWARE / board.main).is_file()
    for link in board.links:
        assert (FIRMWARE / f"thingroom_node/links/{link}.py").is_file()
    for sensor in board.sensors:
        assert sensor in SENSORS or sensor == "simulated"
    code, told = _run("show", board.name)
    assert code == 0 and board.title in told
    assert _run("check", str(path))[0] == 0


def test_the_schema_for_editors_is_the_one_of_the_structs() -> None:
    """After a change of board_file.py: python -m thingroom.board_file > board_configs/schema.json."""
    assert (board_directory() / "schema.json").read_text() == json_schema()


def test_no_digest_was_invented() -> None:
    """Every digest that is there has to be that of a file that somebody has downloaded; so far none has been."""
    assert not [path for path in FILES if re.search(r'sha256 = "[0-9a-f]', path.read_text())]


def test_what_the_board_reads() -> None:
    told = json.loads(board_json(find_board("pico")))
    assert told["battery"] == {"pin": 29, "divider": [200, 100]} and told["led"]["pin"] == "LED"
    assert {bus["kind"] for bus in told["buses"]} == {"i2c", "spi", "uart", "onewire"}
    assert told["buses"][0] == {"kind": "i2c", "name": "i2c0", "id": 0, "scl": 5, "sda": 4, "frequency": 100000}
    assert all(len(board_json(board)) < 1024 for board in load_boards().values())


def test_the_tables_of_the_document_are_of_today() -> None:
    """After a change of a board or a driver: python -m tests.board_tables."""
    text = board_tables.DOCUMENT.read_text(encoding="utf-8")
    assert board_tables.filled(text) == text


def test_list_and_show() -> None:
    code, told = _run("list")
    assert code == 0 and {line.split(" ")[0] for line in told.splitlines()} >= NAMED
    code, told = _run("show", "esp32-devkit")
    assert code == 0 and "0x1000" in told and "scl 22, sda 21" in told and "not known here" in told
    code, told = _run("show", "teapot")
    assert code == 1 and "There is no board teapot" in told and "pico-w" in told


GOOD = (board_directory() / "pico.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('name = "pico"', 'name = "picco"', "the file must be picco.toml"),
        ("flash_bytes", "flash_byte", "unknown field `flash_byte`"),
        ("scl = 5", "scl = 4", "i2c0 has its sda on pin 4, which is taken: i2c0"),
        ("scl = 5", "scl = 23", "which is taken: reserved"),
        ("scl = 5", 'scl = "LED"', "which is taken: led"),
        ("scl = 5\n", "", "i2c0 has one pin of two"),
        ("pin = 29", "pin = 22", "power.battery: pin 22 is taken: onewire"),
        ('name = "i2c1"', 'name = "i2c0"', "i2c0 is there twice"),
        ('mpy_arch = "armv6m"', 'mpy_arch = "armv7m"', "MicroPython on rp2040 runs armv6m"),
        ("v1.28.0.uf2", "v1.28.0.bin", "an image for rp2 ends with .uf2"),
        ("https://micropython.org/", "http://micropython.org/", "regex"),
        ('sha256 = ""', 'sha256 = "abc"', "regex"),
        ('sha256 = ""', "offset = 0x1000", "that of a rp2040 is 0x0"),
        ('links = ["serial"]', 'links = ["mqtt"]', "without a radio there is only serial"),
        ("heap_bytes = 100_000", "heap_bytes = 1_000_000", "more than the chip's memory"),
        ("bytes = 1_441_792", "bytes = 3_000_000", "more of it than flash"),
        ("[storage]", "[storage", "at line"),
    ],
)
def test_check_says_what_is_wrong(tmp_path: Path, old: str, new: str, what: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    path = tmp_path / "pico.toml"
    path.write_text(text)
    code, told = _run("check", str(path))
    assert code == 1 and what in told, told


def test_a_board_without_image_or_hint(tmp_path: Path) -> None:
    path = tmp_path / "pico.toml"
    path.write_text(re.sub(r"\[image\].*?\n\n", "", GOOD, flags=re.DOTALL))
    with pytest.raises(BoardError, match="there is none to flash"):
        load_board(path)
    path.write_text(re.sub(r"\[boot\].*?\n\n", "", GOOD, flags=re.DOTALL))
    with pytest.raises(BoardError, match="say what to do"):
        load_board(path)
    path.write_text(GOOD)
    assert find_board(str(path)) == find_board("pico")
