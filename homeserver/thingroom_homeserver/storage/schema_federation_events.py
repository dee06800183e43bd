"""Tables for events of other servers: gaps in the history, redactions that came early, what became of an event.

A row of `gaps` is a run of positions that no event has yet (docs/decisions/0023-positions-and-gaps.md). In
`state_group_deltas` an empty event id takes an entry away. May import thingroom_common only. Next: gaps.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

FEDERATION_EVENTS = Migration(
    "federation_events_1_receipt",
    """
ALTER TABLE events ADD COLUMN soft_failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN send_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN backfilled INTEGER NOT NULL DEFAULT 0;

CREATE TABLE gaps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id TEXT NOT NULL,
    floor INTEGER NOT NULL,
    next INTEGER NOT NULL
);
CREATE INDEX gaps_of_room ON gaps (room_id, next);

CREATE TABLE gap_missing (
    event_id TEXT NOT NULL,
    gap INTEGER NOT NULL,
    PRIMARY KEY (event_id, gap)
) WITHOUT ROWID;
CREATE INDEX gap_missing_of_gap ON gap_missing (gap);

CREATE TABLE early_redactions (
    target_id TEXT NOT NULL,
    redaction_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    PRIMARY KEY (target_id, redaction_id)
) WITHOUT ROWID;
""",
)

FEDERATION_EVENT_MIGRATIONS = (FEDERATION_EVENTS,)
