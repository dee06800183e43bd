"""What this server shows of a room to another one whose user is invited or knocks: whole events, for it to check.

May import core and storage. Source: Server-Server API, `invite_room_state` and `knock_room_state`. The other half is
federation/room_glimpse.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.present import STRIPPED_TYPES
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import MEMBER, current_entry


def glimpse_of(rooms: Rooms, connection: Reader, room_id: str, inviter: str | None = None) -> list[JsonObject]:
    """The PDUs that tell what the room is, the create event among them, and who `inviter` is."""
    ids = [current_entry(connection, room_id, event_type, "") for event_type in STRIPPED_TYPES]
    if inviter is not None:
        ids.append(current_entry(connection, room_id, MEMBER, inviter))
    named = [event_id for event_id in ids if event_id is not None]
    found = rooms.events.get_many(connection, named)
    return [found[event_id].event.pdu for event_id in named if event_id in found]
