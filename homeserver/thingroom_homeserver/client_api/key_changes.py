"""GET /keys/changes: whose keys changed between two answers of /sync.

Source: client-server API, "Key management API". `to` is a hint only: what is newer is told as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.tokens import SyncToken, parse_sync_token

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_key_changes(request: Request, services: Services) -> dict[str, Any]:
    since, _ = _token(request, "from"), _token(request, "to")
    user_id, upto = request.requester.user_id, services.notifier.position
    news = services.database.read(lambda c: services.device_lists.news(c, user_id, since.position, upto))
    return {"changed": news.changed, "left": news.left}


def _token(request: Request, name: str) -> SyncToken:
    text = request.query.get(name)
    if text is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
    token = parse_sync_token(text)
    if token is None:
        raise MatrixError(400, "M_INVALID_PARAM", f"{name} is not a token of this server")
    return token


ENDPOINTS = (Endpoint("GET", client_path("keys/changes"), get_key_changes, limit="keys"),)
