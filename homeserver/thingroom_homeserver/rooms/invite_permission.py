"""Whose invites reach a local user: nobody's if they block invites, and not those of people they ignore.

May import core and storage. Sources: Client-Server API, "Invite permission", "Ignoring Users".
"""

from __future__ import annotations

import orjson

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.relations import ignored_users
from thingroom_homeserver.storage.account_data import read_data
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import MembershipChange

INVITE_PERMISSION = "m.invite_permission_config"
NO_ROOM = ""


def blocks_invites(connection: Reader, user_id: str) -> bool:
    """Whether the user's account data says to refuse every invite. False for users of other servers."""
    text = read_data(connection, user_id, NO_ROOM, INVITE_PERMISSION)
    content = None if text is None else orjson.loads(text)
    return isinstance(content, dict) and content.get("default_action") == "block"


def hides_change(rooms: Rooms, connection: Reader, change: MembershipChange) -> bool:
    """Whether the user is not to see that they were invited: they block invites, or ignore who invites."""
    if blocks_invites(connection, change.user_id):
        return True
    ignored = ignored_users(connection, change.user_id)
    stored = rooms.events.get(connection, change.event_id) if ignored else None
    return stored is not None and stored.event.sender in ignored
