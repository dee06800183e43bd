"""The store as the command line opens it: read only, whether the gateway runs or not.

May import config, devices, profiles, storage. commands.py reads through it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from thingroom_common.config_file import ConfigError
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.local_time import local_zone
from thingroom_gateway.profiles import load_profiles
from thingroom_gateway.storage.devices import load_devices

DATABASE = "gateway.sqlite"
MIN_PREFIX = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """One moment of the store, and what its devices are."""

    connection: sqlite3.Connection
    registry: Registry
    zone: ZoneInfo

    def find(self, wanted: str) -> Device:
        """The device of that name or key id (at least its first four digits). Raises ConfigError with a sentence."""
        word = wanted.strip().casefold()
        named = [device for device in self.registry if device.row.name.casefold() == word]
        if not named and len(word) >= MIN_PREFIX:
            named = [device for device in self.registry if device.kid_hex.startswith(word)]
        if len(named) == 1:
            return named[0]
        if named:
            several = ", ".join(f"{device.kid_hex} in {device.row.place}" for device in named)
            raise ConfigError(f"{wanted} is more than one device: {several}. Say the one by its key id.")
        known = ", ".join(sorted({device.row.name for device in self.registry})) or "none"
        raise ConfigError(f"there is no device {wanted}; there are: {known}")


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the database. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    return connection


@contextlib.contextmanager
def opened(config: GatewayConfig) -> Iterator[Stored]:
    """Raises ConfigError, ProfileError, sqlite3.Error."""
    zone = local_zone(config.timezone)
    own = Path(config.profile_directory) if config.profile_directory else None
    profiles = load_profiles(own=own, choices=config.units.choices)
    path = config.directory / DATABASE
    if not path.is_file():
        raise ConfigError(f"there is no database {path}; the gateway has not run here")
    with contextlib.closing(open_read_only(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if "samples" not in tables:
            raise ConfigError(f"{path} is of an earlier version: start the gateway once, it brings the database along")
        connection.execute("BEGIN")
        yield Stored(connection, Registry(load_devices(connection), profiles), zone)
