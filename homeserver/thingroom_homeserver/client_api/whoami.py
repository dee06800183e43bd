"""GET /account/whoami."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def whoami(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    answer: dict[str, Any] = {"user_id": requester.user_id, "is_guest": requester.is_guest}
    if requester.device_id is not None:
        answer["device_id"] = requester.device_id
    return answer


ENDPOINTS = (Endpoint("GET", client_path("account/whoami"), whoami),)
