"""/user/{userId}/filter: storing filters for /sync, and reading them back.

Source: client-server API, "Filtering".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted, own_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def post_filter(request: Request, services: Services) -> dict[str, Any]:
    return {"filter_id": granted(await services.filters.add(own_user_id(request), request.body))}


async def get_filter(request: Request, services: Services) -> dict[str, Any]:
    definition = services.filters.read(own_user_id(request), request.path["filterId"])
    if definition is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such filter")
    return definition


ENDPOINTS = (
    Endpoint("POST", client_path("user/{userId}/filter"), post_filter),
    Endpoint("GET", client_path("user/{userId}/filter/{filterId}"), get_filter),
)
