"""GET /mutual_rooms: the rooms that the requester shares with another user, in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.memberships import rooms_of_user

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def mutual_rooms(request: Request, services: Services) -> dict[str, Any]:
    user_id, own = request.query.get("user_id"), request.requester.user_id
    if user_id is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: user_id")
    if not is_valid_user_id(user_id) or user_id == own:
        raise MatrixError(400, "M_INVALID_PARAM", "user_id must be another user's")
    if "from" in request.query:
        raise MatrixError(400, "M_INVALID_PARAM", "from is not a token of this server")
    members = services.database.read(lambda connection: rooms_of_user(connection, user_id, ("join",)))
    joined = sorted({member.room_id for member in members} & services.rooms.occupancy.joined_rooms(own))
    return {"joined": joined, "count": len(joined)}


PATHS = (
    *client_path("mutual_rooms", versions=("v1",)),
    *client_path("user/mutual_rooms", versions=("unstable/uk.half-shot.msc2666",)),
)
ENDPOINTS = (Endpoint("GET", PATHS, mutual_rooms),)
