"""What can only be asked of MicroPython itself: the board file, the EUI-64, failures of the program."""

import tomllib
from pathlib import Path

from tests.micropython_runner import FIRMWARE, MicroPythonFailure, run_file, run_source

BOARD = tomllib.loads((FIRMWARE.parent / "board_configs/unix.toml").read_text())


def test_the_board_file_tells_the_truth() -> None:
    source = (
        "import sys, gc\n"
        "bits = 1\n"
        "value = sys.maxsize\n"
        "while value:\n    value >>= 1\n    bits += 1\n"
        "print(sys.platform, bits)\n"
    )
    platform, bits = run_source(source).split()
    assert platform in BOARD["platforms"] and int(bits) == BOARD["word_bits"]
    assert (FIRMWARE / BOARD["main"]).is_file()
    for link in BOARD["links"]:
        assert (FIRMWARE / f"thingroom_node/links/{link}.py").is_file()
    for sensor in BOARD["sensors"]:
        assert (FIRMWARE / f"thingroom_node/drivers/{sensor}.py").is_file()


ASK_EUI64 = """
from binascii import hexlify
from thingroom_node import board
print(hexlify(board.eui64(bytes(8))).decode())
"""


def test_the_eui64_without_and_with_a_radio(tmp_path: Path) -> None:
    assert run_source(ASK_EUI64).strip() == "0200000000000000"
    (tmp_path / "network.py").write_text(
        "STA_IF = 0\n"
        "class WLAN:\n"
        "    def __init__(self, interface):\n        assert interface == STA_IF\n"
        "    def config(self, what):\n        assert what == 'mac'\n        return bytes(range(6))\n"
    )
    assert run_source(ASK_EUI64, path=[tmp_path]).strip() == "000102fffe030405"


def test_a_program_that_cannot_start_says_so_and_fails(tmp_path: Path) -> None:
    main = FIRMWARE / "thingroom_node/unix_main.py"
    bad = tmp_path / "node.json"
    bad.write_text('{"directory": "/nowhere", "profile": "climate", "host": "h", "sensor": {"kind": "laser"}}')
    for arguments in ([], [str(tmp_path / "absent.json")], [str(bad)]):
        try:
            run_file(main, *arguments)
        except MicroPythonFailure as failure:
            assert failure.code == 2 and failure.stderr.strip() and not failure.stdout
        else:
            raise AssertionError("it started")
