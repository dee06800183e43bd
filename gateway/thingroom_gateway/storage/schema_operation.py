"""What whoever runs a gateway wants to know: since when requests wait, and which counts they have seen.

May import thingroom_common. storage/figures.py has the statements; schema.py adds this to the other migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "0038_operation",
        """
-- When (Unix ms) the request was put here; 0 of those that waited when this column came.
ALTER TABLE outbox ADD COLUMN queued_at INTEGER NOT NULL DEFAULT 0;
-- What a person saw last of `counters`: what was counted since is news.
CREATE TABLE counters_read (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
""",
    )
]
