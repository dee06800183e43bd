"""The whole way: `thingroom flash` onto a real MicroPython behind a pseudo-terminal, enrolment, a reading"
" at the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
import serial
from click.testing import CliRunner, Result
from tests.flash.unix_board import UnixBoard, Wire
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import eventually, gateway, make_config, write_config

from thingroom.cli import main
from thingroom.flashing import board_scripts, repl
from thingroom.flashing.trouble import FlashError
from thingroom_gateway.app import Gateway
from thingroom_node import VERSION


@pytest.fixture
def board(tmp_path: Path):
    with UnixBoard(tmp_path / "board") as one:
        yield one


@contextlib.asynccontextmanager
async def running_gateway(folder: Path) -> AsyncIterator[tuple[Path, Gateway, FakeHomeserver]]:
    async with FakeHomeserver.started() as homeserver:
        config = make_config(folder, homeserver.url)
        file = write_config(folder / "thingroom.toml", config)
        async with gateway(config) as running:
            yield file, running, homeserver


async def say(*words: str, typed: str = "") -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, words, typed)


def flash_words(port: str, config: Path, *more: str) -> list[str]:
    words = ["flash", "--board", "unix", "--port", port, "--config", str(config), "--link", "coap"]
    return [*words, "--name", "Kitchen", "--sensor", "simulated", *more]


async def test_a_board_is_in_its_room_after_one_command(tmp_path: Path, board: UnixBoard) -> None:
    async with running_gateway(tmp_path) as (config, running, homeserver):
        with Wire(board) as wire:
            done = await say(*flash_words(wire.port, config, "--place", "Ground floor"))
        assert done.exit_code == 0, done.output
        assert "It is enrolled as Kitchen." in done.output and "The node runs." in done.output
        [device] = running.core.registry
        assert device.row.place == "Ground floor" and device.row.profile == "climate"
        assert device.kid_hex in done.output
        settings = json.loads((board.files / "node.json").read_text())
        assert settings["gateway"]["key"] == running.core.keys.signing_public.hex()
        seed = (board.files / "state" / "identity").read_bytes()
        assert device.row.device_key in seed, "the key that is enrolled was made there"
        with Wire(board) as wire:
            # The wire is read, as a terminal without a reader blocks its writer.
            await eventually(lambda: 1 in homeserver.sequences(device.kid_hex))
            (board.files / "app" / "a" / "stale.py").write_text("raise SystemExit")
            again = await say(*flash_words(wire.port, config))
            assert again.exit_code == 0, again.output
            assert f"Thingroom {VERSION}: 0 of" in again.output and f"Its key: {device.kid_hex}" in again.output
            assert "It was enrolled already" in again.output and len(running.core.registry) == 1
            assert not (board.files / "app" / "a" / "stale.py").exists()
            looked = await say("devices", "--ask", "--port", wire.port, "--config", str(config))
            assert f"key {device.kid_hex}, enrolled here as Kitchen" in looked.output, looked.output


async def test_an_interrupted_run_is_continued_and_a_gateway_elsewhere_told(tmp_path: Path, board: UnixBoard) -> None:
    elsewhere = ["--no-enrol", "--host", "192.0.2.7", "--gateway-port", "5000"]
    words = flash_words("", tmp_path / "none.toml", *elsewhere)
    port = words.index("")
    with Wire(board, cut_after=60_000) as wire:
        words[port] = wire.port
        cut = await say(*words)
        assert cut.exit_code == 1 and "what was copied is kept" in cut.output, cut.output
    assert not (board.files / "main.py").exists(), "half an application is not started"
    there = {path: path.stat().st_mtime_ns for path in board.files.rglob("*.mpy")}
    with Wire(board) as wire:
        words[port] = wire.port
        done = await say(*words)
        assert done.exit_code == 0, done.output
        kept = [path for path, time in there.items() if path.stat().st_mtime_ns == time]
        assert len(kept) >= len(there) - 1 > 0, "only the one that was cut off is written again"
        assert "Enrol it where its gateway is:" in done.output and "gateway enrol --name 'Kitchen'" in done.output
        settings = json.loads((board.files / "node.json").read_text())
        assert (settings["host"], settings["port"]) == ("192.0.2.7", 5000) and "gateway" not in settings
        with repl.Board(wire.port) as one:
            one.connect(30)
            one.run(board_scripts.WIPE)
        assert not list(board.files.iterdir())


async def test_without_a_gateway_it_says_so_before_it_touches_anything(tmp_path: Path, board: UnixBoard) -> None:
    config = write_config(tmp_path / "thingroom.toml", make_config(tmp_path, "http://127.0.0.1:1"))
    with Wire(board) as wire:
        done = await say(*flash_words(wire.port, config))
    assert done.exit_code == 1 and "No gateway runs here. Start it" in done.output
    assert not list(board.files.iterdir())


async def test_a_dry_run_tells_the_steps_and_touches_nothing(tmp_path: Path, board: UnixBoard) -> None:
    words = ["flash", "--board", "esp32-c3", "--port", board.port, "--no-enrol", "--host", "gateway.local", "--dry-run"]
    words += ["--name", "Attic", "--sensor", "ds18b20:pin=3", "--wifi", "Home"]
    done = await say(*words, typed="sesame street\n")
    assert done.exit_code == 0, done.output
    steps = [line for line in done.output.splitlines() if line[:1].isdigit()]
    assert [step.partition(".")[0] for step in steps] == [str(number) for number in range(1, len(steps) + 1)]
    assert "ESP32_GENERIC_C3" in steps[0] and "boot loader" in steps[1] and "rv32imc" in done.output
    assert "Wi-Fi Home" in done.output and "sesame" not in done.output
    assert not list(board.files.iterdir())


def test_a_board_that_is_another_one_is_refused(board: UnixBoard) -> None:
    with Wire(board) as wire:
        words = ["flash", "--board", "pico-w", "--port", wire.port, "--no-enrol", "--host", "x", "--keep-micropython"]
        done = CliRunner().invoke(main, [*words, "--name", "A", "--sensor", "bme280", "--no-wifi"])
    assert done.exit_code == 1 and "MicroPython for linux runs there" in done.output, done.output


def test_a_full_file_system_says_what_to_do(board: UnixBoard) -> None:
    (board.files / "full").symlink_to("/dev/full")
    with Wire(board) as wire, repl.Board(wire.port) as one:
        one.connect(30)
        with pytest.raises(FlashError, match="file system is full"):
            one.put({"/full": b"x" * 100_000}, lambda done, total: None)


def test_a_silent_port_says_what_to_press(board: UnixBoard) -> None:
    with (
        Wire(board, cut_after=0) as wire,
        repl.Board(wire.port) as one,
        pytest.raises(FlashError, match="RESET button"),
    ):
        one.connect(0)


def test_a_port_that_somebody_has_is_busy_and_says_who(board: UnixBoard) -> None:
    with Wire(board) as wire, serial.Serial(wire.port, exclusive=True), pytest.raises(FlashError, match="is busy"):
        repl.Board(wire.port).connect(0)


def test_every_flag_is_a_word_that_help_explains() -> None:
    command = main.get_command(click.Context(main), "flash")
    assert command is not None and "goes on where it was" in (command.help or "")
