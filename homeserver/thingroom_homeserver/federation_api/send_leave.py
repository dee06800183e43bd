"""PUT send_leave, versions 2 and 1: another server's user rejects an invite, or takes back a knock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.submitted_members import take_submitted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, json_response

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def send_leave(request: Request, services: Services) -> dict[str, Any]:
    await take_submitted(request, services, "leave")
    return {}


async def send_leave_v1(request: Request, services: Services) -> Response:
    return json_response([200, await send_leave(request, services)])


ENDPOINTS = (
    Endpoint(
        "PUT",
        ("/_matrix/federation/v2/send_leave/{roomId}/{eventId}",),
        send_leave,
        auth=Auth.SERVER,
        limit="server_join",
    ),
    Endpoint(
        "PUT",
        ("/_matrix/federation/v1/send_leave/{roomId}/{eventId}",),
        send_leave_v1,
        auth=Auth.SERVER,
        limit="server_join",
    ),
)
