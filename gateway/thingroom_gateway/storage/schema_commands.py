"""Tables of commands to devices.

May import thingroom_common. storage/commands.py has the statements; schema.py lists these migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "commands_0001",
        """
-- What devices are to do, in the order of asking. `counter` is what the device knows a command by (0: a plain device);
-- `outcome` is NULL while it waits; `sequence` is that of the envelope that reported the result.
CREATE TABLE commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices,
    counter INTEGER NOT NULL,
    actuator TEXT NOT NULL,
    value TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    outcome TEXT,
    reason TEXT NOT NULL DEFAULT '',
    settled_at INTEGER,
    sequence INTEGER
);
CREATE INDEX commands_waiting ON commands (id) WHERE outcome IS NULL;
CREATE INDEX commands_by_device ON commands (device, counter);
CREATE INDEX commands_by_event ON commands (event_id) WHERE event_id <> '';
-- The greatest counter given out, and the newest configuration (JSON).
CREATE TABLE commanded (
    device INTEGER PRIMARY KEY REFERENCES devices,
    counter INTEGER NOT NULL,
    configuration TEXT NOT NULL
);
""",
    )
]
