"""Tables of rooms and events: what happened, in which order, and what the state was then.

`events.state_group` is the state after the event, `events.replaces_state` what it took the place of, so the state
before it is known too. A NULL position is an event that is not part of the stream: an outlier, or rejected.
May import thingroom_common only. Next: events.py, state_groups.py, current_state.py, memberships.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

EVENTS = Migration(
    "events_1_rooms_and_events",
    """
CREATE TABLE stream_position (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    position INTEGER NOT NULL
);
INSERT INTO stream_position VALUES (1, 0);

CREATE TABLE rooms (
    room_id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    creator TEXT NOT NULL,
    is_public INTEGER NOT NULL DEFAULT 0,
    state_group INTEGER
) WITHOUT ROWID;
CREATE INDEX rooms_public ON rooms (room_id) WHERE is_public = 1;

CREATE TABLE events (
    nid INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    sender TEXT NOT NULL,
    depth INTEGER NOT NULL,
    origin_server_ts INTEGER NOT NULL,
    position INTEGER,
    rejected TEXT,
    redacted_by TEXT,
    state_group INTEGER,
    replaces_state TEXT,
    session TEXT,
    transaction_id TEXT,
    json BLOB NOT NULL
);
CREATE UNIQUE INDEX events_position ON events (position) WHERE position IS NOT NULL;
CREATE INDEX events_room_position ON events (room_id, position) WHERE position IS NOT NULL;
CREATE INDEX events_room_time ON events (room_id, origin_server_ts) WHERE position IS NOT NULL;

CREATE TABLE event_edges (
    prev_event_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (prev_event_id, event_id)
) WITHOUT ROWID;

CREATE TABLE event_relations (
    parent_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (parent_id, position)
) WITHOUT ROWID;

CREATE TABLE forward_extremities (
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (room_id, event_id)
) WITHOUT ROWID;

CREATE TABLE state_groups (
    id INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    previous INTEGER,
    distance INTEGER NOT NULL
);
CREATE TABLE state_group_deltas (
    state_group INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (state_group, type, state_key)
) WITHOUT ROWID;

CREATE TABLE current_state (
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (room_id, type, state_key)
) WITHOUT ROWID;

CREATE TABLE state_changes (
    room_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT,
    previous_event_id TEXT,
    PRIMARY KEY (room_id, position, type, state_key)
) WITHOUT ROWID;

CREATE TABLE room_members (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    event_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    since INTEGER NOT NULL,
    is_local INTEGER NOT NULL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (room_id, user_id)
) WITHOUT ROWID;
CREATE INDEX room_members_by_user ON room_members (user_id, membership);
CREATE INDEX room_members_by_membership ON room_members (room_id, membership, since);
CREATE INDEX room_members_local ON room_members (membership) WHERE is_local = 1;

CREATE TABLE membership_changes (
    user_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    previous TEXT,
    PRIMARY KEY (user_id, position)
) WITHOUT ROWID;
CREATE INDEX membership_changes_in_room ON membership_changes (room_id, user_id, position);

CREATE TABLE transaction_ids (
    user_id TEXT NOT NULL,
    session TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (user_id, session, transaction_id, scope)
) WITHOUT ROWID;
""",
)

EVENT_MIGRATIONS = (EVENTS,)
