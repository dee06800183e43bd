"""Tables of other servers' signing keys, and of the signed documents that they stand in.

`valid_until_ts` of a key that is old is when it was used last; of a current one how far it is believed, which is never
more than seven days from when it was heard. May import thingroom_common only. Next: server_keys.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

SERVER_KEYS = Migration(
    "federation_keys_1",
    """
CREATE TABLE server_key_documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    server_name TEXT NOT NULL,
    fetched_ts INTEGER NOT NULL,
    valid_until_ts INTEGER NOT NULL,
    document BLOB NOT NULL
);
CREATE INDEX server_key_documents_of_server ON server_key_documents (server_name);

CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key BLOB NOT NULL,
    valid_until_ts INTEGER NOT NULL,
    is_old INTEGER NOT NULL,
    document_id INTEGER NOT NULL,
    PRIMARY KEY (server_name, key_id)
) WITHOUT ROWID;
""",
)

FEDERATION_KEY_MIGRATIONS = (SERVER_KEYS,)
