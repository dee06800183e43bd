"""`python -m thingroom_gateway --config thingroom.toml`: the gateway alone, until SIGTERM or SIGINT.

Logs go to standard error, one JSON line per notable event to standard output; the exit code tells whether to start it
again. Next: app.py.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from functools import partial
from pathlib import Path

import click

from thingroom_common.config_file import default_path
from thingroom_gateway.app import CANNOT_START, serve
from thingroom_gateway.config import load
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.reload_parts import start_log


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=default_path,
    help="The configuration file; its section [gateway] counts. [default: thingroom.toml]",
)
@click.option("--verbose", is_flag=True, help="Log everything, whatever log_level says.")
def main(config_path: Path, verbose: bool) -> None:
    """Run the gateway until it is stopped.

    Ends with 0 after a stop, with 2 when it cannot start and trying again is of no use (one sentence on stderr says
    why), with 1 when something failed that may be better next time.
    """
    events = EventsOut(sys.stdout)
    try:
        config = load(config_path)
        start_log(config, verbose)
        asyncio.run(serve(config, events, partial(load, config_path)))
    except CANNOT_START as error:
        code = 2
        print(error, file=sys.stderr)
    except (OSError, sqlite3.Error, ValueError) as error:
        code = 1
        print(error, file=sys.stderr)
    else:
        code = 0
    finally:
        events.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
