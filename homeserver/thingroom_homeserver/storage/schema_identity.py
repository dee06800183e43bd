"""Tables of what identity servers were told: which addresses they say are whose, so that it can be taken back.

May import thingroom_common only.
"""

from __future__ import annotations

from thingroom_common.database import Migration

BOUND = Migration(
    "identity_1_bound_addresses",
    """
CREATE TABLE bound_addresses (
    user_id TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    id_server TEXT NOT NULL,
    PRIMARY KEY (user_id, medium, address, id_server)
) WITHOUT ROWID;
""",
)

IDENTITY_MIGRATIONS = (BOUND,)
