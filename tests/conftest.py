"""What concerns every test: a run says whether answers are held against the specification."""

from __future__ import annotations

import pytest
from tests.specification import folder, state_in_words


def pytest_report_header() -> str:
    return state_in_words()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if folder() is None:
        terminalreporter.write_line(state_in_words(), yellow=True)
