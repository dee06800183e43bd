"""The `thingroom` command. Each subcommand imports its program only when it is called, so that --help is quick."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path

import click

from thingroom_common.command_group import Group

_GROUPS = {
    "gateway": (
        "thingroom_gateway.cli",
        "gateway_commands",
        "The gateway: let devices in, set them, back up.",
    ),
    "history": ("thingroom_gateway.series.commands", "history", "What a device measured, as a table."),
    "export": ("thingroom_gateway.series.commands", "export", "Readings as CSV, JSON lines or SenML."),
    "chart": ("thingroom_gateway.series.commands", "chart", "What a device measured, as a picture."),
    "update": ("thingroom_gateway.updates.command_line", "update", "Bring boards to a new version."),
    "board": ("thingroom.board_commands", "board_commands", "Boards: list, read, check."),
    "profile": (
        "thingroom_gateway.profile_commands",
        "profile_commands",
        "What devices' values mean: list, write, check.",
    ),
    "service": ("thingroom.service_commands", "service_commands", "Let systemd run it, from boot on."),
    "homeserver": ("thingroom_homeserver.cli", "homeserver_commands", "The homeserver: make accounts, look after it."),
}


_SECTIONS = (
    ("Begin", ("run", "service", "config")),
    ("See", ("status", "history", "chart", "export")),
    ("Look after", ("reload", "update", "gateway", "profile", "board", "homeserver")),
)


class _Thingroom(Group):
    """Adds the programs' own commands, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_GROUPS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _GROUPS:
            module, name, _ = _GROUPS[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)

    def about(self, ctx: click.Context, name: str) -> str:
        return _GROUPS[name][2] if name in _GROUPS else super().about(ctx, name)

    def sections(self, ctx: click.Context) -> list[tuple[str, list[str]]]:
        told = [(heading, list(names)) for heading, names in _SECTIONS]
        others = set(self.list_commands(ctx)).difference(*(names for _, names in told))
        return [*told, ("More", sorted(others))] if others else told


@click.group(cls=_Thingroom, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thingroom", message="thingroom %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Sensors that you own, in rooms that you share.

    Begin with `thingroom run`: it starts a Matrix homeserver, an MQTT broker and the gateway on this machine, and says
    how to sign in with any Matrix client; with --demo it has three simulated boards. Then let boards in with
    `thingroom gateway pair`, and ask `thingroom status` how everything is.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where everything is kept: keys, readings, rooms, logs.",
)
_CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file. [default: thingroom.toml in the data directory, written on the first start]",
)


@main.command()
@_DATA
@_CONFIG
@click.option("--demo", is_flag=True, help="Also start three simulated boards on MicroPython.")
@click.option("--service", is_flag=True, help="Where nobody watches: write log lines to standard error, no screen.")
def run(data: Path, config_file: Path | None, demo: bool, service: bool) -> None:
    """Start homeserver, broker and gateway.

    Shows how to sign in, and readings as they come. Everything listens on this machine only until the configuration
    says otherwise. Ctrl-C stops it; the next start continues with the same data.
    """
    from rich.console import Console

    from thingroom.run import Wanted
    from thingroom.run import run as run_everything

    sys.exit(asyncio.run(run_everything(Wanted(data, config_file, demo, service), Console(highlight=False))))


@main.command("reload")
@_DATA
@_CONFIG
def reload_command(data: Path, config_file: Path | None) -> None:
    """Read the configuration again, while it runs.

    Says what is in use now and what waits for a restart. A file with a mistake changes nothing.
    """
    from thingroom.config import Paths
    from thingroom.reload import reload
    from thingroom_common.config_file import ConfigError

    try:
        click.echo(reload(Paths(data.resolve()), config_file))
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file. [default: thingroom.toml, else what `thingroom run` made of it:"
    " data/run/programs.toml]",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@click.option("--programs-only", is_flag=True, help="Leave out devices, cables and disk: for health checks.")
@click.option("--wait", type=float, default=3.0, show_default=True, help="Seconds that each may take to answer.")
def status(config_file: Path | None, as_json: bool, programs_only: bool, wait: float) -> None:
    """Tell how everything is, and what to do about what is not.

    Ends with 0 when all is well, with 1 when something is wrong, with 2 when there is nothing to ask.
    """
    from rich.console import Console

    from thingroom.status import nothing_here, show
    from thingroom_common.config_file import ConfigError, default_path

    path = config_file or default_path()
    if not path.exists():
        click.echo(nothing_here(path), err=True)
        sys.exit(2)
    try:
        sys.exit(show(path, Console(highlight=False), as_json, programs_only, wait))
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


@main.command()
def config() -> None:
    """Print a configuration in which every key is explained."""
    from thingroom.config import example_file

    click.echo(example_file(), nl=False)
