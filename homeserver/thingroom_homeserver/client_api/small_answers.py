"""Endpoints whose whole answer comes from the configuration: TURN servers, media limits.

Source: client-server API, "Voice over IP" and "Content Repository".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.turn import turn_credentials
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MEDIA_CONFIG = (
    "/_matrix/client/v1/media/config",
    "/_matrix/media/v3/config",
    "/_matrix/media/r0/config",
    "/_matrix/media/v1/config",
)


async def get_turn_server(request: Request, services: Services) -> dict[str, Any]:
    return turn_credentials(services.config.turn, request.requester.user_id, services.clock.now_ms())


async def get_media_config(request: Request, services: Services) -> dict[str, Any]:
    return {"m.upload.size": services.config.max_upload_bytes}


ENDPOINTS = (
    Endpoint("GET", client_path("voip/turnServer"), get_turn_server),
    Endpoint("GET", MEDIA_CONFIG, get_media_config),
)
