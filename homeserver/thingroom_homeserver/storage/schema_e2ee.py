"""Tables of end-to-end encryption: whose keys changed, cross-signing, messages to devices, backups of room keys.

`device_list_changes` keeps the last change of each user only: who asks what is newer than a position needs no more.
A message's `number` counts the messages of its device, so the length of a queue is known without counting.
May import thingroom_common only. Next: device_lists.py, cross_signing.py, to_device.py, key_backup.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

ENCRYPTION = Migration(
    "e2ee_1_devices_signatures_backups",
    """
CREATE TABLE device_list_changes (
    user_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX device_list_changes_position ON device_list_changes (position);

CREATE TABLE own_signature_changes (
    signer TEXT NOT NULL,
    user_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (signer, user_id)
) WITHOUT ROWID;
CREATE INDEX own_signature_changes_position ON own_signature_changes (signer, position);

CREATE INDEX membership_changes_of_room ON membership_changes (room_id, position);

CREATE TABLE cross_signing_keys (
    user_id TEXT NOT NULL,
    usage TEXT NOT NULL,
    public_key TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (user_id, usage)
) WITHOUT ROWID;
CREATE INDEX cross_signing_public_keys ON cross_signing_keys (user_id, public_key);

CREATE TABLE key_signatures (
    user_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    signer TEXT NOT NULL,
    signer_key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (user_id, key_name, signer, signer_key_id)
) WITHOUT ROWID;
CREATE INDEX key_signatures_by_signer ON key_signatures (signer, signer_key_id);

CREATE TABLE to_device_messages (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sender TEXT NOT NULL,
    type TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
) WITHOUT ROWID;

CREATE TABLE to_device_transactions (
    user_id TEXT NOT NULL,
    session TEXT NOT NULL,
    type TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    sent_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, session, type, transaction_id)
) WITHOUT ROWID;
CREATE INDEX to_device_transactions_by_time ON to_device_transactions (user_id, session, sent_ts);

CREATE TABLE key_backups (
    user_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data TEXT NOT NULL,
    etag INTEGER NOT NULL DEFAULT 0,
    key_count INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, version)
) WITHOUT ROWID;

CREATE TABLE backed_up_keys (
    user_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    is_verified INTEGER NOT NULL,
    first_message_index INTEGER NOT NULL,
    forwarded_count INTEGER NOT NULL,
    session_data TEXT NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
) WITHOUT ROWID;
""",
)

ENCRYPTION_MIGRATIONS = (ENCRYPTION,)
