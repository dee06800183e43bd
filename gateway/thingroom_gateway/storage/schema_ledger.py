"""Tables beside the ledger: what devices say of their outboxes, and what was refused.

May import thingroom_common. storage/received.py, missing.py and stamps.py have the statements; schema.py lists these
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
    ),
    Migration(
        "ledger_0002",
        """
-- The latest that a boot's uptime zero can have been, in Unix ms, by what has arrived of it.
CREATE TABLE boot_limits (
    device INTEGER NOT NULL REFERENCES devices,
    boot INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;
-- Of envelopes whose clock was not right: `base` is what their readings' times count from, the truth is between
-- `earliest` (NULL: not known) and `latest`, all Unix ms. `uncounted`: the start of the boot is not known yet.
CREATE TABLE stamps (
    device INTEGER NOT NULL REFERENCES devices,
    sequence INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    uptime INTEGER NOT NULL,
    uncounted INTEGER NOT NULL,
    base INTEGER NOT NULL,
    earliest INTEGER,
    latest INTEGER NOT NULL,
    PRIMARY KEY (device, sequence)
) WITHOUT ROWID;
CREATE INDEX stamps_base ON stamps (base);
CREATE INDEX stamps_uncounted ON stamps (device, boot) WHERE uncounted;
""",
    ),
    Migration(
        "ledger_0003",
        """
-- Whose signature a device believes: the key id of the gateway that it was paired with; empty for ours.
ALTER TABLE devices ADD COLUMN signer BLOB NOT NULL DEFAULT x'';
-- Ed25519 seeds of gateways whose devices were taken over, by key id.
CREATE TABLE signers (kid BLOB PRIMARY KEY, seed BLOB NOT NULL) WITHOUT ROWID;
""",
    ),
]
