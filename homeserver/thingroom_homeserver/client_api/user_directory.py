"""POST /user_directory/search: people of this server, and of others in the user's rooms, by name or user id.

Source: client-server API, "User Directory". Ghosts of application services are left out; people find people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.remote_people import search_remote_people

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_RESULTS = 50
DEFAULT_RESULTS = 10


async def search_users(request: Request, services: Services) -> dict[str, Any]:
    term = request.body_field("search_term", str)
    limit = min(request.body_field("limit", int, DEFAULT_RESULTS), MAX_RESULTS)
    if limit < 1:
        raise MatrixError(400, "M_INVALID_PARAM", "limit must be at least 1")
    results: list[dict[str, Any]] = []
    for row in services.accounts.search(term, limit + 1):
        result: dict[str, Any] = {"user_id": row["user_id"]}
        for name in ("display_name", "avatar_url"):
            if row[name] is not None:
                result[name] = orjson.loads(row[name])
        results.append(result)
    if len(results) <= limit and services.federation.enabled:
        results += await _people_elsewhere(services, request.requester.user_id, term, limit + 1 - len(results))
    return {"results": results[:limit], "limited": len(results) > limit}


async def _people_elsewhere(services: Services, user_id: str, term: str, limit: int) -> list[dict[str, Any]]:
    rows = await services.database.read_in_thread(lambda c: search_remote_people(c, user_id, term, limit))
    names = ("user_id", "display_name", "avatar_url")
    return [{name: row[name] for name in names if isinstance(row[name], str)} for row in rows]


ENDPOINTS = (Endpoint("POST", client_path("user_directory/search"), search_users, limit="search"),)
