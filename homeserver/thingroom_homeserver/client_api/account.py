"""POST /account/password and /account/deactivate, both behind the current password; GET /account/3pid (always none).

Source: client-server API, "Account management" (legacy API).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.interactive_auth import PASSWORD
from thingroom_homeserver.rooms.membership import Change, change_membership
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.storage.memberships import rooms_of_user

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def change_password(request: Request, services: Services) -> dict[str, Any] | Response:
    requester = request.requester
    if requester.appservice is not None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service's users have no password")
    challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
    if challenge is not None:
        return challenge
    granted(await services.accounts.set_password(requester.user_id, request.body_field("new_password", str)))
    if request.body_field("logout_devices", bool, True):
        await services.accounts.delete_all_devices(requester.user_id, keep=requester.device_id)
    return {}


async def deactivate(request: Request, services: Services) -> dict[str, Any] | Response:
    requester = request.requester
    if requester.appservice is None:
        challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
        if challenge is not None:
            return challenge
    await services.accounts.deactivate(requester.user_id)
    await _leave_everywhere(requester.user_id, services)
    return {"id_server_unbind_result": "no-support"}


async def get_third_party_ids(request: Request, services: Services) -> dict[str, Any]:
    return {"threepids": []}


async def _leave_everywhere(user_id: str, services: Services) -> None:
    members = services.database.read(lambda connection: rooms_of_user(connection, user_id, ("join", "invite", "knock")))
    for member in members:
        await change_membership(services.rooms, Sender(user_id), member.room_id, Change(user_id, "leave"))


ENDPOINTS = (
    Endpoint("POST", client_path("account/password"), change_password),
    Endpoint("POST", client_path("account/deactivate"), deactivate),
    Endpoint("GET", client_path("account/3pid"), get_third_party_ids),
)
