"""Every endpoint of the Server-Server API. One file each; a new one adds its line here."""

from __future__ import annotations

from thingroom_homeserver.federation_api import key_query, key_server, version
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *version.ENDPOINTS,
    *key_server.ENDPOINTS,
    *key_query.ENDPOINTS,
)
