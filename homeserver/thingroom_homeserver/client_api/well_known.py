"""GET /.well-known/matrix/client: where clients reach the server. 404 unless public_base_url is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_client_well_known(request: Request, services: Services) -> dict[str, Any]:
    if not services.config.public_base_url:
        raise MatrixError(404, "M_NOT_FOUND", "No public address is configured")
    return {"m.homeserver": {"base_url": services.config.public_base_url}}


ENDPOINTS = (Endpoint("GET", ("/.well-known/matrix/client",), get_client_well_known, auth=Auth.NONE),)
