"""PUT exchange_third_party_invite: somebody was invited by an address, and their server knows now who they are.

Source: Server-Server API, "Third-party invites". Next: onbind.py, the other end of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.acl import room_for_peer
from thingroom_homeserver.federation_api.refusals import accepted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def exchange(request: Request, services: Services) -> dict[str, Any]:
    room_id = room_for_peer(request, services)
    sender, user_id = request.body_field("sender", str), request.body_field("state_key", str)
    content = request.body_field("content", dict)
    third_party = content.get("third_party_invite")
    signed = third_party.get("signed") if isinstance(third_party, dict) else None
    if not isinstance(signed, dict) or content.get("membership") != "invite":
        raise MatrixError(400, "M_INVALID_PARAM", "The body is not an invite with what an identity server signed")
    if request.body.get("room_id") != room_id or request.body.get("type") != "m.room.member":
        raise MatrixError(400, "M_INVALID_PARAM", "The event is not a member event of the room in the path")
    if not services.rooms.is_local(sender):
        raise MatrixError(400, "M_INVALID_PARAM", "The sender is not a user of this server")
    accepted(await services.federation.memberships.third_party.take_up(room_id, sender, user_id, signed))
    return {}


ENDPOINTS = (
    Endpoint(
        "PUT",
        ("/_matrix/federation/v1/exchange_third_party_invite/{roomId}",),
        exchange,
        auth=Auth.SERVER,
        limit="server_invite",
    ),
)
