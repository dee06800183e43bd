"""thingroom.toml read again while `thingroom run` runs: settled anew, checked, and handed to the gateway.

May import the configuration and the gateway's control socket. run.py does it on SIGHUP, cli.py for `thingroom reload`.
"""

from __future__ import annotations

from pathlib import Path

from thingroom.config import Paths, ThingroomConfig, read_or_write, settle, write_programs_file
from thingroom_common.config_file import ConfigError, load
from thingroom_gateway import control
from thingroom_gateway.cli import reloaded_text
from thingroom_gateway.reload import flat

# What only a new start of the programs concerned can change.
_AT_START = ("run", "homeserver")


def reload(paths: Paths, config_file: Path | None) -> str:
    """Do it, and say what came of it, in lines. A mistake changes nothing. Raises ConfigError."""
    if not paths.started_with.exists():
        raise ConfigError(f"`thingroom run` has not run in {paths.data}; nothing to reload.")
    before = load(paths.programs, ThingroomConfig)
    after = settle(read_or_write(paths, config_file), paths)
    write_programs_file(after, paths.programs)
    try:
        answer = control.ask(paths.gateway, {"command": "reload"})
    except OSError:
        raise ConfigError(f"No gateway runs in {paths.data}; the next start takes the file as it is.") from None
    if not answer["ok"]:
        write_programs_file(before, paths.programs)
        raise ConfigError(str(answer["error"]))
    started = load(paths.started_with, ThingroomConfig)
    waiting = [f"{section}.{key}" for section in _AT_START for key in _changed(started, after, section)]
    return reloaded_text({**answer, "needs_restart": [*answer["needs_restart"], *waiting]})


def _changed(before: ThingroomConfig, after: ThingroomConfig, section: str) -> list[str]:
    old, new = (flat(getattr(config, section)) for config in (before, after))
    return sorted(key for key in new if new[key] != old[key])
