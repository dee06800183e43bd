"""What make_join, make_leave and make_knock have in common.

May import federation, rooms and the HTTP types. Next: submitted_members.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.federation.handshake import Membership
from thingroom_homeserver.federation_api.acl import room_for_peer
from thingroom_homeserver.federation_api.refusals import accepted
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request
    from thingroom_homeserver.services import Services


async def answer_template(request: Request, services: Services, membership: Membership) -> dict[str, Any]:
    """The template of a member event by the {userId} of the path. Raises MatrixError."""
    user_id = request.path["userId"]
    if not is_valid_user_id(user_id) or server_name_of(user_id) != request.origin:
        raise MatrixError(403, "M_FORBIDDEN", "The user is not of your server")
    room_id = room_for_peer(request, services)
    versions = None if membership == "leave" else request.query.getall("ver", ["1"])
    helping = services.federation.helping
    return accepted(await helping.template(membership, room_id, user_id, versions))
