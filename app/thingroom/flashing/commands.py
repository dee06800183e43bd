"""`thingroom flash`, `thingroom monitor`, `thingroom devices`: words in, words out. work.py does what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from thingroom.boards import BoardError, load_boards
from thingroom.flashing import asked, board_scripts, drives, gateway_side, images, monitor, ports, repl
from thingroom.flashing.plan import make_plan
from thingroom.flashing.trouble import FlashError, no_ports
from thingroom.flashing.work import Work
from thingroom_common.config_file import default_path
from thingroom_gateway.cli import config_option

_FAST = 460_800


class Terminal:
    """The Screen of work.py: lines, and bars where somebody looks."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
        if not self._console.is_terminal:
            self.say(f"{label}: done.")


@click.command()
@click.option("--port", default="", help="Where the board is: /dev/ttyUSB0. Found by itself if there is only one.")
@click.option("--board", default="", help="Which board (`thingroom board list`), or a board FILE.toml of your own.")
@click.option("--name", default="", help="What you call the device: Kitchen.")
@click.option("--place", default="", help="The room it belongs to; its name if not given.")
@click.option("--profile", default="", help="Its device profile; the one of its sensor if not given.")
@click.option(
    "--sensor",
    "sensors",
    multiple=True,
    help="What is attached: bme280, or ds18b20:pin=15. As often as there are some.",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="More settings for its node.json: a JSON file, docs/boards.md has the keys.",
)
@click.option(
    "--wifi", multiple=True, help="Name of a Wi-Fi network; its password is asked. As often as there are some."
)
@click.option(
    "--wifi-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Networks in TOML: [[networks]] with ssid and password.",
)
@click.option("--no-wifi", is_flag=True, help="Give it no network.")
@click.option("--link", type=click.Choice(["mqtt", "coap", "serial"]), help="How it reaches the gateway.")
@click.option("--host", default="", help="Where the gateway is; from its configuration if not given.")
@click.option("--gateway-port", type=click.IntRange(0, 65535), default=0, help="The port of broker or gateway there.")
@click.option("--no-enrol", is_flag=True, help="Ask no gateway on this machine to take it in.")
@click.option("--gateway-key", default="", help="Of a gateway elsewhere: its Ed25519 key, 64 hex digits.")
@click.option("--gateway-agreement-key", default="", help="And its X25519 key.")
@click.option("--pairing-code", default="", help="Of a gateway elsewhere: what `thingroom gateway pair` says there.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A MicroPython image on this machine, in place of a download.",
)
@click.option("--sha256", default="", help="The digest that the image must have.")
@click.option("--keep-micropython", is_flag=True, help="MicroPython is on the board already: write no image.")
@click.option("--wipe", is_flag=True, help="Take everything off the board first: its key and unsent readings are lost.")
@click.option("--baud", type=int, default=_FAST, show_default=True, help="Speed for writing the image to an ESP32.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; touch nothing.")
@click.option("--yes", is_flag=True, help="Do not ask whether to wipe.")
@config_option
def flash(
    port: str,
    board: str,
    name: str,
    place: str,
    profile: str,
    sensors: tuple[str, ...],
    settings: Path | None,
    wifi: tuple[str, ...],
    wifi_file: Path | None,
    no_wifi: bool,
    link: str | None,
    host: str,
    gateway_port: int,
    no_enrol: bool,
    gateway_key: str,
    gateway_agreement_key: str,
    pairing_code: str,
    image: Path | None,
    sha256: str,
    keep_micropython: bool,
    wipe: bool,
    baud: int,
    dry_run: bool,
    yes: bool,
    config_path: Path,
) -> None:
    """Put MicroPython and Thingroom onto a board, and the board into its room.

    Finds the port and the chip, asks what it is called, what is attached, for Wi-Fi; writes what the board needs; lets
    it make its key and enrols that at the gateway that runs here. Saying the same again goes on where it was
    interrupted.
    """
    flags = asked.Flags(
        port, board, image, sha256, keep_micropython, wipe, baud, name, place, profile, sensors, settings, link or "",
        host, gateway_port, wifi, wifi_file, no_wifi, config_path, not (no_enrol or gateway_key or pairing_code),
        gateway_key, gateway_agreement_key, pairing_code, dry_run,
    )  # fmt: skip
    terminal = Terminal()
    with _failing():
        wanted = asked.ask(flags, terminal.say)
        if dry_run:
            for number, step in enumerate(make_plan(wanted), 1):
                terminal.say(f"{number}. {step.text}.")
            return
        if wipe and not yes:
            click.confirm("Its key and its unsent readings will be lost. Go on", abort=True)
        done = Work(wanted, terminal, images.cache_directory()).run()
    if done.enrolled_as:
        terminal.say(
            f"{done.enrolled_as} is device {done.kid}. See what it tells: thingroom history {done.enrolled_as}"
        )
    elif pairing_code:
        terminal.say("It enrols itself while pairing is open: thingroom gateway pair")
    else:
        terminal.say("Enrol it where its gateway is:")
        terminal.say(
            f"  thingroom gateway enrol --name {wanted.name!r} --profile {wanted.profile} {done.key}"
            f" {done.agreement_key}"
        )


