"""Options that several commands share. May import click and thingroom_common.config_file."""

from __future__ import annotations

from pathlib import Path

import click

from thingroom_common.config_file import default_path, settled_path

CONFIG_OPTION = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=default_path,
    callback=lambda _context, _option, path: settled_path(path),
    help="The configuration file [default: ./thingroom.toml, or else the one that `thingroom run` made in ./data].",
)
