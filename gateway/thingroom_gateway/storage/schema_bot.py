"""The tables of the bot and of alerts, and the outbox rebuilt so that the bot can speak in any room.

May import thingroom_common. storage/bot.py and storage/alerts.py have the statements; schema.py adds this to the other
migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "0033_bot",
        """
-- As before, and: `device` may be missing, `room_id` names a room that is no place, `sender` is ghost or bot.
CREATE TABLE outbox_of_all (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    txn_id TEXT NOT NULL UNIQUE,
    place TEXT NOT NULL,
    device INTEGER REFERENCES devices,
    type TEXT NOT NULL,
    state_key TEXT,
    content TEXT NOT NULL,
    ts INTEGER NOT NULL,
    arrivals_first INTEGER,
    arrivals_last INTEGER,
    sequence_first INTEGER,
    sequence_last INTEGER,
    parked TEXT,
    room_id TEXT,
    sender TEXT NOT NULL
);
INSERT INTO outbox_of_all SELECT id, txn_id, place, device, type, state_key, content, ts, arrivals_first, arrivals_last,
    sequence_first, sequence_last, parked, NULL, 'ghost' FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_of_all RENAME TO outbox;
CREATE INDEX outbox_waiting ON outbox (place, id) WHERE parked IS NULL;
-- Whether people are kept from writing the state of devices in this room.
ALTER TABLE rooms ADD COLUMN secured INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rooms_by_id ON rooms (room_id);
-- Events that the homeserver told of already, whatever the transaction.
CREATE TABLE heard (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX heard_at ON heard (at);
-- What people said and did that the bot has not answered yet. `event` is JSON; `said_at` and `at` are Unix ms.
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    said_at INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL
);
CREATE INDEX inbox_of_room ON inbox (room_id, id);
CREATE INDEX inbox_of_sender ON inbox (sender);
-- Rooms that are no places: whose direct chat it is ('' if nobody's), and what was explained there once.
CREATE TABLE chats (
    room_id TEXT PRIMARY KEY,
    person TEXT NOT NULL,
    explained_encryption INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX chats_of_person ON chats (person);
-- Messages of people that the bot did not understand: an edit of one is taken as said anew.
CREATE TABLE puzzles (event_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
-- What waits for a yes: said under `txn_id`, in the room as `event_id`. `request` is what is done then, as text.
CREATE TABLE questions (
    txn_id TEXT PRIMARY KEY,
    event_id TEXT,
    room_id TEXT NOT NULL,
    person TEXT NOT NULL,
    request TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX questions_of_event ON questions (event_id);
-- Messages with reactions as buttons, or to be taken back: `buttons` is JSON, an array of emoji.
CREATE TABLE buttons (txn_id TEXT PRIMARY KEY, buttons TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
-- Messages that hold a secret for a while (a pairing code) and are taken back afterwards.
CREATE TABLE secrets_told (txn_id TEXT PRIMARY KEY, event_id TEXT, room_id TEXT NOT NULL, until INTEGER NOT NULL)
    WITHOUT ROWID;
-- Rules of alerts. `preset` names one of the profile; `definition` is JSON of the rule. A preset that somebody turned
-- off, or on, has a row too.
CREATE TABLE alert_rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices,
    preset TEXT NOT NULL,
    definition TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    snoozed_until INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX alert_rules_of_device ON alert_rules (device);
CREATE TABLE alert_states (rule INTEGER PRIMARY KEY REFERENCES alert_rules ON DELETE CASCADE, state TEXT NOT NULL);
-- Up to which arrival the readings of a device went through its rules.
CREATE TABLE alert_progress (device INTEGER PRIMARY KEY REFERENCES devices, examined INTEGER NOT NULL);
INSERT INTO alert_progress SELECT device, stored FROM arrivals;
-- Which rule's alert a message in a room is.
CREATE TABLE alert_messages (
    txn_id TEXT PRIMARY KEY,
    event_id TEXT,
    rule INTEGER NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX alert_messages_of_event ON alert_messages (event_id);
-- What was not said because it was quiet.
CREATE TABLE alerts_held (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    place TEXT NOT NULL,
    ts INTEGER NOT NULL,
    text TEXT NOT NULL,
    mentions TEXT NOT NULL
);
-- Quiet hours of a place, minutes of the day, local time.
CREATE TABLE quiet_hours (place TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
-- What the room was told of a device's presence.
CREATE TABLE presence_told (device INTEGER PRIMARY KEY REFERENCES devices, presence TEXT NOT NULL) WITHOUT ROWID;
""",
    )
]
