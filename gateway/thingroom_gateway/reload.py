"""The configuration read again while the gateway runs: what can change does, the rest is named, a bad file changes
nothing.

`Reload` knows nothing of the parts: each gives a `Prepare`, which looks at the new configuration, raises ConfigError
where it cannot be, and returns what makes it so. reload_parts.py has them; app.py calls `read_again` on SIGHUP,
control.py for `thingroom gateway reload`. May import config and thingroom_common.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from thingroom_common.config_file import ConfigError
from thingroom_common.log_lines import fields
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.profiles import ProfileError

logger = logging.getLogger(__name__)

Apply = Callable[[], None]
Prepare = Callable[[GatewayConfig], Apply]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it: keys that changed and are in use, keys that wait for a restart; or why nothing changed."""

    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    error: str = ""


class Reload:
    """Holds the configuration that is in use."""

    def __init__(self, config: GatewayConfig, read: Callable[[], GatewayConfig]) -> None:
        """`read` reads the file; raises ConfigError."""
        self.config = config
        self.needs_restart: tuple[str, ...] = ()
        self._started_with = flat(config)
        self._read = read
        self._parts: list[tuple[tuple[str, ...], Prepare]] = []

    def part(self, keys: tuple[str, ...], prepare: Prepare) -> None:
        """What `prepare` returns makes changes of `keys` come true; a key that ends with a dot is a whole section."""
        self._parts.append((keys, prepare))

    def read_again(self) -> Reloaded:
        """Read the file and make it so, as far as it can be; says so in the log."""
        try:
            wanted = self._read()
            config, changed, needs_restart = self._divided(wanted)
            applying = [prepare(config) for _, prepare in self._parts]
        except (ConfigError, ProfileError, OSError) as error:
            logger.error("the configuration was read again and changes nothing: %s", error)
            return Reloaded(needs_restart=self.needs_restart, error=str(error))
        for apply in applying:
            apply()
        self.config, self.needs_restart = config, needs_restart
        logger.info("the configuration was read again", extra=fields(changed=",".join(changed) or "nothing"))
        for key in needs_restart:
            logger.warning("%s is changed in the file, and in use after a restart", key, extra=fields(key=key))
        return Reloaded(changed, needs_restart)

    def _divided(self, wanted: GatewayConfig) -> tuple[GatewayConfig, tuple[str, ...], tuple[str, ...]]:
        """What can be in use now, the keys by which it differs from what was, and those that cannot change."""
        now, new = flat(self.config), flat(wanted)
        fixed = [key for key in new if not self._can_change(key)]
        mixed = {**new, **{key: self._started_with[key] for key in fixed}}
        return (
            msgspec.convert(_nested(mixed), GatewayConfig),
            tuple(sorted(key for key, value in mixed.items() if value != now[key])),
            tuple(sorted(key for key in fixed if new[key] != self._started_with[key])),
        )

    def _can_change(self, key: str) -> bool:
        return any(
            key.startswith(known) if known.endswith(".") else key == known for keys, _ in self._parts for known in keys
        )


def flat(config: msgspec.Struct) -> dict[str, Any]:
    """Each key with its whole name: {"mqtt.port": 1883, ...}; lists are values."""
    found: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], before: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{before}{key}.")
            else:
                found[before + key] = value

    walk(msgspec.to_builtins(config), "")
    return found


def _nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in keys.items():
        *sections, last = key.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    return tree
