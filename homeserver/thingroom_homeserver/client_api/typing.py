"""PUT /rooms/{roomId}/typing/{userId}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.typing import DEFAULT_TIMEOUT_MS
from thingroom_homeserver.client_api.checks import joined_room_of, own_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def put_typing(request: Request, services: Services) -> dict[str, Any]:
    user_id, room_id = own_user_id(request), joined_room_of(request, services)
    timeout_ms = request.body_field("timeout", int, DEFAULT_TIMEOUT_MS)
    if request.body_field("typing", bool) and timeout_ms > 0:
        services.typing.start(room_id, user_id, timeout_ms)
    else:
        services.typing.stop(room_id, user_id)
    return {}


ENDPOINTS = (Endpoint("PUT", client_path("rooms/{roomId}/typing/{userId}"), put_typing),)
