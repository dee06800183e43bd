"""Which invites a local user is told of: none if they block invites, and not those of people they ignore.

May import core and storage. Sources: Client-Server API, "Invite permission", "Ignoring Users".
"""

from __future__ import annotations

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.storage.account_data import blocks_invites
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import MembershipChange


def hides_change(rooms: Rooms, connection: Reader, change: MembershipChange) -> bool:
    """Whether the user is not to see that they were invited: they block invites, or ignore who invites."""
    if blocks_invites(connection, change.user_id):
        return True
    ignored = ignored_users(connection, change.user_id)
    stored = rooms.events.get(connection, change.event_id) if ignored else None
    return stored is not None and stored.event.sender in ignored
