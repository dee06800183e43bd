"""The commands of `thingroom board`: list, show, check a file of one's own.

May import boards, board_file. No gateway needs to run, and no board needs to be there.
"""

from __future__ import annotations

from pathlib import Path

import click

from thingroom.board_file import BoardFile
from thingroom.boards import BoardError, bus_pins, find_board, load_board, load_boards
from thingroom_common.command_group import Group


@click.group(name="board", cls=Group)
def board_commands() -> None:
    """Boards: chips, pins, buses, images. List and read them, check a file of your own."""


@board_commands.command("list")
def list_boards() -> None:
    """List the boards that there are configurations for."""
    try:
        boards = load_boards()
    except BoardError as error:
        raise click.ClickException(str(error)) from None
    for name, board in boards.items():
        click.echo(f"{name:<15} {board.chip:<11} {', '.join(board.links):<19} {board.title}")
    click.echo("\nOne in full: thingroom board show NAME")


@board_commands.command("show")
@click.argument("name")
def show_board(name: str) -> None:
    """Show the board NAME, or the file NAME.toml: pins, power, image."""
    try:
        board = find_board(name)
    except BoardError as error:
        raise click.ClickException(str(error)) from None
    click.echo(board.title)
    if board.about:
        click.echo(board.about)
    for key, value in _facts(board):
        click.echo(f"\n{key}:" if value is None else f"  {key:<12} {value}")


@board_commands.command("check")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check_board(file: Path) -> None:
    """Check the board FILE: its shape, its pins, its image. Ends with 1 if anything is wrong."""
    try:
        board = load_board(file)
    except BoardError as error:
        click.echo(str(error))
        raise SystemExit(1) from None
    click.echo(f"{file} is right: {board.chip}, {len(board.buses)} buses.")


def _facts(board: BoardFile) -> list[tuple[str, str | None]]:
    """Lines of what a board is: a key and a value; without one it is a heading."""
    facts: list[tuple[str, str | None]] = [
        ("Chip", None),
        ("chip", f"{board.chip}, mpy-cross -march={board.mpy_arch}, MicroPython's port {board.port}"),
        (
            "memory",
            f"{_size(board.ram_bytes)} RAM, {_size(board.flash_bytes)} flash, {_size(board.storage.bytes)} files",
        ),
        ("links", ", ".join(board.links)),
    ]
    if board.radio.standards:
        facts.append(("radio", board.radio.standards))
    if board.buses or board.led or board.adc:
        facts.append(("Pins", None))
    for bus in board.buses:
        facts.append((bus.name, ", ".join(f"{use} {pin}" for use, pin in bus_pins(bus).items())))
    if board.adc:
        facts.append(("analogue", ", ".join(str(pin) for pin in board.adc)))
    if board.led is not None:
        facts.append(("light", f"{board.led.kind} {board.led.pin}{', on while low' if board.led.active_low else ''}"))
    if board.reserved:
        facts.append(("leave alone", ", ".join(str(pin) for pin in board.reserved)))
    facts += [("Power", None), ("deep sleep", _sleep(board))]
    if board.power.battery is not None:
        above, below = board.power.battery.divider
        facts.append(("battery", f"measured on pin {board.power.battery.pin} behind {above}:{below}"))
    if board.image is not None:
        digest = board.image.sha256 or "not known here; noted when it is first downloaded"
        facts += [("Image", None), ("from", board.image.url), ("sha256", digest)]
        if board.image.url.endswith(".bin"):
            facts.append(("offset", f"{board.image.offset:#x}"))
    if board.boot is not None:
        facts.append(("by hand", board.boot.hint))
    return [*facts, ("Sources", None), *(("", source) for source in board.sources)]


def _sleep(board: BoardFile) -> str:
    if not board.power.deep_sleep:
        return "no"
    current = f", {board.power.sleep_microamperes} µA by its maker" if board.power.sleep_microamperes else ""
    pins = f", also by pins {', '.join(map(str, board.power.wake_pins))}" if board.power.wake_pins else ""
    return f"ends by time{pins}; keeps {board.power.rtc_memory_bytes} bytes{current}"


def _size(count: int) -> str:
    if not count:
        return "the host's"
    return f"{count // 1024 // 1024} MiB" if count % (1 << 20) == 0 else f"{count // 1024} KiB"
