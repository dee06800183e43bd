"""The tables of messages that are edited instead of followed by others, and of pictures that were uploaded.

May import thingroom_common. storage/live.py and storage/places.py have the statements; schema.py adds this to the other
migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "0039_live",
        """
-- Where people chose whether a device has one message that is edited. A device's choice goes before its place's.
CREATE TABLE live_places (place TEXT PRIMARY KEY, live INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE live_devices (device INTEGER PRIMARY KEY REFERENCES devices, live INTEGER NOT NULL) WITHOUT ROWID;
-- A device's message: the transaction that opens it, and its event once it is in the room. One that is `over` (a
-- person removed it, the homeserver refused it, or live messages were turned off) is not edited any more.
CREATE TABLE live_messages (
    device INTEGER PRIMARY KEY REFERENCES devices,
    place TEXT NOT NULL,
    opening TEXT NOT NULL,
    event_id TEXT,
    opened_at INTEGER NOT NULL,
    edits INTEGER NOT NULL,
    over INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX live_messages_of_opening ON live_messages (opening);
CREATE INDEX live_messages_of_event ON live_messages (event_id);
-- What a device read too soon after it was last heard in its room, and says when the time has come (JSON of values).
CREATE TABLE unsaid (device INTEGER PRIMARY KEY REFERENCES devices, latest TEXT NOT NULL, ts INTEGER NOT NULL)
    WITHOUT ROWID;
-- Pictures by what they show, and where the homeserver keeps them; empty: it would not have this one.
CREATE TABLE pictures (name TEXT PRIMARY KEY, uri TEXT NOT NULL) WITHOUT ROWID;
-- Which picture a ghost was given; NULL: none was tried yet.
ALTER TABLE ghosts ADD COLUMN picture TEXT;
""",
    )
]
