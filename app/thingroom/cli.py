"""The `thingroom` command. Each subcommand imports its program only when it is called, so that --help is quick."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path

import click

_GROUPS = {
    "gateway": ("thingroom_gateway.cli", "gateway_commands", "The gateway alone: run it, pair and list devices."),
    "history": ("thingroom_gateway.series.commands", "history", "What a device measured, as a table."),
    "export": ("thingroom_gateway.series.commands", "export", "Readings as CSV, JSON lines or SenML."),
    "chart": ("thingroom_gateway.series.commands", "chart", "What a device measured, as a picture."),
    "board": ("thingroom.board_commands", "board_commands", "Boards: list, read, check."),
    "profile": ("thingroom_gateway.profile_commands", "profile_commands", "Device profiles: list, read, write, check."),
    "homeserver": ("thingroom_homeserver.cli", "homeserver_commands", "The homeserver alone: run it, make accounts."),
}


class _Thingroom(click.Group):
    """Adds the programs' own command groups, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_GROUPS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _GROUPS:
            module, name, _ = _GROUPS[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            own = self.commands.get(name)
            rows.append((name, own.get_short_help_str(80) if own else _GROUPS[name][2]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Thingroom, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thingroom", message="thingroom %(version)s")
def main() -> None:
    """Sensors that you own, in rooms that you share.

    Start with `thingroom run`: it starts a Matrix homeserver, an MQTT broker and the gateway on this machine. Then sign
    in with any Matrix client and pair a board with `thingroom gateway pair`.
    """


@main.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where everything is kept: keys, readings, rooms, logs.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file [default: thingroom.toml in the data directory, written on the first start].",
)
@click.option("--demo", is_flag=True, help="Also start three simulated boards on MicroPython.")
def run(data: Path, config_file: Path | None, demo: bool) -> None:
    """Start homeserver, broker and gateway, and show readings as they come.

    Everything listens on this machine only until the configuration says otherwise. Ctrl-C stops it; the next start
    continues with the same data.
    """
    from rich.console import Console

    from thingroom.run import run as run_everything

    sys.exit(asyncio.run(run_everything(data, config_file, demo, Console(highlight=False))))


@main.command()
def config() -> None:
    """Print a configuration file in which every key is explained."""
    from thingroom.config import example_file

    click.echo(example_file(), nl=False)
