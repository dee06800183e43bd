"""The commands of `thingroom profile`: list, show, check a file, start a new one from another.

A maker works with these and an editor; no gateway needs to run. May import profiles, profile_examples, units, config.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click

from thingroom_common.command_group import Group
from thingroom_common.config_file import ConfigError
from thingroom_gateway.cli import config_option
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.profile_examples import run
from thingroom_gateway.profiles import (
    Actuator,
    Alert,
    Profile,
    ProfileError,
    Quantity,
    load_profile,
    load_profiles,
    profile_directory,
)


@click.group(name="profile", cls=Group)
def profile_commands() -> None:
    """Device profiles: what a device's values mean. List and read them, write and check your own."""


@profile_commands.command("list")
@config_option
def list_profiles(config_path: Path) -> None:
    """List the profiles that devices can have, yours included."""
    for name, profile in sorted(_profiles(config_path).items()):
        told = ", ".join([*profile.quantities, *(f"{actuator}!" for actuator in profile.actuators)])
        click.echo(f"{name:<14} {profile.title} ({told})")
    click.echo("\nWhat ends with ! can be set. One in full: thingroom profile show NAME")


@profile_commands.command("show")
@config_option
@click.argument("name")
def show_profile(config_path: Path, name: str) -> None:
    """Show the profile NAME: quantities with units and ranges, actuators, alerts."""
    profiles = _profiles(config_path)
    profile = profiles.get(name)
    if profile is None:
        raise click.ClickException(f"There is no profile {name}; there are {', '.join(sorted(profiles))}.")
    click.echo(f"{profile.icon} {profile.title}".strip())
    if profile.about:
        click.echo(profile.about)
    for heading, lines in (
        ("Quantities", [_quantity_line(one) for one in profile.quantities.values()]),
        ("Actuators", [_actuator_line(one) for one in profile.actuators.values()]),
        ("Alerts", [_alert_line(one, profile) for one in profile.alerts]),
    ):
        if lines:
            click.echo(f"\n{heading}:")
            for line in lines:
                click.echo(f"  {line}")
    click.echo(
        f"\nIt speaks up every {_time(profile.at_least_ms)} at most and {_time(profile.at_most_ms)} at least,"
        f" and counts as silent after {_time(profile.silent_after_ms)}"
        f"{' (it sleeps in between)' if profile.sleeps else ''}."
    )


def _quantity_line(quantity: Quantity) -> str:
    parts = [f"{quantity.name}: {quantity.title}"]
    if quantity.kind != "number":
        parts.append(quantity.kind)
        if quantity.words:
            parts.append(" / ".join(f"{key}: {word}" for key, word in quantity.words.items()))
    else:
        unit = quantity.unit or "no unit"
        parts.append(unit if unit == quantity.shown_unit else f"{unit}, shown as {quantity.shown_unit or 'a number'}")
        if quantity.minimum is not None or quantity.maximum is not None:
            low = "any" if quantity.minimum is None else quantity.minimum
            parts.append(f"{low} to {'any' if quantity.maximum is None else quantity.maximum}")
        if quantity.deadband is not None:
            parts.append(f"worth a notice from {quantity.deadband} on")
    if quantity.quiet:
        parts.append("quiet")
    return "; ".join(parts)


def _actuator_line(actuator: Actuator) -> str:
    what: str = actuator.kind
    if actuator.options:
        what += f": {', '.join(actuator.options)}"
    elif actuator.minimum is not None:
        step = f" in steps of {actuator.step}" if actuator.step is not None else ""
        what += f" {actuator.minimum} to {actuator.maximum}{' ' + actuator.unit if actuator.unit else ''}{step}"
    told = f"; its state is {actuator.feedback}" if actuator.feedback else "; its state is not told"
    return f"{actuator.name}: {actuator.title}; {what}{told}"


