"""`python -m thingroom_gateway --config thingroom.toml`: the gateway alone, until SIGTERM or SIGINT.

Logs go to standard error, one JSON line per notable event to standard output. Next: app.py.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from thingroom_common.config_file import ConfigError
from thingroom_common.database import SchemaTooNew
from thingroom_gateway.app import serve
from thingroom_gateway.config import load
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.profiles import ProfileError
from thingroom_gateway.registration import RegistrationError


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), default=Path("thingroom.toml"))
@click.option("--verbose", is_flag=True, help="Log more.")
def main(config_path: Path, verbose: bool) -> None:
    """Run the gateway."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for noisy in ("coap", "coap-server", "asyncio", "amqtt"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    events = EventsOut(sys.stdout)
    try:
        asyncio.run(serve(load(config_path), events))
    except (ConfigError, RegistrationError, ProfileError, SchemaTooNew, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        events.close()


if __name__ == "__main__":
    main()
