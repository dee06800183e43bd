"""What send_join, send_leave and send_knock have in common.

May import federation, rooms and the HTTP types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingroom_homeserver.federation.handshake import Membership
from thingroom_homeserver.federation.helping import Submitted
from thingroom_homeserver.federation_api.acl import room_for_peer
from thingroom_homeserver.federation_api.refusals import accepted

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.events import StoredEvent


async def take_submitted(request: Request, services: Services, membership: Membership) -> StoredEvent:
    """Bring the member event of the body into the room. Raises MatrixError."""
    room_id = room_for_peer(request, services)
    submitted = Submitted(request.origin, room_id, request.path["eventId"], request.body)
    return accepted(await services.federation.helping.take(membership, submitted))
