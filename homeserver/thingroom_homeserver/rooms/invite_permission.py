"""Whose invites reach a local user: nobody's if they block invites, and not those of people they ignore.

May import core and storage. Sources: Client-Server API, "Invite permission", "Ignoring Users".
"""

from __future__ import annotations

import orjson

from thingroom_homeserver.rooms.relations import ignored_users
from thingroom_homeserver.storage.account_data import read_data
from thingroom_homeserver.storage.connection import Reader

INVITE_PERMISSION = "m.invite_permission_config"
NO_ROOM = ""


def blocks_invites(connection: Reader, user_id: str) -> bool:
    """Whether the user's account data says to refuse every invite. False for users of other servers."""
    text = read_data(connection, user_id, NO_ROOM, INVITE_PERMISSION)
    content = None if text is None else orjson.loads(text)
    return isinstance(content, dict) and content.get("default_action") == "block"


def hides_invite(connection: Reader, user_id: str, inviter: str) -> bool:
    """Whether the user is not to see an invite by `inviter` that is there."""
    return blocks_invites(connection, user_id) or inviter in ignored_users(connection, user_id)
