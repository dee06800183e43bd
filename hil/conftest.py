"""What the stories share: the house, the boards that they run on, and the record of each run.

`--hil-results FOLDER` keeps the records for report.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from hil import build
from hil.application import application
from hil.boards.board import Board
from hil.boards.cortex_m3 import CortexM3
from hil.boards.unix_port import UnixPort
from hil.boards.wire import Wire
from hil.flows.house import House, running_house
from hil.record import Record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hil-results", default="", help="keep what happened in each story in this folder")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


@dataclass
class Bench:
    """A place for one board in the house: `board`, plugged into `wire`, and the `record` of what it does."""

    board: Board
    wire: Wire
    record: Record

    def called(self, name: str) -> str:
        """The name that the board has in this house: other boards live through the same story."""
        return name + self.record.board.replace("-", "")


def cortex_m3(folder: Path, wire: Wire) -> Board:
    try:
        return CortexM3(folder, application(), wire=wire)
    except build.BuildError as error:
        pytest.fail(str(error), pytrace=False)


def unix(folder: Path, wire: Wire) -> Board:
    return UnixPort(folder, wire=wire)


KINDS: dict[str, Callable[[Path, Wire], Board]] = {"cortex-m3": cortex_m3, "unix": unix}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Stories run on every board that there is, unless they ask for one."""
    if "bench" in metafunc.fixturenames and metafunc.definition.get_closest_marker("parametrize") is None:
        metafunc.parametrize("bench", list(KINDS), indirect=True)


@pytest_asyncio.fixture(loop_scope="module")
async def bench(request: pytest.FixtureRequest, tmp_path: Path, house: House) -> AsyncIterator[Bench]:
    """A board of the kind that the test is parametrised with, off, and in the house."""
    kind = request.param
    wire = house.wires.pop()
    board = KINDS[kind](tmp_path, wire)
    record = Record(request.node.name, kind)
    board.console.listeners.append(record.hear)
    try:
        yield Bench(board, wire, record)
    finally:
        with contextlib.suppress(Exception):
            await board.power_off()
        wire.is_broken = False
        house.wires.append(wire)
        if folder := request.config.getoption("--hil-results"):
            failed = getattr(request.node, "hil_failed", False)
            record.write(Path(folder), "failed" if failed else "passed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.hil_failed = report.failed  # type: ignore[attr-defined]
