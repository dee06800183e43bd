"""`thingroom service`: units for systemd, printed, put in place and taken away again.

May import click and service.py; runs systemctl.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from thingroom.service import NAMES, STATE, UNITS, Part, problem, unit
from thingroom_common.command_group import Group

_PART = click.option(
    "--part",
    type=click.Choice(list(NAMES)),
    default="run",
    show_default=True,
    help="What it runs: everything, or the homeserver or the gateway alone.",
)
_TO = click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=UNITS,
    show_default=True,
    help="The folder of units. In any other one than the usual, files are all that is touched.",
)


@click.group("service", cls=Group)
def service_commands() -> None:
    """Let systemd run Thingroom: from boot on, as a user of its own, shut off from the rest."""


@service_commands.command("print")
@_PART
def print_command(part: Part) -> None:
    """Print the unit file, for whoever installs it otherwise."""
    click.echo(unit(part, _program()), nl=False)


@service_commands.command()
@_PART
@_TO
@click.option("--start/--no-start", default=True, help="Start it now, and at every boot.")
def install(part: Part, folder: Path, start: bool) -> None:
    """Put the unit in place and start it. Wants root."""
    program = _program()
    if why := problem(program):
        raise click.ClickException(why)
    path = folder / NAMES[part]
    try:
        path.write_text(unit(part, program), encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        sudo = "" if os.geteuid() == 0 else f" Try: sudo {program} service install"
        raise click.ClickException(f"{path} cannot be written ({error.strerror}).{sudo}") from None
    click.echo(f"{path} is written.")
    if folder == UNITS:
        _systemctl("daemon-reload")
        if start:
            _systemctl("enable", "--now", NAMES[part])
    click.echo(_next_steps(part, program))


@service_commands.command()
@_PART
@_TO
def uninstall(part: Part, folder: Path) -> None:
    """Stop it and take the unit away. What it keeps in /var/lib/thingroom stays."""
    path = folder / NAMES[part]
    if not path.exists():
        raise click.ClickException(f"There is no {path}.")
    if folder == UNITS:
        _systemctl("disable", "--now", NAMES[part])
    try:
        path.unlink()
    except OSError as error:
        raise click.ClickException(f"{path} cannot be removed ({error.strerror}).") from None
    if folder == UNITS:
        _systemctl("daemon-reload")
    click.echo(f"{path} is gone. The data stays in {STATE}.")


def _next_steps(part: Part, program: Path) -> str:
    name = NAMES[part].removesuffix(".service")
    file = f"{STATE}/thingroom.toml"
    lines = [f"How it is:           systemctl status {name}", f"What it says:        journalctl -u {name} -f"]
    if part == "run":
        settled = f"{STATE}/run/programs.toml"
        lines += [
            f"Everything at once:  sudo {program} status --config {settled}",
            f"How to sign in:      sudo cat {STATE}/run/owner.json",
            f"Let a board in:      sudo {program} gateway pair --config {settled}",
        ]
    lines.append(f"Its configuration:   {file}, then: sudo systemctl reload {name}")
    if part != "run":
        lines.insert(0, f"It wants {file}: write one with `thingroom config`, owned by the service, mode 0600.")
    return "\n".join(lines)


def _program() -> Path:
    """This command, as a service calls it: the script beside the interpreter."""
    beside = Path(sys.executable).parent / "thingroom"
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def _systemctl(*arguments: str) -> None:
    if shutil.which("systemctl") is None:
        raise click.ClickException("There is no systemctl: this machine is not run by systemd.")
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
