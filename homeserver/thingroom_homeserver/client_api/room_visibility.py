"""/directory/list/room/{roomId}: whether a room is in the public list, and putting it there.

Who may change the room's canonical alias may publish it, and so may a server admin.
Source: client-server API, "Published room directory".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import may_set_state, room_id_of
from thingroom_homeserver.client_api.directory import CANONICAL_ALIAS
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.rooms import room_row, set_room_public

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_visibility(request: Request, services: Services) -> dict[str, Any]:
    return {"visibility": "public" if _is_public(room_id_of(request), services) else "private"}


async def put_visibility(request: Request, services: Services) -> dict[str, Any]:
    room_id, requester = room_id_of(request), request.requester
    visibility = request.body_field("visibility", str, "public")
    if visibility not in ("public", "private"):
        raise MatrixError(400, "M_INVALID_PARAM", "visibility must be public or private")
    _is_public(room_id, services)
    if not requester.is_admin and not may_set_state(services, room_id, requester.user_id, CANONICAL_ALIAS):
        raise MatrixError(403, "M_FORBIDDEN", "You may not publish this room")
    await services.database.write(lambda transaction: set_room_public(transaction, room_id, visibility == "public"))
    return {}


def _is_public(room_id: str, services: Services) -> bool:
    row = services.database.read(lambda connection: room_row(connection, room_id))
    if row is None or row.state_group is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such room")
    return row.is_public


PATHS = client_path("directory/list/room/{roomId}")
ENDPOINTS = (
    Endpoint("GET", PATHS, get_visibility, auth=Auth.NONE),
    Endpoint("PUT", PATHS, put_visibility),
)
