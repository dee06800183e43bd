"""Tables of sliding sync: what each connection of a device was told, room by room.

A row of `sliding_rooms` holds from `state` on, until a row of the same room with a later state that the client has
acknowledged. Room id "" stands for what belongs to no room. May import thingroom_common only. Next: sliding.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

SLIDING = Migration(
    "sliding_1_connections",
    """
CREATE TABLE sliding_connections (
    connection INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    conn_id TEXT NOT NULL,
    base_state INTEGER NOT NULL,
    last_state INTEGER NOT NULL,
    used_ts INTEGER NOT NULL,
    UNIQUE (user_id, device_id, conn_id)
);
CREATE INDEX sliding_connections_used ON sliding_connections (used_ts);

CREATE TABLE sliding_rooms (
    connection INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    state INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (connection, room_id, state)
) WITHOUT ROWID;

CREATE INDEX events_room_bump ON events (room_id, position) WHERE position IS NOT NULL AND type IN (
    'm.room.create', 'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', 'm.poll.start',
    'org.matrix.msc3381.poll.start', 'm.beacon_info', 'org.matrix.msc3672.beacon_info'
);
""",
)

SLIDING_MIGRATIONS = (SLIDING,)
