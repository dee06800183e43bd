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

OUT_OF_BAND_MIGRATIONS = (OUT_OF_BAND,)
