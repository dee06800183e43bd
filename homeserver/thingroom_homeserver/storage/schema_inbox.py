"""Tables of what other servers sent: events that wait for their ancestors, and which transactions were answered.

A waiting event is past the checks of its signatures; `staged_edges` names what it waits for, so that the arrival of
that wakes it by one look-up. May import thingroom_common only. Next: staged_events.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

INBOX = Migration(
    "inbox_1_staged_events_and_transactions",
    """
CREATE TABLE staged_events (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_ms INTEGER NOT NULL,
    json BLOB NOT NULL
);
CREATE INDEX staged_events_waiting ON staged_events (room_id, origin, next_try_ms);

CREATE TABLE staged_edges (
    prev_event_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (prev_event_id, event_id)
) WITHOUT ROWID;
CREATE INDEX staged_edges_by_event ON staged_edges (event_id);

CREATE TABLE received_transactions (
    origin TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (origin, transaction_id)
) WITHOUT ROWID;
CREATE INDEX received_transactions_order ON received_transactions (origin, number);
""",
)

INBOX_MIGRATIONS = (INBOX,)
