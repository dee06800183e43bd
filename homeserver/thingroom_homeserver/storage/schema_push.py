"""Tables of notifications, of how far users have counted or read them, and of pushers.

What notifies a whole room is one row with those whom it does not notify (`but`), however big the room; what is for one
user alone is a row of theirs. `thread_id` is "main" or the id of the thread's root. May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

PUSH = Migration(
    "push_1_notifications_and_pushers",
    """
CREATE TABLE room_notifications (
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    thread_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    highlight INTEGER NOT NULL,
    actions TEXT NOT NULL,
    but TEXT NOT NULL,
    ts INTEGER NOT NULL,
    PRIMARY KEY (room_id, position)
) WITHOUT ROWID;
CREATE INDEX room_highlights ON room_notifications (room_id, position) WHERE highlight = 1;

CREATE TABLE user_notifications (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    thread_id TEXT NOT NULL,
    highlight INTEGER NOT NULL,
    actions TEXT NOT NULL,
    ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id, position)
) WITHOUT ROWID;
CREATE INDEX user_notifications_by_position ON user_notifications (user_id, position);
CREATE INDEX user_notifications_by_room ON user_notifications (room_id, position);

CREATE TABLE notification_marks (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    notifications INTEGER NOT NULL,
    highlights INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id, thread_id)
) WITHOUT ROWID;

CREATE TABLE pushers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    pushkey_ts INTEGER NOT NULL,
    fields TEXT NOT NULL,
    position INTEGER NOT NULL,
    badge INTEGER NOT NULL DEFAULT 0,
    UNIQUE (app_id, pushkey, user_id)
);
CREATE INDEX pushers_of_user ON pushers (user_id, device_id);
""",
)

PUSH_MIGRATIONS = (PUSH,)
