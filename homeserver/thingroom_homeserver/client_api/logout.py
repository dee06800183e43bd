"""POST /logout and /logout/all: the device goes with its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def logout(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    if requester.device_id is None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service has no session to end")
    await services.accounts.delete_devices(requester.user_id, {requester.device_id})
    return {}


async def logout_all(request: Request, services: Services) -> dict[str, Any]:
    await services.accounts.delete_all_devices(request.requester.user_id)
    return {}


ENDPOINTS = (
    Endpoint("POST", client_path("logout"), logout),
    Endpoint("POST", client_path("logout/all"), logout_all),
)
