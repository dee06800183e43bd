"""`thingroom homeserver admin reports`: what users reported, out of the database, also while the server runs.

May import everything but the server.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew
from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.server import DATABASE_NAME
from thingroom_homeserver.storage.reports import Report, read_reports
from thingroom_homeserver.storage.schema import MIGRATIONS


async def list_reports(config: HomeserverConfig, limit: int) -> list[Report]:
    """The last `limit` reports, newest first. Raises ConfigError."""
    path = Path(config.data_directory) / DATABASE_NAME
    if not path.exists():
        raise ConfigError(f"There is no database in {path.parent}: the server has not run there yet.")
    try:
        database = await Database.open(path, MIGRATIONS)
    except (OSError, sqlite3.Error, SchemaTooNew) as error:
        raise ConfigError(f"{path} cannot be opened: {error}.") from None
    try:
        return database.read(lambda connection: read_reports(connection, limit))
    finally:
        await database.close()
