"""/user/{userId}/account_data/{type} and the same for one room.

Source: client-server API, "Client Config".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.account_data import NO_ROOM, SERVER_MANAGED
from thingroom_homeserver.client_api.checks import own_user_id, room_id_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_ENTRIES = 20_000
MAX_TYPE_LENGTH = 255


async def get_account_data(request: Request, services: Services) -> dict[str, Any]:
    content = services.account_data.read(own_user_id(request), request.path["type"], _room_of(request))
    if content is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no account data of this type")
    return content


async def put_account_data(request: Request, services: Services) -> dict[str, Any]:
    user_id, kind, room_id = own_user_id(request), request.path["type"], _room_of(request)
    if kind in SERVER_MANAGED:
        raise MatrixError(405, "M_BAD_JSON", f"{kind} is set by the server")
    if not 0 < len(kind) <= MAX_TYPE_LENGTH:
        raise MatrixError(400, "M_INVALID_PARAM", f"A type has 1 to {MAX_TYPE_LENGTH} characters")
    if not await services.account_data.set_limited(user_id, kind, request.body, room_id, MAX_ENTRIES):
        raise MatrixError(413, "M_TOO_LARGE", f"An account keeps at most {MAX_ENTRIES} pieces of data")
    return {}


def _room_of(request: Request) -> str:
    return room_id_of(request) if "roomId" in request.path else NO_ROOM


PATHS = (
    *client_path("user/{userId}/account_data/{type}"),
    *client_path("user/{userId}/rooms/{roomId}/account_data/{type}"),
)
ENDPOINTS = (
    Endpoint("GET", PATHS, get_account_data),
    Endpoint("PUT", PATHS, put_account_data),
)