@click.command("monitor")
@click.argument("port", default="")
@click.option("--raw", is_flag=True, help="Lines as they come, not as something to read.")
def monitor_command(port: str, raw: bool) -> None:
    """Show what the board on PORT prints, with times; what you type goes to it. Ctrl-] leaves.

    Waits for the board when it is unplugged. PORT is found by itself if there is only one.
    """
    with _failing():
        device = ports.choose_port(ports.serial_ports(), load_boards().values(), port).device
        with monitor.keyboard() as keys:
            click.echo(f"{device}. Ctrl-] leaves." if keys is not None else f"{device}. Ctrl-C leaves.")
            try:
                monitor.watch(device, click.echo, keys, raw=raw)
            except KeyboardInterrupt:
                return


@click.command("devices")
@click.option("--ask", "asks", is_flag=True, help="Look inside: each node is stopped for a moment and started again.")
@click.option("--port", default="", help="This port only.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), default=default_path, help="As for flash.")
def devices_command(asks: bool, port: str, config_path: Path) -> None:
    """List what is plugged in: ports, which boards they could be, and with --ask what is on them."""
    with _failing():
        known = list(load_boards().values())
        enrolled = {}
        if asks and config_path.exists():
            enrolled = gateway_side.running_devices(gateway_side.load_gateway(config_path))
        there = [ports.choose_port(ports.serial_ports(), known, port)] if port else ports.serial_ports()
        there = [one for one in there if one.usb or port]
        for one in there:
            names = ", ".join(board.name for board in ports.boards_of(one, known)) or "no board that is known"
            click.echo(f"{one.device}  {one.usb or 'no USB'}  {one.about}".rstrip())
            click.echo(f"    could be: {names}")
            click.echo(f"    {_inside(one.device, enrolled) if asks else _state(one.device)}")
        found = [(drive, chip) for drive in drives.mounted() if (chip := drives.chip_of(drive))]
        for drive, chip in found:
            click.echo(f"{drive}\n    an {chip} that waits for an image: thingroom flash")
        if not there and not found:
            raise FlashError(no_ports())


def _state(device: str) -> str:
    try:
        ports.check_access(device)
    except FlashError as error:
        return str(error)
    holders = ports.holders(device)
    return f"in use: {', '.join(holders)}" if holders else "free; --ask looks inside"


def _inside(device: str, enrolled: dict[str, gateway_side.Known]) -> str:
    """What is on the board, in a line or two."""
    try:
        with repl.Board(device) as board:
            board.connect(5)
            about = board.about()
            inside = board.run(board_scripts.INSIDE)
            board.restart()
    except FlashError as error:
        return str(error)
    told = f"MicroPython {'.'.join(map(str, about.version))} on {about.machine}"
    if not inside["version"]:
        return f"{told}; no Thingroom"
    told += f"; Thingroom {inside['version']}, "
    kid = str(inside["kid"])
    if not kid:
        return f"{told}no key yet"
    known = enrolled.get(kid)
    return f"{told}key {kid}, " + (
        f"enrolled here as {known['name']} ({known['status']})" if known else "not known here"
    )


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (FlashError, BoardError) as error:
        raise click.ClickException(str(error)) from None
