"""Tables of what goes to other servers and what is known of their users' devices.

`room_servers` counts the joined users of each server in each room; `room_server_spans` says from where to where in the
stream a room's events are for a server (after `since`, up to and with `until`). Together with the column
`events.send_out` they are the queues: there is no row per event and destination.
May import thingroom_common only. Next: room_servers.py, destinations.py, device_list_outbox.py, remote_devices.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

SENDING = Migration(
    "federation_sending_1_destinations_and_devices",
    """
CREATE TABLE room_servers (
    room_id TEXT NOT NULL,
    server_name TEXT NOT NULL,
    users INTEGER NOT NULL,
    PRIMARY KEY (room_id, server_name)
) WITHOUT ROWID;
CREATE INDEX room_servers_by_server ON room_servers (server_name);

CREATE TABLE room_server_spans (
    server_name TEXT NOT NULL,
    room_id TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (server_name, room_id, since)
) WITHOUT ROWID;
CREATE INDEX room_server_spans_of_room ON room_server_spans (room_id, until);
CREATE INDEX room_server_spans_by_start ON room_server_spans (since);

CREATE TABLE destinations (
    server_name TEXT PRIMARY KEY,
    events_upto INTEGER NOT NULL,
    receipts_upto INTEGER NOT NULL,
    presence_upto INTEGER NOT NULL,
    pending BLOB,
    failing_since_ts INTEGER,
    retry_interval_ms INTEGER,
    retry_at_ts INTEGER
) WITHOUT ROWID;
CREATE INDEX destinations_pending ON destinations (server_name) WHERE pending IS NOT NULL;
CREATE INDEX destinations_failing ON destinations (server_name) WHERE failing_since_ts IS NOT NULL;

CREATE INDEX events_to_send ON events (position) WHERE send_out = 1;
CREATE INDEX events_to_send_in_room ON events (room_id, position) WHERE send_out = 1;
CREATE INDEX receipts_in_order ON receipts (position);
CREATE INDEX room_members_here ON room_members (room_id) WHERE is_local = 1 AND membership = 'join';

CREATE TABLE to_device_outbox (
    number INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    content TEXT NOT NULL,
    queued_ts INTEGER NOT NULL
);
CREATE INDEX to_device_outbox_by_time ON to_device_outbox (queued_ts);
CREATE INDEX to_device_outbox_of_destination ON to_device_outbox (destination, number);

CREATE TABLE device_list_streams (
    user_id TEXT PRIMARY KEY,
    stream_id INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device_list_outbox (
    destination TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    stream_id INTEGER NOT NULL,
    PRIMARY KEY (destination, user_id, device_id)
) WITHOUT ROWID;
CREATE INDEX device_list_outbox_in_order ON device_list_outbox (destination, stream_id);

CREATE TABLE device_list_told (
    destination TEXT NOT NULL,
    user_id TEXT NOT NULL,
    stream_id INTEGER,
    PRIMARY KEY (destination, user_id)
) WITHOUT ROWID;

CREATE TABLE remote_device_lists (
    user_id TEXT PRIMARY KEY,
    stream_id INTEGER,
    is_stale INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE remote_devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    keys TEXT NOT NULL,
    display_name TEXT,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

INSERT INTO room_servers
SELECT room_id, substr(user_id, instr(user_id, ':') + 1), COUNT(*) FROM room_members
WHERE membership = 'join' GROUP BY 1, 2;

INSERT INTO room_server_spans
SELECT DISTINCT substr(user_id, instr(user_id, ':') + 1), room_id, (SELECT position FROM stream_position),
    4611686018427387904
FROM room_members WHERE membership = 'join' AND is_local = 0;

INSERT INTO destinations (server_name, events_upto, receipts_upto, presence_upto)
SELECT DISTINCT server_name, position, position, position FROM room_server_spans, stream_position;
""",
)

FEDERATION_SENDING_MIGRATIONS = (SENDING,)
