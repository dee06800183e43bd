"""The bench itself: what it says where something is missing, that its ledger cannot be deceived, and its page."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.flows.readings import Proven

from hil import build, report
from hil.boards.console import Console
from hil.flows.house import ledger
from hil.record import Record


def reading(sequence: int, before: int | None) -> Proven:
    return Proven("kid", sequence, None if before is None else (before, b""), [], "$event")


def record_of(*numbers: int) -> Record:
    record = Record("test_kitchen", "cortex-m3")
    record.hear({"event": "key", "boot": 1})
    for number in numbers:
        record.hear({"event": "sampled", "sequence": number})
    return record


def test_what_is_missing_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError) as raised:
        build.firmware()
    message = str(raised.value)
    assert "\n" not in message
    for package in ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"):
        assert package in message


def test_a_ledger_that_balances() -> None:
    books = ledger(record_of(1, 2, 33), [reading(1, None), reading(2, 1), reading(33, 2)])
    assert books.is_balanced and (books.made, books.in_room, books.gaps, books.unsaid) == (3, 3, 1, 0)


def test_what_was_stored_and_never_said_counts_once_a_life() -> None:
    there = [reading(1, None), reading(2, 1)]
    assert ledger(record_of(1), there).unsaid == 1
    with pytest.raises(AssertionError, match="never said"):
        ledger(record_of(), there)


def test_a_lost_reading_is_found() -> None:
    books = ledger(record_of(1, 2, 3), [reading(1, None), reading(2, 1)])
    assert not books.is_balanced
    with pytest.raises(AssertionError, match="missing"):
        ledger(record_of(1, 2, 3), [reading(1, None), reading(3, 2)])


def test_a_number_that_was_used_twice_is_found() -> None:
    with pytest.raises(AssertionError, match="twice"):
        ledger(record_of(1, 2, 2), [reading(1, None), reading(2, 1)])


def test_the_page_tells_every_run(tmp_path: Path) -> None:
    record = record_of(1, 2)
    record.ledger = ledger(record, [reading(1, None), reading(2, 1)])
    record.note("alert", "it is <hot>")
    record.write(tmp_path, "passed")
    page = report.write(tmp_path).read_text()
    assert "1 stories" in page and "kitchen" in page and "cortex-m3" in page and page.count("<svg") == 1
    assert "&lt;hot&gt;" in page and "<hot>" not in page
    assert page.count("<circle") == len(record.entries)


async def test_a_console_takes_lines_in_pieces() -> None:
    console = Console()
    heard: list[str] = []
    console.listeners.append(lambda event: heard.append(event["event"]))
    await console.feed(b'noise\r\n{"event": "ke')
    await console.feed(b'y"}\n{"event": "cut')
    console.power_lost()
    await console.feed(b'{"event": "again"}\n')
    assert heard == ["key", "again"] and (await console.event("key"))["event"] == "key"
    with pytest.raises(TimeoutError):
        await console.event("key", 0.05, console.mark())
