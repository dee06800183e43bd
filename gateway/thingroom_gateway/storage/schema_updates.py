"""Tables of updates of devices' firmware.

May import thingroom_common. storage/updates.py has the statements; schema.py lists these migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "updates_0001",
        """
-- What goes onto boards, by the SHA-256 of its bytes; kept while an update wants it.
CREATE TABLE update_bundles (
    digest BLOB PRIMARY KEY,
    architecture TEXT NOT NULL,
    version TEXT NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL
);
-- One update of one device. `counter` is what the device knows it by; `digest` is NULL until its architecture is known;
-- `folder` holds other sources than ours, or is empty. Of one campaign the first row goes ahead of the others.
CREATE TABLE updates (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL REFERENCES devices,
    counter INTEGER NOT NULL,
    version TEXT NOT NULL,
    folder TEXT NOT NULL,
    digest BLOB,
    size INTEGER NOT NULL,
    number INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    campaign INTEGER NOT NULL,
    before TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    settled_at INTEGER
);
CREATE INDEX updates_open ON updates (device) WHERE settled_at IS NULL;
CREATE INDEX updates_by_device ON updates (device, id);
""",
    )
]
