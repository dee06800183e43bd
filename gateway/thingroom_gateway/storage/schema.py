"""The gateway's tables. Forward-only: add a Migration, never change one that was released.

May import thingroom_common. The modules beside this one hold the statements, one per concern.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration
from thingroom_gateway.storage import (
    schema_bot,
    schema_commands,
    schema_dashboard,
    schema_ledger,
    schema_live,
    schema_operation,
    schema_plain,
    schema_series,
    schema_updates,
)

MIGRATIONS: Final = [
    Migration(
        "0001_gateway",
        """
-- Devices that may speak. `stored` and `taken` count envelopes: arrivals 1..stored are in `envelopes` (until pruned),
-- 1..taken are in outbox rows or beyond.
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    kid BLOB NOT NULL UNIQUE,
    device_key BLOB NOT NULL,
    agreement_key BLOB NOT NULL,
    downlink_key BLOB NOT NULL,
    name TEXT NOT NULL,
    place TEXT NOT NULL,
    profile TEXT NOT NULL,
    status TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL
);
CREATE TABLE arrivals (
    device INTEGER PRIMARY KEY REFERENCES devices,
    stored INTEGER NOT NULL,
    taken INTEGER NOT NULL
);
CREATE INDEX arrivals_untaken ON arrivals (device) WHERE stored > taken;
-- The ledger: disjoint, never adjoining intervals of received sequences (ledger.py).
CREATE TABLE received (
    device INTEGER NOT NULL REFERENCES devices,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    predecessor INTEGER,
    PRIMARY KEY (device, first)
) WITHOUT ROWID;
-- The bytes as they arrived, in order of arrival per device.
CREATE TABLE envelopes (
    device INTEGER NOT NULL REFERENCES devices,
    arrival INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    transport TEXT NOT NULL,
    ts INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    readings TEXT NOT NULL,
    PRIMARY KEY (device, arrival)
) WITHOUT ROWID;
-- When a boot's uptime zero was, in Unix ms, as a synchronised envelope of that boot told.
CREATE TABLE boots (
    device INTEGER NOT NULL REFERENCES devices,
    boot INTEGER NOT NULL,
    started INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
-- Requests to the homeserver that wait, in order per place. `parked` holds why one was refused for good.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    txn_id TEXT NOT NULL UNIQUE,
    place TEXT NOT NULL,
    device INTEGER NOT NULL REFERENCES devices,
    type TEXT NOT NULL,
    state_key TEXT,
    content TEXT NOT NULL,
    ts INTEGER NOT NULL,
    arrivals_first INTEGER,
    arrivals_last INTEGER,
    sequence_first INTEGER,
    sequence_last INTEGER,
    parked TEXT
);
CREATE INDEX outbox_waiting ON outbox (place, id) WHERE parked IS NULL;
-- Which arrivals are in the room, and by which event.
CREATE TABLE in_room (
    device INTEGER NOT NULL REFERENCES devices,
    arrivals_first INTEGER NOT NULL,
    arrivals_last INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (device, arrivals_first)
) WITHOUT ROWID;
CREATE INDEX in_room_at ON in_room (at);
-- What the last notice of a device said (JSON of values) and the reading's time.
CREATE TABLE said (device INTEGER PRIMARY KEY REFERENCES devices, latest TEXT NOT NULL, ts INTEGER NOT NULL);
-- What was made on the homeserver. Place '' is the Space.
CREATE TABLE rooms (place TEXT PRIMARY KEY, room_id TEXT NOT NULL, linked INTEGER NOT NULL);
CREATE TABLE ghosts (device INTEGER PRIMARY KEY REFERENCES devices, display_name TEXT NOT NULL, room_id TEXT NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE transactions (txn_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
""",
    ),
    *schema_plain.MIGRATIONS,
    *schema_series.MIGRATIONS,
    *schema_bot.MIGRATIONS,
    *schema_commands.MIGRATIONS,
    *schema_live.MIGRATIONS,
    *schema_ledger.MIGRATIONS,
    *schema_dashboard.MIGRATIONS,
    *schema_operation.MIGRATIONS,
    *schema_updates.MIGRATIONS,
]
