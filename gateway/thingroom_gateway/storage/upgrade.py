"""A copy of the database before an upgrade changes it, so that there is a way back to the version of before.

May import thingroom_common. app.py calls it before it opens the database. Migrations themselves are each one
transaction: whatever happens in the middle leaves the database as some version had it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from thingroom_common.database import Migration

logger = logging.getLogger(__name__)

# Followed by how many steps the schema has after the upgrade.
INFIX: Final = ".before-step-"
# What must stay free on the disk beside the copy.
SPARE_BYTES: Final = 200_000_000


def copy_before_upgrade(path: Path, migrations: Sequence[Migration]) -> Path | None:
    """Where `migrations` would change what is at `path`, copy it to <path>.before-step-<number>; older copies go.

    Returns the copy; None if nothing would change, or if there is no room for a copy, which is logged. An upgrade that
    was killed on its way goes on with the copy that it had made. Raises OSError, sqlite3.Error.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    copy = path.with_name(f"{path.name}{INFIX}{len(migrations)}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        applied, known = _applied(connection), {migration.name for migration in migrations}
        if not applied or not applied < known or copy.exists():
            return None
        pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        if shutil.disk_usage(path.parent).free < connection.execute(pages).fetchone()[0] + SPARE_BYTES:
            logger.warning("%s is upgraded without a copy of before: there is no room for one", path)
            return None
        unfinished = copy.with_name(copy.name + ".unfinished")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with contextlib.closing(sqlite3.connect(unfinished)) as target:
            connection.backup(target)
    unfinished.replace(copy)
    for older in path.parent.glob(f"{path.name}{INFIX}*"):
        if older != copy:
            older.unlink()
    logger.info("%s is upgraded; as it was before it is in %s", path, copy)
    return copy


def _applied(connection: sqlite3.Connection) -> set[str]:
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchone() is None:
        return set()
    return {row[0] for row in connection.execute("SELECT name FROM schema_migrations")}
