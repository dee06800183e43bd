"""GET /_matrix/federation/v1/openid/userinfo: who made an OpenID token. Third parties ask, with the token alone.

Source: Server-Server API, "OpenID". The token comes from client_api/openid.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def userinfo(request: Request, services: Services) -> dict[str, Any]:
    token = request.query.get("access_token")
    if not token:
        raise MatrixError(401, "M_MISSING_TOKEN", "Missing parameter: access_token")
    user_id = services.short_tokens.openid_user(token)
    if user_id is None:
        raise MatrixError(401, "M_UNKNOWN_TOKEN", "The token is not known, or has expired")
    return {"sub": user_id}


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/federation/v1/openid/userinfo",), userinfo, auth=Auth.NONE, limit="openid_userinfo"),
)
