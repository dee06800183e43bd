"""POST /user_directory/search: people of this server by name or user id.

Source: client-server API, "User Directory". Ghosts of application services are left out; people find people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_RESULTS = 50
DEFAULT_RESULTS = 10


async def search_users(request: Request, services: Services) -> dict[str, Any]:
    term = request.body_field("search_term", str)
    limit = min(request.body_field("limit", int, DEFAULT_RESULTS), MAX_RESULTS)
    if limit < 1:
        raise MatrixError(400, "M_INVALID_PARAM", "limit must be at least 1")
    rows = services.accounts.search(term, limit + 1)
    results = []
    for row in rows[:limit]:
        result: dict[str, Any] = {"user_id": row["user_id"]}
        for name in ("display_name", "avatar_url"):
            if row[name] is not None:
                result[name] = orjson.loads(row[name])
        results.append(result)
    return {"results": results, "limited": len(rows) > limit}


ENDPOINTS = (Endpoint("POST", client_path("user_directory/search"), search_users, limit="search"),)
