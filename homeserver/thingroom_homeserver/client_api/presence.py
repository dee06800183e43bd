"""/presence/{userId}/status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.presence import STATES
from thingroom_homeserver.client_api.checks import own_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_presence(request: Request, services: Services) -> dict[str, Any]:
    user_id = request.path["userId"]
    if services.accounts.is_local(user_id) and not services.accounts.exists(user_id):
        raise MatrixError(404, "M_NOT_FOUND", "There is no such user")
    if not services.presence.shares_room(request.requester.user_id, user_id):
        raise MatrixError(403, "M_FORBIDDEN", "You share no room with this user")
    return services.presence.of(user_id)


async def put_presence(request: Request, services: Services) -> dict[str, Any]:
    user_id, state = own_user_id(request), request.body_field("presence", str)
    if state not in STATES:
        raise MatrixError(400, "M_INVALID_PARAM", f"presence must be one of {', '.join(sorted(STATES))}")
    await services.presence.set(user_id, state, request.body_field("status_msg", str, None))
    return {}


PATHS = client_path("presence/{userId}/status")
ENDPOINTS = (
    Endpoint("GET", PATHS, get_presence),
    Endpoint("PUT", PATHS, put_presence),
)
