"""`python -m thingroom_homeserver --config thingroom.toml`: run the homeserver.

May import config and server. The `thingroom` command has the same under `thingroom homeserver run` (cli.py).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_common.log_lines import log_as
from thingroom_homeserver.config import load_config


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped. 0 after a stop, 2 when it could not start (one sentence on stderr says why)."""
    parser = argparse.ArgumentParser(prog="thingroom_homeserver", description="Thingroom's Matrix homeserver.")
    parser.add_argument("--config", type=Path, default=Path("thingroom.toml"), help="default: thingroom.toml")
    return run(parser.parse_args(arguments).config)


def run(config_path: Path) -> int:
    """Run with that configuration file until stopped; the exit code."""
    from thingroom_homeserver.server import StartError, serve

    try:
        config = load_config(config_path)
        log_as(config.log_format)
        asyncio.run(serve(config))
    except (ConfigError, StartError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
