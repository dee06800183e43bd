"""Every driver against chips that behave like the data sheets say, on CPython and on MicroPython.

The cases are in cases_*.py; each is run here, and all of them once more by run_cases.py on MicroPython's unix port.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.micropython_runner import FIRMWARE, run_file
from tests.node.drivers import noise

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NAMES = sorted(path.stem for path in HERE.glob("cases_*.py"))
MODULES = {name: importlib.import_module(f"tests.node.drivers.{name}") for name in NAMES}
CASES = [f"{name}.{case}" for name, module in MODULES.items() for case in dir(module) if case.startswith("case_")]
# What needs MicroPython's interrupts and ticks.
ON_BOARD = [
    f"board_equipment.{case}" for case in re.findall("def (case_[a-z0-9_]+)", (HERE / "board_equipment.py").read_text())
]
SENSORS = [type(sensor).__name__ for sensor in noise.sensors(bytes, bytes)]
ROUNDS = 40


@pytest.mark.parametrize("case", CASES)
def test_on_cpython(case: str) -> None:
    name, function = case.split(".")
    getattr(MODULES[name], function)()


@pytest.fixture(scope="module")
def on_micropython(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each case there."""
    folder = str(tmp_path_factory.mktemp("node"))
    names = [*NAMES, "board_equipment"]
    told = run_file(HERE / "run_cases.py", str(ROUNDS), folder, *names, path=[ROOT], timeout=150)
    result: dict[str, str] = json.loads(told)
    return result


@pytest.mark.parametrize("case", [*CASES, *ON_BOARD, *(f"noise.{name}" for name in SENSORS)])
def test_on_micropython(on_micropython: dict[str, str], case: str) -> None:
    assert on_micropython[case] == ""


@pytest.mark.parametrize("number", range(len(SENSORS)), ids=SENSORS)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=600), failing=st.sets(st.integers(0, 60), max_size=2))
def test_whatever_a_bus_says_the_driver_has_an_answer(number: int, data: bytes, failing: set[int]) -> None:
    asked = 0

    def calm(count: int) -> bytes:
        nonlocal asked
        asked += 1
        start = asked * 7 % (len(data) + 1)
        return (data[start:] + data + bytes(count))[:count]

    def answer(count: int) -> bytes:
        if asked in failing:
            failing.remove(asked)
            raise OSError(5)
        return calm(count)

    noise.disturb(noise.sensors(answer, calm)[number])


def test_no_driver_imports_hardware_or_uses_floats() -> None:
    for path in sorted((FIRMWARE / "thingroom_node" / "drivers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
                assert not {module.split(".")[0] for module in modules} & {"machine", "network", "esp32", "rp2"}, path
            assert not isinstance(node, ast.Div), f"{path}: a division that makes floats"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), path
