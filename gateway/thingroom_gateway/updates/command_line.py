"""`thingroom update`: bring boards to the version of this installation, and watch them do it.

Asks the gateway that runs, by control.py. May import click, rich.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from thingroom_common.config_file import ConfigError, default_path
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.control import Answer, ask
from thingroom_gateway.updates.update import OPEN

POLL_SECONDS = 0.5
_DOING = {
    "staged": "waits for the first",
    "waiting": "waits for the device",
    "fetching": "fetches",
    "trial": "tries it",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=default_path,
    help="The configuration file. [default: thingroom.toml, else what `thingroom run` made of it]",
)
@click.option("--all", "everyone", is_flag=True, help="All that run another version: one goes ahead, then the others.")
@click.option("--version", "version", default="", help="What to call the version, instead of what its sources say.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Other firmware than that of this installation: a folder with thingroom_wire and thingroom_node.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Watch until it is over.")
@click.option("--cancel", is_flag=True, help="Give up the update of DEVICE (or, with --all, all) that is under way.")
@click.argument("device", required=False)
def update(
    config_path: Path, everyone: bool, version: str, folder: Path | None, wait: bool, cancel: bool, device: str | None
) -> None:
    """Update the firmware of DEVICE (its name or key id), or of all with --all; with neither, say how updates are.

    A board writes the new version beside the one that runs, tries it, and goes back to the one before by itself when no
    healthy reading of the new one reaches the gateway. Readings are not lost.
    """
    config = _load(config_path)
    if device and everyone:
        raise click.UsageError("Give a DEVICE or --all, not both.")
    if cancel:
        if not device and not everyone:
            raise click.UsageError("Whose update? Give a DEVICE or --all.")
        answer = _ask(config, {"command": "cancel_update", "device": device or ""})
        click.echo(f"Cancelled: {answer['cancelled']}.")
        return
    if not device and not everyone:
        _show(_ask(config, {"command": "updates"})["updates"])
        return
    command = {
        "command": "request_update",
        "device": device or "",
        "version": version,
        "folder": str(folder.absolute()) if folder else "",
    }
    answer = _ask(config, command)
    if not answer["updates"]:
        click.echo(f"Nothing is to be updated to {answer['version']}.")
        return
    ids = [one["id"] for one in answer["updates"]]
    if not wait:
        click.echo(f"{len(ids)} to be updated to {answer['version']}; see how it goes with: thingroom update")
        return
    failed = [one for one in _watch(config, ids) if one["state"] != "done"]
    if failed:
        raise click.ClickException("; ".join(f"{one['name']}: {one['why'] or one['state']}" for one in failed) + ".")


def _watch(config: GatewayConfig, ids: list[int]) -> list[Answer]:
    """Show how far each is until all are over."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[what]}"),
    )
    with Progress(*columns, console=Console(highlight=False)) as progress:
        bars: dict[int, Any] = {}
        while True:
            found: list[Answer] = _ask(config, {"command": "updates", "ids": ids})["updates"]
            for one in found:
                bar = bars.get(one["id"])
                if bar is None:
                    bar = bars[one["id"]] = progress.add_task("", total=1, name=one["name"], what="")
                share = (
                    1.0 if one["state"] in ("trial", "done") else one["fetched"] / one["size"] if one["size"] else 0.0
                )
                progress.update(bar, completed=share, what=_DOING[one["state"]])
            if not any(one["state"] in OPEN for one in found):
                return found
            progress.refresh()
            time.sleep(POLL_SECONDS)


def _show(found: list[Answer]) -> None:
    for one in found:
        share = f", {one['fetched']} of {one['size']} bytes" if one["state"] == "fetching" else ""
        why = f": {one['why']}" if one["why"] else ""
        click.echo(f"{one['name']}: {one['before'] or '?'} to {one['version']}, {_DOING[one['state']]}{share}{why}")
    if not found:
        click.echo("No device was updated yet. Say: thingroom update DEVICE")


def _load(path: Path) -> GatewayConfig:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _ask(config: GatewayConfig, command: dict[str, Any]) -> Answer:
    try:
        answer = ask(config.directory, command)
    except OSError:
        raise click.ClickException(f"No gateway runs on {config.directory}. Start it with: thingroom run") from None
    if not answer.get("ok"):
        raise click.ClickException(str(answer.get("error", "the gateway gave no reason")))
    return answer
