"""GET /_matrix/key/v2/server: this server's signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_server_keys(request: Request, services: Services) -> dict[str, Any]:
    return services.federation.own_keys.document()


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/key/v2/server", "/_matrix/key/v2/server/{keyId}"), get_server_keys, auth=Auth.NONE),
)
"""The form with a key id is that of old servers; the answer is the same."""
