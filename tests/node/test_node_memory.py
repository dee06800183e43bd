"""The node's memory on MicroPython: flat over thousands of readings. test_node_heap.py has how much it is."""

import json
from pathlib import Path

from tests.micropython_runner import run_file

ON_BOARD = Path(__file__).parent / "on_board"


def test_the_heap_is_flat_over_thousands_of_readings(tmp_path: Path) -> None:
    result = json.loads(run_file(ON_BOARD / "heap_flat.py", str(tmp_path), "4000"))
    assert max(result["used"]) - min(result["used"]) < 4096, result
    assert result["waiting"] == 64 and result["files"] <= 6, result
