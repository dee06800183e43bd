"""POST /rooms/{roomId}/upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, sender_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.upgrade_room import upgrade_room

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_CREATORS = 100


async def upgrade(request: Request, services: Services) -> dict[str, Any]:
    version = request.body_field("new_version", str)
    named = request.body_field("additional_creators", list, [])
    if len(named) > MAX_CREATORS or not all(isinstance(user_id, str) for user_id in named):
        raise MatrixError(400, "M_BAD_JSON", f"additional_creators must be a list of at most {MAX_CREATORS} user ids")
    sender, room_id = sender_of(request.requester), request.path["roomId"]
    made = accepted(await upgrade_room(services.rooms, sender, room_id, version, tuple(named)))
    return {"replacement_room": made.room_id}


ENDPOINTS = (Endpoint("POST", client_path("rooms/{roomId}/upgrade"), upgrade, limit="create_room"),)
