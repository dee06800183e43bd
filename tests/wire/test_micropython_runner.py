"""The runner itself: output and arguments come through, and every kind of failure is one."""

import subprocess
from pathlib import Path

import pytest
from tests.micropython_runner import MicroPythonFailure, run_file, run_source


def test_output_arguments_and_standard_input() -> None:
    source = "import sys\nprint(sys.implementation.name, sys.argv[1:], sys.stdin.readline())"
    assert run_source(source, "a b", "c", stdin="hello\n").split("\n")[0] == "micropython ['a b', 'c'] hello"


def test_firmware_and_frozen_modules_are_importable(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("VALUE = 42\n")
    source = "import asyncio, own\nfrom thingroom_wire import cbor\nprint(cbor.encode(own.VALUE))"
    assert run_source(source, path=[tmp_path]).strip() == repr(b"\x18\x2a")


def test_a_file_sees_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    (tmp_path / "program.py").write_text("import beside, sys\nprint(beside.VALUE)\nsys.exit(0)\n")
    assert run_file(tmp_path / "program.py", cwd=tmp_path) == "7\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [("raise ValueError('x')", 1), ("import sys\nsys.exit(7)", 7), ("not python", 1), ("import nowhere", 1)],
)
def test_a_failure_is_a_failure(source: str, code: int) -> None:
    with pytest.raises(MicroPythonFailure) as failure:
        run_source("print('before')\n" + source)
    assert failure.value.code == code


def test_the_heap_can_be_made_small() -> None:
    with pytest.raises(MicroPythonFailure, match="MemoryError"):
        run_source("a = bytearray(300000)", heap="190k")


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_source("while True: pass", timeout=0.5)
