"""Tables of application services: how far what is no event was told to them, and their own room directories.

May import thingroom_common only. Next: appservices.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

EXTRAS = Migration(
    "appservice_1_extras_and_room_lists",
    """
ALTER TABLE appservice_streams ADD COLUMN extras_position INTEGER NOT NULL DEFAULT 0;
UPDATE appservice_streams SET extras_position = (SELECT position FROM stream_position);

CREATE INDEX receipts_of_all_rooms ON receipts (position);
CREATE INDEX to_device_messages_of_all ON to_device_messages (position);

CREATE TABLE appservice_room_lists (
    instance_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    PRIMARY KEY (instance_id, room_id)
) WITHOUT ROWID;
""",
)

APPSERVICE_MIGRATIONS = (EXTRAS,)
