"""GET and POST /_matrix/federation/v1/publicRooms: the rooms that this server publishes.

Source: Server-Server API, "Published Room Directory". The other direction is federation/remote_directory.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.refusals import accepted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.directory_page import MAX_LIMIT, directory_page, search_of
from thingroom_homeserver.rooms.room_summary import DirectorySearch

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def list_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit = request.query_int("limit", 0, highest=MAX_LIMIT) or MAX_LIMIT  # 0: no limit of theirs
    return accepted(await directory_page(services.rooms, DirectorySearch(), limit, request.query.get("since")))


async def search_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit = request.body_field("limit", int, 0)
    if limit < 0:
        raise MatrixError(400, "M_INVALID_PARAM", "limit must not be negative")
    search = accepted(search_of(request.body_field("filter", dict, {})))
    since = request.body_field("since", str, None)
    return accepted(await directory_page(services.rooms, search, limit or MAX_LIMIT, since))


PATHS = ("/_matrix/federation/v1/publicRooms",)
ENDPOINTS = (
    Endpoint("GET", PATHS, list_rooms, auth=Auth.SERVER, limit="server_query"),
    Endpoint("POST", PATHS, search_rooms, auth=Auth.SERVER, limit="server_query"),
)
