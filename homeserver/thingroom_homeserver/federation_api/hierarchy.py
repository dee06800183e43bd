"""GET /_matrix/federation/v1/hierarchy/{roomId}: a space and the rooms right under it, as the asking server may know.

Source: Server-Server API, "Spaces". The other direction is federation/remote_spaces.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_room_id
from thingroom_homeserver.federation_api.refusals import accepted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.server_hierarchy import hierarchy_for_server

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def hierarchy(request: Request, services: Services) -> dict[str, Any]:
    room_id, suggested_only = request.path["roomId"], request.query_bool("suggested_only")
    if not is_valid_room_id(room_id):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room id")
    return accepted(await hierarchy_for_server(services.rooms, request.origin, room_id, suggested_only))


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/federation/v1/hierarchy/{roomId}",), hierarchy, auth=Auth.SERVER, limit="server_query"),
)
