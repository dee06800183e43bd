"""GET /auth_metadata: this server uses the legacy authentication API, and says so in the way clients look for.

Source: client-server API, "Authentication API discovery".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

_METADATA = (
    "/_matrix/client/v1/auth_metadata",
    "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
    "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer",
)


async def get_auth_metadata(request: Request, services: Services) -> dict[str, Any]:
    raise MatrixError(404, "M_UNRECOGNIZED", "Legacy authentication is in use on this homeserver.")


ENDPOINTS = (Endpoint("GET", _METADATA, get_auth_metadata, auth=Auth.NONE),)
