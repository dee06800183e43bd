"""Which rooms another server may ask about: those this server is in, where the server ACL lets the other take part.

May import rooms and the HTTP types. Every endpoint that names a room begins here.
Source: Server-Server API, "Server Access Control Lists (ACLs)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingroom_homeserver.core.identifiers import is_valid_room_id
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.residence import is_resident, server_may_take_part

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request
    from thingroom_homeserver.services import Services


def check_server_acl(services: Services, origin: str, room_id: str) -> None:
    """Raises MatrixError 403 M_FORBIDDEN if the room's ACL denies the server. Unknown rooms have none."""
    rooms = services.rooms
    if not services.database.read(lambda c: server_may_take_part(rooms, c, room_id, origin)):
        raise MatrixError(403, "M_FORBIDDEN", "Your server is not allowed to take part in this room")


def room_for_peer(request: Request, services: Services) -> str:
    """The {roomId} of the path: a room that a user of this server is in and the asking server may take part in.

    Raises MatrixError: 400 M_INVALID_PARAM, 404 M_NOT_FOUND, 403 M_FORBIDDEN.
    """
    room_id = request.path["roomId"]
    if not is_valid_room_id(room_id):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room id")
    if not services.database.read(lambda c: is_resident(c, room_id)):
        raise MatrixError(404, "M_NOT_FOUND", "This server is not in that room")
    check_server_acl(services, request.origin, room_id)
    return room_id
