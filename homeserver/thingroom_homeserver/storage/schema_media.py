"""Tables of the content repository: one row a file, and what each user's files come to.

`size` is NULL until the content has arrived; until then `expires_ts` says for how long the name is kept. The bytes
themselves are files (media/files.py). `user_id` is '' for pictures that the server fetched for URL previews.
May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

MEDIA = Migration(
    "media_1_local_media",
    """
CREATE TABLE media (
    media_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    created_ts INTEGER NOT NULL,
    expires_ts INTEGER,
    size INTEGER,
    sha256 TEXT,
    content_type TEXT,
    file_name TEXT,
    quarantined_ts INTEGER
) WITHOUT ROWID;
CREATE INDEX media_of_user ON media (user_id, created_ts);
CREATE INDEX media_by_time ON media (created_ts) WHERE size IS NOT NULL;
CREATE INDEX media_pending ON media (user_id, expires_ts) WHERE size IS NULL;

CREATE TABLE media_usage (
    user_id TEXT PRIMARY KEY,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
""",
)

MEDIA_MIGRATIONS = (MEDIA,)
