"""POST /refresh: new tokens for old.

Source: client-server API, "Refreshing access tokens".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def refresh(request: Request, services: Services) -> dict[str, Any]:
    session = granted(await services.refreshing.refresh(request.body_field("refresh_token", str)))
    answer: dict[str, Any] = {"access_token": session.access_token, "refresh_token": session.refresh_token}
    if session.expires_in_ms is not None:
        answer["expires_in_ms"] = session.expires_in_ms
    return answer


_SPOKEN = ("v3", "v1", "unstable/org.matrix.msc2918")

ENDPOINTS = (Endpoint("POST", client_path("refresh", versions=_SPOKEN), refresh, auth=Auth.NONE, limit="refresh"),)
