"""PUT send_knock: another server's user knocks, and is shown what the room is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.submitted_members import take_submitted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.rooms.glimpse import glimpse_of

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def send_knock(request: Request, services: Services) -> dict[str, Any]:
    knock = await take_submitted(request, services, "knock")
    rooms, room_id = services.rooms, knock.event.room_id
    return {"knock_room_state": services.database.read(lambda c: glimpse_of(rooms, c, room_id))}


ENDPOINTS = (
    Endpoint(
        "PUT",
        ("/_matrix/federation/v1/send_knock/{roomId}/{eventId}",),
        send_knock,
        auth=Auth.SERVER,
        limit="server_join",
    ),
)