def _alert_line(alert: Alert, profile: Profile) -> str:
    within = _time(alert.within_ms) if alert.within_ms is not None else ""
    unit = (profile.quantities[alert.quantity].unit or "") if alert.quantity else ""
    when = {
        "above": f"{alert.quantity} above {alert.threshold} {unit}",
        "below": f"{alert.quantity} below {alert.threshold} {unit}",
        "battery": f"{alert.quantity} below {alert.threshold} {unit}",
        "rate": f"{alert.quantity} changes by {alert.threshold} {unit} within {within}",
        "silence": f"nothing heard for {within}",
    }[alert.kind]
    return f"{alert.name}: {when.strip()}{' (on from the start)' if alert.on else ''}. {alert.text}"


def _time(ms: int) -> str:
    seconds = ms // 1000
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


# --- checking ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with a file: on which line (0: none in particular), what, and what to do (may be empty)."""

    line: int
    what: str
    cure: str = ""


@profile_commands.command("check")
@config_option
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check_profile(config_path: Path, file: Path) -> None:
    """Check the profile FILE: its shape, its units, its worked examples. Ends with 1 if anything is wrong."""
    troubles = check(file, _ours(config_path, file))
    for trouble in troubles:
        click.echo(f"{file}:{trouble.line}: {trouble.what}" if trouble.line else f"{file}: {trouble.what}")
        if trouble.cure:
            click.echo(f"    {trouble.cure}")
    if troubles:
        raise SystemExit(1)
    profile = load_profile(file)
    click.echo(f"{file} is right: {len(profile.quantities)} quantities, {len(profile.examples)} worked examples.")


def check(file: Path, others: dict[str, Path]) -> list[Trouble]:
    """What is wrong with the profile in `file`. `others`: the profiles that there are, and the file of each."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        profile = load_profile(file)
    except ProfileError as error:
        message = str(error).removeprefix(f"{file}: ")
        if message.startswith("the profile is called"):
            return [Trouble(line_of(text, "name"), message, "change the one or the other")]
        toml_line = re.search(r"\(at line ([0-9]+)", message)
        line = int(toml_line[1]) if toml_line else line_of(text, _deepest(error.where, message))
        return [Trouble(line, message, _cure(message, error.cure))]
    troubles = []
    if profile.name in others and others[profile.name].resolve() != file.resolve():
        cure = f"give yours another name, for example my_{profile.name}, in the file and as the file's name"
        troubles.append(Trouble(line_of(text, "name"), f"there is a profile {profile.name} already", cure))
    for index, example in enumerate(profile.examples):
        line = line_of(text, f"examples[{index}]")
        troubles += [Trouble(line, f'example "{example.about}": {problem}') for problem in run(profile, example)]
    return troubles


def _cure(message: str, cure: str) -> str:
    """What to do, in the words of TOML, about what msgspec says."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return f"there is no key {unknown[1]}; device_profiles/schema.json lists those that there are"
    missing = re.search(r"missing required field `([^`]+)`", message)
    if missing:
        return f"add {missing[1]} = …"
    if "Expected `str`, got `int`" in message or "Expected `str`, got `float`" in message:
        return 'numbers of this kind are exact, so they are written as strings: "21.5"'
    if "Expected `str | null`, got `int`" in message or "Expected `str | null`, got `float`" in message:
        return 'numbers of this kind are exact, so they are written as strings: "21.5"'
    if "matching regex" in message and "[0-9]" in message and "a-z" not in message:
        return 'write a decimal without exponent as a string: "-40", "0.5"'
    if "matching regex" in message:
        return "a name begins with a small letter; small letters, digits and _ follow"
    if "Invalid enum value" in message:
        return "see device_profiles/schema.json for the words that are possible"
    return "" if cure in message else cure


