"""What invites and knocks tell of rooms that this server is not in.

One row while a local user is invited to or knocks at such a room: the member event, which servers know the room, and
the stripped state that clients are shown. May import thingroom_common only. Next: out_of_band.py.
"""

from __future__ import annotations

from thingroom_common.database import Migration

OUT_OF_BAND = Migration(
    "out_of_band_1_memberships",
    """
CREATE TABLE out_of_band_memberships (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    room_version TEXT NOT NULL,
    servers TEXT NOT NULL,
    stripped_state TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) WITHOUT ROWID;
""",
)

UNTOLD_LEAVES = Migration(
    "out_of_band_2_untold_leaves",
    """
CREATE TABLE untold_leaves (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    room_version TEXT NOT NULL,
    servers TEXT NOT NULL,
    content TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL,
    PRIMARY KEY (room_id, user_id)
) WITHOUT ROWID;
CREATE INDEX untold_leaves_next ON untold_leaves (next_try_ms);
""",
)
"""Ends of invites and knocks that no server of the room was told of yet; storage/untold_leaves.py."""

OUT_OF_BAND_MIGRATIONS = (OUT_OF_BAND, UNTOLD_LEAVES)
