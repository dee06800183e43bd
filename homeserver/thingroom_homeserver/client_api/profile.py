"""/profile/{userId}: reading anyone's, changing one's own; changes go into the member events of the user's rooms.

Source: client-server API, "Profiles".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.profiles import IN_MEMBER_EVENTS, why_unfit_key
from thingroom_homeserver.client_api.checks import granted, own_user_id
from thingroom_homeserver.client_api.room_errors import sender_of
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.rooms.membership import update_profile

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_profile(request: Request, services: Services) -> dict[str, Any]:
    return await _fields(request, services)


async def get_field(request: Request, services: Services) -> dict[str, Any]:
    fields, key = await _fields(request, services), request.path["keyName"]
    if key not in fields:
        raise MatrixError(404, "M_NOT_FOUND", "The profile has no such field")
    return {key: fields[key]}


async def put_field(request: Request, services: Services) -> dict[str, Any]:
    user_id, key = own_user_id(request), request.path["keyName"]
    refused = why_unfit_key(key)
    if refused is not None:
        raise error_for(refused)
    if key not in request.body:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {key}")
    changed = granted(await services.profiles.set_field(user_id, key, request.body[key]))
    return await _carry_into_rooms(request, services, key, changed)


async def delete_field(request: Request, services: Services) -> dict[str, Any]:
    user_id, key = own_user_id(request), request.path["keyName"]
    changed = granted(await services.profiles.delete_field(user_id, key))
    return await _carry_into_rooms(request, services, key, changed)


async def _fields(request: Request, services: Services) -> dict[str, Any]:
    user_id = request.path["userId"]
    if not is_valid_user_id(user_id):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a user id")
    if not services.accounts.is_local(user_id):
        return await _remote_fields(request, services, user_id)
    fields = services.profiles.fields_of(user_id)
    if fields is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such user")
    return fields


async def _remote_fields(request: Request, services: Services, user_id: str) -> dict[str, Any]:
    """What the user's server says. Who is not logged in makes this server ask nobody."""
    if request.requester_or_none is None or not services.federation.enabled:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such user")
    fields = await services.federation.remote_profiles.fetch(user_id)
    if not isinstance(fields, Failed):
        return fields
    if fields.status == 403:
        raise MatrixError(403, "M_FORBIDDEN", "The user's server does not tell")
    raise MatrixError(404, "M_NOT_FOUND", "There is no such user, or their server does not answer")


async def _carry_into_rooms(request: Request, services: Services, key: str, changed: bool) -> dict[str, Any]:
    if changed and key in IN_MEMBER_EVENTS:
        await update_profile(services.rooms, sender_of(request.requester))
    return {}


FIELD = client_path("profile/{userId}/{keyName}")
ENDPOINTS = (
    Endpoint("GET", client_path("profile/{userId}"), get_profile, auth=Auth.OPTIONAL),
    Endpoint("GET", FIELD, get_field, auth=Auth.OPTIONAL),
    Endpoint("PUT", FIELD, put_field, limit="profile"),
    Endpoint("DELETE", FIELD, delete_field, limit="profile"),
)
