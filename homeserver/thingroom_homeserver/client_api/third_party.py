"""GET /thirdparty/*: the networks behind application services. None of them can be searched from here.

Source: client-server API, "Third-party Networks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path, json_response
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_protocols(request: Request, services: Services) -> dict[str, Any]:
    return {}


async def get_unknown_protocol(request: Request, services: Services) -> dict[str, Any]:
    raise MatrixError(404, "M_NOT_FOUND", "There is no such protocol")


async def get_nothing(request: Request, services: Services) -> Response:
    return json_response([])


ENDPOINTS = (
    Endpoint("GET", client_path("thirdparty/protocols"), get_protocols),
    Endpoint("GET", client_path("thirdparty/protocol/{protocol}"), get_unknown_protocol),
    Endpoint("GET", (*client_path("thirdparty/location"), *client_path("thirdparty/user")), get_nothing),
)
