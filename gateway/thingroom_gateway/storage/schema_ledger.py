"""Tables beside the ledger: what devices say of their outboxes, and what was refused.

May import thingroom_common. storage/received.py and storage/missing.py have the statements; schema.py lists these
migrations.
"""

from __future__ import annotations

from typing import Final

from thingroom_common.database import Migration

MIGRATIONS: Final = [
    Migration(
        "ledger_0001",
        """
-- When (Unix ms) it was first seen that numbers are missing before this interval.
ALTER TABLE received ADD COLUMN noticed INTEGER NOT NULL DEFAULT 0;
-- What a device said last of its outbox, at the uptime `uptime` (ms) of `boot`: as JSON the ranges of numbers that wait
-- there; of numbers above `reach` it said nothing. `at` is Unix ms.
CREATE TABLE held (
    device INTEGER PRIMARY KEY REFERENCES devices,
    at INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    uptime INTEGER NOT NULL,
    reach INTEGER NOT NULL,
    waiting TEXT NOT NULL
);
-- Numbers whose envelopes came and could not be used: the device was told to forget them.
CREATE TABLE refused (
    device INTEGER NOT NULL REFERENCES devices,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (device, first)
) WITHOUT ROWID;
""",
    )
]
