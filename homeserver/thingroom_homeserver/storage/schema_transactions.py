"""When a transaction id was used, so that old ones can be forgotten.

May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

AGE = Migration(
    "transactions_1_age",
    """
ALTER TABLE transaction_ids ADD COLUMN used_ts INTEGER NOT NULL DEFAULT 0;
UPDATE transaction_ids SET used_ts = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
CREATE INDEX transaction_ids_by_age ON transaction_ids (used_ts);
""",
)

TRANSACTION_MIGRATIONS = (AGE,)
"""Ids from before count as used when the column came."""
