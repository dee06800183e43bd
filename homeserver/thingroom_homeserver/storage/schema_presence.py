"""The table of presence: each user's last state and status, numbered by the stream position of its last change.

May import thingroom_common only. Next: presence.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

PRESENCE = Migration(
    "presence_1_presence",
    """
CREATE TABLE presence (
    user_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    status_msg TEXT,
    last_active_ts INTEGER NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX presence_position ON presence (position);
CREATE INDEX presence_there ON presence (user_id) WHERE state != 'offline';
""",
)

PRESENCE_MIGRATIONS = (PRESENCE,)
