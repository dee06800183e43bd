"""Tables of what surrounds signing in: refresh tokens, addresses, registration tokens, an account's standing.

Tokens are stored as SHA-256 digests; registration tokens also as text, because administrators list them.
May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

SESSIONS = Migration(
    "sessions_1_standing_tokens_addresses",
    """
ALTER TABLE accounts ADD COLUMN is_guest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

ALTER TABLE access_tokens ADD COLUMN expires_ts INTEGER;
ALTER TABLE access_tokens ADD COLUMN replaces BLOB;

CREATE TABLE refresh_tokens (
    digest BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    created_ts INTEGER NOT NULL,
    expires_ts INTEGER,
    successor BLOB,
    successor_access BLOB,
    revoked INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_of_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_successor ON refresh_tokens (successor);
CREATE INDEX access_tokens_replaces ON access_tokens (replaces);

CREATE TABLE short_tokens (
    digest BLOB PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id TEXT NOT NULL,
    expires_ts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX short_tokens_expiry ON short_tokens (expires_ts);

CREATE TABLE registration_tokens (
    digest BLOB PRIMARY KEY,
    token TEXT NOT NULL,
    uses_allowed INTEGER,
    used INTEGER NOT NULL DEFAULT 0,
    expires_ts INTEGER,
    created_ts INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE third_party_ids (
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    user_id TEXT NOT NULL,
    validated_ts INTEGER NOT NULL,
    added_ts INTEGER NOT NULL,
    PRIMARY KEY (medium, address)
) WITHOUT ROWID;
CREATE INDEX third_party_ids_of_user ON third_party_ids (user_id);

CREATE TABLE email_validations (
    sid TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    address TEXT NOT NULL,
    client_secret TEXT NOT NULL,
    send_attempt INTEGER NOT NULL,
    token_digest BLOB,
    next_link TEXT,
    expires_ts INTEGER NOT NULL,
    validated_ts INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX email_validations_of_secret ON email_validations (purpose, address, client_secret);
CREATE INDEX email_validations_expiry ON email_validations (expires_ts);

CREATE TABLE external_ids (
    provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (provider, external_id)
) WITHOUT ROWID;
CREATE INDEX external_ids_of_user ON external_ids (user_id);

CREATE TABLE outside_changes (
    number INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    what TEXT NOT NULL
);
""",
)

SESSION_MIGRATIONS = (SESSIONS,)
