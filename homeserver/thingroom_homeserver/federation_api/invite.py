"""PUT invite, versions 2 and 1: a user of this server is invited to a room, and the invite is signed here too.

Source: Server-Server API, "Inviting to a room".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.federation.invited import Invitation
from thingroom_homeserver.federation_api.refusals import accepted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, json_response
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

OLDEST_VERSION = "1"


async def invite(request: Request, services: Services) -> dict[str, Any]:
    event, version = request.body_field("event", dict), request.body_field("room_version", str)
    return {"event": await _receive(request, services, version, event, request.body.get("invite_room_state"))}


async def invite_v1(request: Request, services: Services) -> Response:
    """Only for room versions 1 and 2, whose events have the same format."""
    unsigned = request.body.get("unsigned")
    state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    return json_response([200, {"event": await _receive(request, services, OLDEST_VERSION, request.body, state)}])


async def _receive(
    request: Request, services: Services, version: str, event: dict[str, Any], room_state: object
) -> dict[str, Any]:
    user_id = event.get("state_key")
    if not is_valid_user_id(user_id) or not services.rooms.is_local(str(user_id)):
        raise MatrixError(400, "M_INVALID_PARAM", "The state_key is not a user of this server")
    wait = services.rate_limiter.take("invited", str(user_id))
    if wait:
        raise limit_exceeded(wait)
    account = services.accounts.find(str(user_id)) if await services.queries.user_exists(str(user_id)) else None
    if account is None or account["deactivated"]:
        raise MatrixError(403, "M_FORBIDDEN", "This server has no such user")
    path = request.path
    invitation = Invitation(request.origin, path["roomId"], path["eventId"], version, event, room_state)
    return accepted(await services.federation.memberships.invited.receive(invitation))


ENDPOINTS = (
    Endpoint(
        "PUT",
        ("/_matrix/federation/v2/invite/{roomId}/{eventId}",),
        invite,
        auth=Auth.SERVER,
        limit="server_invite",
    ),
    Endpoint(
        "PUT",
        ("/_matrix/federation/v1/invite/{roomId}/{eventId}",),
        invite_v1,
        auth=Auth.SERVER,
        limit="server_invite",
    ),
)
