"""GET make_knock: the template of a knock by a user of the asking server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.member_templates import answer_template
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def make_knock(request: Request, services: Services) -> dict[str, Any]:
    return await answer_template(request, services, "knock")


ENDPOINTS = (
    Endpoint(
        "GET",
        ("/_matrix/federation/v1/make_knock/{roomId}/{userId}",),
        make_knock,
        auth=Auth.SERVER,
        limit="server_join",
    ),
)
