"""Tables of what is known of events beyond themselves: relations in full, threads, the search index, reports.

`event_search` is keyed by stream position; what SQLite cannot read as text is not in it. May import thingroom_common
only. Next: relations.py, search_index.py, reports.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

RELATIONS = Migration(
    "relations_1_threads_search_reports",
    """
ALTER TABLE event_relations ADD COLUMN room_id TEXT NOT NULL DEFAULT '';
ALTER TABLE event_relations ADD COLUMN sender TEXT NOT NULL DEFAULT '';
UPDATE event_relations SET
    room_id = (SELECT room_id FROM events WHERE events.event_id = event_relations.event_id),
    sender = (SELECT sender FROM events WHERE events.event_id = event_relations.event_id);
CREATE INDEX event_relations_by_type ON event_relations (parent_id, room_id, rel_type, position, sender, event_id);

CREATE TABLE threads (
    room_id TEXT NOT NULL,
    root_id TEXT NOT NULL,
    latest INTEGER NOT NULL,
    PRIMARY KEY (room_id, root_id)
) WITHOUT ROWID;
CREATE INDEX threads_latest ON threads (room_id, latest, root_id);
INSERT INTO threads SELECT room_id, parent_id, MAX(position) FROM event_relations
    WHERE rel_type = 'm.thread' GROUP BY room_id, parent_id;

CREATE VIRTUAL TABLE event_search USING fts5(body, name, topic, tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO event_search (rowid, body, name, topic)
    SELECT position,
        CASE WHEN type = 'm.room.message' THEN json_extract(text, '$.content.body') END,
        CASE WHEN type = 'm.room.name' THEN json_extract(text, '$.content.name') END,
        CASE WHEN type = 'm.room.topic' THEN json_extract(text, '$.content.topic') END
    FROM (SELECT position, type, CAST(json AS TEXT) AS text FROM events
        WHERE position IS NOT NULL AND redacted_by IS NULL
        AND type IN ('m.room.message', 'm.room.name', 'm.room.topic'))
    WHERE json_type(text, '$.content.' || CASE type
        WHEN 'm.room.message' THEN 'body' WHEN 'm.room.name' THEN 'name' ELSE 'topic' END) = 'text';

CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    reporter TEXT NOT NULL,
    room_id TEXT,
    event_id TEXT,
    user_id TEXT,
    reason TEXT NOT NULL,
    ts INTEGER NOT NULL
);
CREATE INDEX reports_of_reporter ON reports (reporter, id);
""",
)

RELATION_MIGRATIONS = (RELATIONS,)
