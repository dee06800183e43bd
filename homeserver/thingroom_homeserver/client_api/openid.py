"""POST /user/{userId}/openid/request_token: proof of who somebody is, for a third party.

The third party asks for the name over federation, which calls `services.short_tokens.openid_user`.
Source: client-server API, "OpenID".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.short_tokens import OPENID, OPENID_SECONDS
from thingroom_homeserver.client_api.checks import own_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def request_token(request: Request, services: Services) -> dict[str, Any]:
    token = await services.short_tokens.make(OPENID, own_user_id(request), OPENID_SECONDS)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "matrix_server_name": services.config.server_name,
        "expires_in": OPENID_SECONDS,
    }


ENDPOINTS = (Endpoint("POST", client_path("user/{userId}/openid/request_token"), request_token, limit="openid"),)
