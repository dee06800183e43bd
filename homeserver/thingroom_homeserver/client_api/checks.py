"""Small checks that several endpoints of accounts share.

May import the HTTP types and the rooms services.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_room_id
from thingroom_homeserver.core.power_levels import PowerLevels
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.rooms import room_version

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request
    from thingroom_homeserver.services import Services

T = TypeVar("T")


def granted(outcome: T | Refused) -> T:
    """The outcome, unless it is a refusal: that raises its MatrixError."""
    if isinstance(outcome, Refused):
        raise error_for(outcome)
    return outcome


def own_user_id(request: Request) -> str:
    """The {userId} of the path, which must be the requester's own. Raises MatrixError M_FORBIDDEN."""
    user_id = request.path["userId"]
    if user_id != request.requester.user_id:
        raise MatrixError(403, "M_FORBIDDEN", "You can only do this for yourself")
    return user_id


def room_id_of(request: Request) -> str:
    """The {roomId} of the path. Raises MatrixError M_INVALID_PARAM."""
    room_id = request.path["roomId"]
    if not is_valid_room_id(room_id):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room id")
    return room_id


def joined_room_of(request: Request, services: Services) -> str:
    """The {roomId} of the path, which the requester must be joined to. Raises MatrixError M_FORBIDDEN."""
    room_id = room_id_of(request)
    if not services.rooms.occupancy.is_joined(room_id, request.requester.user_id):
        raise MatrixError(403, "M_FORBIDDEN", "You are not in this room")
    return room_id


def may_set_state(services: Services, room_id: str, user_id: str, event_type: str) -> bool:
    """Whether the user is in the room with the power to send state of that type."""
    if not services.rooms.occupancy.is_joined(room_id, user_id):
        return False

    def read(connection: sqlite3.Connection) -> bool:
        create = _state_event(services, connection, room_id, "m.room.create")
        version = room_version(connection, room_id)
        if create is None or version is None:
            return False
        levels = PowerLevels.of(
            _state_event(services, connection, room_id, "m.room.power_levels"), create, ROOM_RULES[version]
        )
        return levels.user_level(user_id) >= levels.event_level(event_type, is_state=True)

    return services.database.read(read)


def _state_event(services: Services, connection: sqlite3.Connection, room_id: str, event_type: str) -> Event | None:
    event_id = current_entry(connection, room_id, event_type, "")
    stored = None if event_id is None else services.rooms.events.get(connection, event_id)
    return None if stored is None else stored.event
