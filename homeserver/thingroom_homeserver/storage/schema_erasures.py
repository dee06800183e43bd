"""The users who were erased, with the position in the stream at which that was.

May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

ERASURES = Migration(
    "erasures_1_positions",
    """
CREATE TABLE erasures (
    user_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO erasures
    SELECT user_id, (SELECT position FROM stream_position) FROM accounts WHERE erased = 1 AND deactivated = 1;
""",
)

ERASURE_MIGRATIONS = (ERASURES,)
