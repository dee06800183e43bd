"""GET /_matrix/federation/v1/query/directory: which room an alias of this server points to, and who is in that room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_room_alias, server_name_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.room_servers import servers_in_room

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_SERVERS = 100


async def query_directory(request: Request, services: Services) -> dict[str, Any]:
    alias, own_name = request.query.get("room_alias"), services.rooms.server_name
    if alias is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: room_alias")
    if not is_valid_room_alias(alias):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room alias")
    room_id = await services.queries.resolve_alias(alias) if server_name_of(alias) == own_name else None
    if not isinstance(room_id, str):
        raise MatrixError(404, "M_NOT_FOUND", "There is no such alias here")
    known = room_id
    servers = services.database.read(lambda connection: servers_in_room(connection, known))
    ordered = sorted(servers, key=lambda name: name != own_name)[:MAX_SERVERS]
    return {"room_id": room_id, "servers": ordered}


ENDPOINTS = (
    Endpoint(
        "GET", ("/_matrix/federation/v1/query/directory",), query_directory, auth=Auth.SERVER, limit="server_query"
    ),
)
