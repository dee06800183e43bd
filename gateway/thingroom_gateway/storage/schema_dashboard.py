"""The table of who is signed in at the dashboard.

May import thingroom_common. storage/dashboard.py has the statements; schema.py lists these migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "dashboard_0001_sessions",
        """
-- Who is signed in: the SHA-256 of what the browser holds, never that itself. Times in Unix ms.
CREATE TABLE dashboard_sessions (
    digest BLOB PRIMARY KEY,
    person TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX dashboard_sessions_of_person ON dashboard_sessions (person, made_at);
CREATE INDEX dashboard_sessions_expire ON dashboard_sessions (expires_at);
""",
    )
]
