"""GET /health: whether the server answers, its database can be read, and what it is. For proxies and supervisors.

Not in the specification.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from thingroom_common.version import version
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, json_response

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_health(request: Request, services: Services) -> dict[str, Any] | Response:
    try:
        services.database.read(lambda connection: connection.execute("SELECT 1 FROM stream_position").fetchone())
    except sqlite3.Error:
        return json_response({"errcode": "M_UNKNOWN", "error": "The database cannot be read"}, 503)
    return {"status": "ok", "server": f"Thingroom {version()}"}


ENDPOINTS = (Endpoint("GET", ("/health",), get_health, auth=Auth.NONE),)
