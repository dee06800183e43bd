"""The commands of `thingroom gateway`: run, pair, enrol, devices, revoke, counters, register, backup, restore.

They speak to the gateway that runs on the data directory, by control.py; `enrol`, `devices` and `revoke` also work
while none runs. May import everything in this package; the `thingroom` command mounts `gateway_commands`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import string
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from thingroom_common.command_group import Group
from thingroom_common.config_file import ConfigError, default_path
from thingroom_common.database import SchemaTooNew
from thingroom_gateway.__main__ import main as run_command
from thingroom_gateway.app import opened_core, plain_account
from thingroom_gateway.backup import back_up, restore
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.control import Answer, Command, Commands, ask
from thingroom_gateway.ledger import ranges_text, summary
from thingroom_gateway.profiles import ProfileError
from thingroom_gateway.registration_commands import register
from thingroom_gateway.series.export import iso_time
from thingroom_gateway.series.stored import opened
from thingroom_gateway.storage.missing import gaps_of

# What `thingroom run` makes of the person's file, below its data directory.
SETTLED = "programs.toml"
config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=default_path,
    help="The configuration file; its section [gateway] counts. "
    "[default: thingroom.toml, else what `thingroom run` made of it: data/run/programs.toml]",
)


@click.group(name="gateway", cls=Group)
def gateway_commands() -> None:
    """The gateway: takes signed readings from devices and puts them into Matrix rooms."""


gateway_commands.add_command(run_command, "run")
gateway_commands.add_command(register)


@gateway_commands.command()
@config_option
@click.option("--minutes", type=float, default=10.0, show_default=True, help="For how long.")
@click.option("--close", is_flag=True, help="Close pairing now.")
def pair(config_path: Path, minutes: float, close: bool) -> None:
    """Let devices that know the code enrol themselves."""
    config = _load(config_path)
    if close:
        _said(_ask(config, {"command": "close_pairing"}))
        click.echo("Pairing is closed.")
        return
    answer = _said(_ask(config, {"command": "open_pairing", "minutes": minutes}))
    click.echo(f"Pairing is open for {minutes:g} minutes. The code:\n\n    {answer['code']}\n")


@gateway_commands.command()
@config_option
@click.option("--name", required=True, help="What you call the device: Kitchen.")
@click.option("--profile", required=True, help="The name of its device profile: climate.")
@click.option("--place", default="", help="The room it belongs to; its name if not given.")
@click.argument("device_key", callback=lambda *parameter: _hex_digits(64, *parameter))
@click.argument("agreement_key", callback=lambda *parameter: _hex_digits(64, *parameter))
def enrol(config_path: Path, name: str, profile: str, place: str, device_key: str, agreement_key: str) -> None:
    """Enrol a device by its two public keys (64 hex digits each: Ed25519, X25519)."""
    command = {
        "command": "enrol",
        "device_key": device_key,
        "agreement_key": agreement_key,
        "name": name,
        "profile": profile,
        "place": place,
    }
    answer = _said(_ask_or_do(_load(config_path), command))
    click.echo(f"{answer['name']} is device {answer['device']}. Put these keys on the board:")
    click.echo(f"gateway key (Ed25519):          {answer['gateway_key']}")
    click.echo(f"gateway agreement key (X25519): {answer['gateway_agreement_key']}")


@gateway_commands.command()
@config_option
@click.argument("device", callback=lambda *parameter: _hex_digits(16, *parameter))
def revoke(config_path: Path, device: str) -> None:
    """Take nothing from DEVICE (a key id, 16 hex digits) any more."""
    _said(_ask_or_do(_load(config_path), {"command": "revoke", "device": device}))
    click.echo(f"{device} is revoked.")


@gateway_commands.group(cls=Group, invoke_without_command=True)
@config_option
@click.pass_context
def devices(context: click.Context, config_path: Path) -> None:
    """List the devices, what was received of them and what is missing; or hand them over to another gateway."""
    if context.invoked_subcommand is not None:
        return
    answer = _said(_ask_or_do(_load(config_path), {"command": "devices"}))
    for device in answer["devices"]:
        status = device["status"].replace("_", " ")
        runs = f", runs {device['firmware']}" if device["firmware"] else ""
        update = f", update to {device['update']}" if device["update"] else ""
        put_off = f", {device['deferred']} put off (above its quota)" if device["deferred"] else ""
        click.echo(
            f"{device['device']}  {device['name']} ({device['profile']}, {device['place']}, {status}{runs}{update})"
            f"  received {device['received']}, last {device['last_sequence'] or '-'},"
            f" missing: {device['gaps'] or 'nothing'}{put_off}"
        )
    if not answer["devices"]:
        click.echo("No devices. Enrol one with: thingroom gateway pair")


@devices.command("export")
@config_option
@click.option("--shards", required=True, help="First digits of the key ids of devices that go: 0-7, or 0,3,a-f.")
@click.option("--again", is_flag=True, help="Those that went before: for a file that was lost and not imported.")
@click.argument("file", type=click.Path(path_type=Path))
def export_devices(config_path: Path, shards: str, again: bool, file: Path) -> None:
    """Hand devices over to another gateway: write what it has to know to the new FILE, and take nothing from them here.

    The file holds secret keys. Import it at the other gateway, then delete it.
    """
    command = {"command": "export_devices", "shards": shards, "file": str(file.absolute()), "again": again}
    answer = _said(_ask_or_do(_load(config_path), command))
    click.echo(f"{answer['devices']} devices are in {file}. This gateway takes nothing from them any more.")
    if answer["waiting"]:
        click.echo(
            f"{answer['waiting']} of their messages still wait here for the homeserver: let this gateway run on."
        )


@devices.command("import")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_devices(config_path: Path, file: Path) -> None:
    """Take over the devices in FILE, which `export` wrote elsewhere. Add their digits to shards in [gateway.mqtt]."""
    command = {"command": "import_devices", "file": str(file.absolute())}
    answer = _said(_ask_or_do(_load(config_path), command))
    click.echo(f"{answer['devices']} devices are taken over. Delete {file}: it holds secret keys.")


@gateway_commands.command()
@config_option
@click.argument("device", required=False)
def gaps(config_path: Path, device: str | None) -> None:
    """Say which numbers of DEVICE (or of all) did not come, and why as far as is known."""
    try:
        with opened(_load(config_path)) as stored:
            chosen = [stored.find(device)] if device else [one for one in stored.registry if not one.row.attested]
            for one in chosen:
                found = gaps_of(stored.connection, one.row.id)
                click.echo(f"{one.kid_hex}  {one.row.name}: {summary(found) or 'nothing is missing'}")
                for gap in found:
                    since = f" since {iso_time(gap.since)}" if gap.since else ""
                    click.echo(f"    {ranges_text([(gap.first, gap.last)]):>20}  {gap.kind}: {gap.note}{since}")
    except (ConfigError, ProfileError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None


@gateway_commands.command("command")
@config_option
@click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for the device's answer.")
@click.argument("device")
@click.argument("actuator")
@click.argument("value")
def send_command(config_path: Path, wait: float, device: str, actuator: str, value: str) -> None:
    """Set ACTUATOR of DEVICE (its name or key id) to VALUE, and wait until the device says that it did."""
    command = {"command": "send_command", "device": device, "actuator": actuator, "value": value, "seconds": wait}
    answer = _said(_ask(_load(config_path), command, wait))
    _tell_outcome(answer, f"{actuator} is {value}.")


@gateway_commands.command()
@config_option
@click.option("--wait", type=float, default=30.0, show_default=True, help="Seconds to wait for the device's answer.")
@click.option("--interval", type=float, help="Seconds from one sample to the next.")
@click.option("--longest", type=float, help="Seconds after which a reading is sent although nothing has changed.")
@click.option("--name", help="What the device calls itself.")
@click.option(
    "--threshold", "thresholds", type=(str, str), multiple=True, help="QUANTITY CHANGE: least change worth a reading."
)
@click.option(
    "--calibrate", type=(str, str, str), multiple=True, help="QUANTITY FACTOR OFFSET: measured x factor + offset."
)
@click.argument("device")
def configure(
    config_path: Path,
    wait: float,
    interval: float | None,
    longest: float | None,
    name: str | None,
    thresholds: tuple[tuple[str, str], ...],
    calibrate: tuple[tuple[str, str, str], ...],
    device: str,
) -> None:
    """Change how DEVICE (its name or key id) measures; what is not given stays."""
    command = {
        "command": "configure",
        "device": device,
        "interval_ms": None if interval is None else round(interval * 1000),
        "longest_ms": None if longest is None else round(longest * 1000),
        "name": name,
        "thresholds": dict(thresholds),
        "calibration": {quantity: (factor, offset) for quantity, factor, offset in calibrate},
        "seconds": wait,
    }
    _tell_outcome(_said(_ask(_load(config_path), command, wait)), "the new configuration is in use.")


def _tell_outcome(answer: Answer, done: str) -> None:
    """What came of a command, for a person; a failure fails."""
    name, outcome = answer["name"], answer["outcome"]
    if outcome == "done":
        click.echo(f"{name}: {answer['sentence'] or done}")
    elif outcome == "waiting":
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime((answer["expires_at"] or 0) / 1000))
        click.echo(f"{name} has not answered yet. The command waits for it until {until}.")
    else:
        raise click.ClickException(f"{name} did not do it. {answer['sentence']}")


@gateway_commands.command()
@config_option
def counters(config_path: Path) -> None:
    """Show what was counted: accepted, refused and rejected messages by reason, and the outbox."""
    answer = _said(_ask(_load(config_path), {"command": "counters"}))
    for name, value in answer["counters"].items():
        click.echo(f"{value:>10}  {name}")
    for name, value in answer["outbox"].items():
        click.echo(f"{value:>10}  outbox.{name}")


@gateway_commands.command()
@config_option
def seen(config_path: Path) -> None:
    """List plain MQTT devices that were heard: what they tell, which profile suits, how to adopt them."""
    answer = _said(_ask(_load(config_path), {"command": "seen"}))
    for one in answer["seen"]:
        what = " ".join(part for part in (one["title"], one["model"]) if part) or one["dialect"]
        click.echo(f"{one['topic']}  ({what})" + (f"  is {one['adopted_as']}" if one["adopted_as"] else ""))
        told = ", ".join(f"{name} {value}" for name, value in one["values"].items())
        click.echo(f"    tells {told or 'nothing yet'}; profile: {one['profile'] or 'none suits'}")
        if one["settable"]:
            click.echo(f"    can be set: {', '.join(one['settable'])}")
    if not answer["seen"]:
        click.echo("Nothing was heard yet. Devices tell their values every few minutes.")


@gateway_commands.command()
@config_option
@click.argument("topic")
@click.option("--name", required=True, help="What you call the device: Kitchen.")
@click.option("--place", default="", help="The room it belongs to; its name if not given.")
@click.option("--profile", default="", help="The name of its device profile; the one that suits best if not given.")
def adopt(config_path: Path, topic: str, name: str, place: str, profile: str) -> None:
    """Take in the plain MQTT device that `thingroom gateway seen` lists at TOPIC.

    It signs nothing: its readings are marked as attested by the gateway.
    """
    command = {"command": "adopt", "topic": topic, "name": name, "place": place, "profile": profile}
    answer = _said(_ask(_load(config_path), command))
    click.echo(f"{answer['name']} is device {answer['device']}, profile {answer['profile']}, in {answer['place']}.")


@gateway_commands.command("plain-account")
@config_option
def plain_account_command(config_path: Path) -> None:
    """Show the user and password that plain MQTT devices log in with at the broker that Thingroom manages."""
    account = plain_account(_load(config_path))
    if account is None:
        raise click.ClickException(
            "No [[gateway.plain]] is configured, or the broker's users are not ours (gateway.mqtt.password_file)."
        )
    click.echo(f"user:     {account[0]}\npassword: {account[1]}")


@gateway_commands.command("retry-parked")
@config_option
def retry_parked(config_path: Path) -> None:
    """Send again what the homeserver refused for good: after its cause was mended."""
    answer = _said(_ask(_load(config_path), {"command": "retry_parked"}))
    click.echo(f"{answer['retried']} requests wait again.")


@gateway_commands.command("reload")
@config_option
def reload_command(config_path: Path) -> None:
    """Read the configuration again, without a restart.

    Says what is in use now and what waits for a restart. A file with a mistake changes nothing.
    """
    if config_path.name == SETTLED and config_path.parent.name == "run":
        raise click.ClickException(
            f"{config_path} was made by `thingroom run` of your thingroom.toml; say `thingroom reload` instead."
        )
    answer = _said(_ask(_load(config_path), {"command": "reload"}))
    click.echo(reloaded_text(answer))


def reloaded_text(answer: Answer) -> str:
    """What came of reading the configuration again, for a person."""
    lines = [f"In use now: {', '.join(answer['changed']) or 'nothing that was not before'}."]
    if answer["needs_restart"]:
        lines.append(f"After a restart: {', '.join(answer['needs_restart'])}.")
    return "\n".join(lines)


@gateway_commands.command()
@config_option
@click.argument("folder", type=click.Path(path_type=Path))
def backup(config_path: Path, folder: Path) -> None:
    """Copy everything that the gateway keeps into the new FOLDER, while it runs or not. Its keys are in it."""
    try:
        size = back_up(_load(config_path), folder)
    except (ConfigError, OSError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{folder} holds a copy of {size / 1e6:.1f} MB. Whoever has it has the gateway's keys: keep it safe.")


@gateway_commands.command("restore")
@config_option
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def restore_command(config_path: Path, folder: Path) -> None:
    """Put a backup into the data directory, which must be empty. The gateway may not run."""
    config = _load(config_path)
    try:
        restore(folder, config)
    except (ConfigError, OSError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{config.directory} is as it was when {folder} was made.")


def _hex_digits(number: int, _: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value) != number or not set(value) <= set(string.hexdigits):
        raise click.BadParameter(f"{number} hex digits are wanted, this is {value!r}.", param=parameter)
    return value


def _load(path: Path) -> GatewayConfig:
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _ask(config: GatewayConfig, command: dict[str, Any], wait: float = 0) -> Answer:
    try:
        return ask(config.directory, command, 30 + wait)
    except OSError:
        raise click.ClickException(
            f"No gateway runs on {config.directory}. Start it with: thingroom gateway run"
        ) from None


def _ask_or_do(config: GatewayConfig, command: dict[str, Any]) -> Answer:
    """Ask the gateway that runs; if none does, open its database and do it here."""
    try:
        return ask(config.directory, command)
    except OSError:
        pass
    try:
        return asyncio.run(_do(config, msgspec.convert(command, Command)))
    except msgspec.ValidationError as error:
        return {"ok": False, "error": str(error)}
    except (OSError, ValueError, sqlite3.Error, ProfileError, SchemaTooNew) as error:
        raise click.ClickException(str(error)) from None


async def _do(config: GatewayConfig, command: Command) -> Answer:
    async with opened_core(config) as core:
        commands = Commands(
            core.database, core.registry, core.enrolment, core.pairing, core.counters, core.keys, _nothing, _nothing
        )
        return await commands.run(command)


def _nothing() -> None:
    """No gateway runs: there is nothing to stop or to kick."""


def _said(answer: Answer) -> Answer:
    if not answer.get("ok"):
        raise click.ClickException(str(answer.get("error", "the gateway gave no reason")))
    return answer
