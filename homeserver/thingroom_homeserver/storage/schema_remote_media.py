"""The table of the files of other servers that are on this disk, or that this server does not show.

`local_id` names the bytes (media/files.py). `size` is NULL where there are none: such a row only says that the file is
quarantined. May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

REMOTE_MEDIA = Migration(
    "remote_media_1",
    """
CREATE TABLE remote_media (
    server_name TEXT NOT NULL,
    media_id TEXT NOT NULL,
    local_id TEXT UNIQUE,
    size INTEGER,
    sha256 TEXT,
    content_type TEXT,
    file_name TEXT,
    fetched_ts INTEGER,
    used_ts INTEGER,
    quarantined_ts INTEGER,
    PRIMARY KEY (server_name, media_id)
) WITHOUT ROWID;
CREATE INDEX remote_media_by_use ON remote_media (used_ts, size) WHERE size IS NOT NULL;
""",
)

REMOTE_MEDIA_MIGRATIONS = (REMOTE_MEDIA,)