def _deepest(where: str, message: str) -> str:
    """The way to a key that should not be there is that of its table and its name."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return f"{where}.{unknown[1]}" if where else unknown[1]
    return where


def line_of(text: str, where: str) -> int:
    """The line of `where` ("quantities[1].unit", "examples[0]", "name") in TOML text as people write it; 0 if unknown.

    The key's line if it is found, else that of its table.
    """
    matched = re.match(r"([a-z_]+)(?:\[([0-9]+)\])?(?:\.([A-Za-z_]+))?", where)
    if matched is None:
        return 0
    table, index, key = matched[1], matched[2], matched[3]
    lines = text.splitlines()
    start, end = _section(lines, table, None if index is None else int(index))
    if index is None and key is None:
        found = _key_line(lines, table, 0, _first_table(lines))
        return found or (start + 1 if start is not None else 0)
    if start is None:
        return 0
    return (_key_line(lines, key, start + 1, end) if key else 0) or start + 1


def _first_table(lines: list[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.startswith("[")), len(lines))


def _section(lines: list[str], table: str, index: int | None) -> tuple[int | None, int]:
    """Where the table begins (its header) and ends; the `index`-th of an array of tables."""
    header = f"[{table}]" if index is None else f"[[{table}]]"
    starts = [number for number, line in enumerate(lines) if line.strip().startswith(header)]
    wanted = index or 0
    if wanted >= len(starts):
        return None, 0
    start = starts[wanted]
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    return start, end


def _key_line(lines: list[str], key: str, start: int, end: int) -> int:
    pattern = re.compile(rf'\s*"?{re.escape(key)}"?\s*=')
    return next((number + 1 for number in range(start, end) if pattern.match(lines[number])), 0)


# --- a new one ---------------------------------------------------------------------------------------------------


@profile_commands.command("new")
@config_option
@click.argument("name")
@click.option("--from", "source", required=True, help="The profile to copy.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write NAME.toml. [default: profile_directory of [gateway], else here]",
)
def new_profile(config_path: Path, name: str, source: str, directory: Path | None) -> None:
    """Write NAME.toml, a copy of another profile to change: its numbers, its names, its worked examples."""
    files = _files(config_path)
    if source not in files:
        raise click.ClickException(f"There is no profile {source}; there are {', '.join(sorted(files))}.")
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
        raise click.ClickException("A name begins with a small letter; small letters, digits, _ and - follow.")
    if name in files:
        raise click.ClickException(f"There is a profile {name} already: {files[name]}")
    configured = _config(config_path).profile_directory
    folder = directory or (Path(configured) if configured else Path())
    path = folder / f"{name}.toml"
    if path.exists():
        raise click.ClickException(f"{path} exists already.")
    text = files[source].read_text(encoding="utf-8")
    text = re.sub(r'^name = "[^"]*"', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^#:schema .*\n", "", text)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#:schema {profile_directory() / 'schema.json'}\n{text}", encoding="utf-8")
    click.echo(f"{path} is a copy of {source}. Change it, then: thingroom profile check {path}")
    if path.parent.resolve() != Path(configured or ".").resolve() or not configured:
        click.echo(f'Devices can have it once the configuration says, in [gateway]: profile_directory = "{folder}"')


# --- what there is -----------------------------------------------------------------------------------------------


def _config(path: Path) -> GatewayConfig:
    """The configuration, or the defaults where there is none: these commands need no gateway."""
    if not path.exists():
        return GatewayConfig()
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _profiles(config_path: Path) -> dict[str, Profile]:
    config = _config(config_path)
    own = Path(config.profile_directory) if config.profile_directory else None
    try:
        return load_profiles(own=own, choices=config.units.choices)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None


def _files(config_path: Path) -> dict[str, Path]:
    """The file of each profile that there is, by name; ours go before an own one of the same name."""
    config = _config(config_path)
    own = Path(config.profile_directory) if config.profile_directory else None
    folders = [own, profile_directory()] if own is not None else [profile_directory()]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def _ours(config_path: Path, file: Path) -> dict[str, Path]:
    """What a profile in `file` must not be called: the others, as they are installed or in the folder of one's own."""
    return {name: path for name, path in _files(config_path).items() if path.resolve() != file.resolve()}
