"""Whether this server takes part in a room, and which others may: what decides who makes an event, and who is answered.

A room stays known after the last local user has left it, with the state it had then; nothing new is heard of it.
May import core and storage. Source: Server-Server API, "Server Access Control Lists". Next: membership.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.server_acl import server_allowed
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.memberships import has_joined_member


def is_resident(connection: Reader, room_id: str) -> bool:
    """Whether a user of this server is joined to the room, so that its state here is what the others have."""
    return has_joined_member(connection, room_id, local=True)


def knows_best(connection: Reader, room_id: str) -> bool:
    """Whether nobody else knows the room better: a local user is in it, or nobody at all is any more."""
    return is_resident(connection, room_id) or not has_joined_member(connection, room_id, local=False)


def server_may_take_part(rooms: Rooms, connection: Reader, room_id: str, server_name: str) -> bool:
    """Whether the room's current m.room.server_acl, if it has one, lets the server in. True for unknown rooms."""
    event_id = current_entry(connection, room_id, "m.room.server_acl", "")
    stored = None if event_id is None else rooms.events.get(connection, event_id)
    return server_allowed(None if stored is None else stored.event.content, server_name)
