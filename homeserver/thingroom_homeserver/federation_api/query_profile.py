"""GET /_matrix/federation/v1/query/profile: the profile of a local user, or one field of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def query_profile(request: Request, services: Services) -> dict[str, Any]:
    user_id, key = request.query.get("user_id"), request.query.get("field")
    if user_id is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: user_id")
    fields = services.profiles.fields_of(user_id) if services.accounts.is_local(user_id) else None
    if fields is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such user here")
    if key is None:
        return fields
    return {key: fields[key]} if key in fields else {}


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/federation/v1/query/profile",), query_profile, auth=Auth.SERVER, limit="server_query"),
)
