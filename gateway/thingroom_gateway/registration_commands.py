"""`thingroom gateway register`: write the registration, say what to put where, and look whether it works.

May import click, config, registration, registration_check. cli.py mounts `register`.
"""

from __future__ import annotations

import string
from pathlib import Path

import click

from thingroom_common.config_file import ConfigError, default_path, settled_path
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.registration import SENDER_LOCALPART, RegistrationError, load_registration, write_registration
from thingroom_gateway.registration_check import check_now


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=default_path,
    callback=lambda _context, _option, path: settled_path(path),
    help="The configuration file; its section [gateway] counts. [default: thingroom.toml]",
)
@click.option("--check", "is_check", is_flag=True, help="Write nothing; ask the homeserver whether all is right.")
@click.option("--url", default="", help="Where the homeserver reaches the gateway. [default: as it listens]")
@click.option("--replace", is_flag=True, help="New secrets and a new url, in place of a file that is there.")
@click.option(
    "--name",
    default="",
    callback=lambda *parameter: _word(*parameter),
    help="What this gateway is called where it is one of several: small letters and digits.",
)
def register(config_path: Path, is_check: bool, url: str, replace: bool, name: str) -> None:
    """Make the gateway known to a homeserver such as Synapse.

    Writes the registration file with new secrets, unless it is there, and says what to put where. With --check it goes
    through everything that has to be right, as the gateway and as the homeserver, and says what is not.

    With `thingroom run` none of this is needed: it introduces its two programs to each other.
    """
    try:
        config = load(config_path)
        if is_check:
            _check(config)
        else:
            _write(config, config_path, url, replace, name)
    except (ConfigError, RegistrationError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _write(config: GatewayConfig, config_path: Path, url: str, replace: bool, name: str) -> None:
    path = Path(config.registration_file)
    was_there = path.exists() and not replace
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError("--url begins with http:// or https://.")
    if url and was_there:
        raise ConfigError(f"{path} is there already; --replace writes it anew with that url.")
    host = f"[{config.appservice.host}]" if ":" in config.appservice.host else config.appservice.host
    if replace and path.exists() and not name:
        name = load_registration(path).sender_localpart.removeprefix(SENDER_LOCALPART).removeprefix("_")
    url = url or f"http://{host}:{config.appservice.port}"
    write_registration(path, config.server_name, url, replace, name, config.mqtt.shards)
    written = load_registration(path)
    click.echo(f"{path.absolute()} {'is there already, and stays as it is' if was_there else 'is written'}.")
    click.echo(_instructions(config, config_path, path.absolute(), written.url))


def _word(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value) > 32 or not set(value) <= set(string.ascii_lowercase + string.digits):
        raise click.BadParameter(f"at most 32 small letters and digits are wanted, this is {value!r}.", param=parameter)
    return value


def _instructions(config: GatewayConfig, config_path: Path, path: Path, url: str) -> str:
    return f"""\
It holds two secrets that homeserver and gateway share: keep it to those two.

For Synapse, on its machine:

  1. Put a copy where Synapse can read it, for instance
         sudo install -o matrix-synapse -m 0600 {path} /etc/matrix-synapse/thingroom.yaml
  2. Name it in homeserver.yaml:
         app_service_config_files:
           - /etc/matrix-synapse/thingroom.yaml
  3. Restart Synapse: sudo systemctl restart matrix-synapse

For Thingroom's own homeserver, run by itself: appservice_files = ["{path}"] in [homeserver], and restart it.

Rate limits need no change: the file says rate_limited: false for the bot and the devices, and where Synapse asks for
patience all the same, the gateway waits and sends later.

The homeserver will reach the gateway at {url}. If it runs elsewhere or in a container, let the gateway listen for it
(host in [gateway.appservice]) and say: thingroom gateway register --replace --url http://ADDRESS:{config.appservice.port}

In {config_path}, [gateway] has server_name = "{config.server_name}", homeserver_url = "{config.homeserver_url}"
and owner = "{config.owner}"{"" if config.owner else ": set your own Matrix id there, or nobody is invited"}.

Then look whether all is right: thingroom gateway register --check"""


def _check(config: GatewayConfig) -> None:
    findings = check_now(config)
    for finding in findings:
        click.echo(f"{click.style('✓', fg='green') if finding.ok else click.style('✗', fg='red')} {finding.text}")
        if finding.do:
            click.echo(f"  {finding.do}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
    click.echo("All is right: start the gateway with `thingroom gateway run`.")
