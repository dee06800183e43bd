"""GET make_leave: the template of a leave, by which an invite is rejected or a knock taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.member_templates import answer_template
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def make_leave(request: Request, services: Services) -> dict[str, Any]:
    return await answer_template(request, services, "leave")


ENDPOINTS = (
    Endpoint(
        "GET",
        ("/_matrix/federation/v1/make_leave/{roomId}/{userId}",),
        make_leave,
        auth=Auth.SERVER,
        limit="server_join",
    ),
)
