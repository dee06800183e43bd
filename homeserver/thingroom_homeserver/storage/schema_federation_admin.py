"""When each other server last took something: what its administrator wants to know of a destination.

May import thingroom_common only. After schema_federation_sending.py, whose table it widens.
"""

from __future__ import annotations

from thingroom_common.database import Migration

FEDERATION_ADMIN_MIGRATIONS = (
    Migration("federation_admin_1", "ALTER TABLE destinations ADD COLUMN delivered_ts INTEGER;"),
)
