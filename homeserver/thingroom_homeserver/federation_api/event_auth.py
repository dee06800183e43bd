"""GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}: all that authorises an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import event_for_reader, room_for_reader, stored_pdus
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.rooms.state_at import auth_chain_of

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_event_auth(request: Request, services: Services) -> dict[str, Any]:
    rooms, room_id = services.rooms, room_for_reader(request, services)
    event_id = event_for_reader(request, services, request.path["eventId"], room_id).event_id
    chain = services.database.read(lambda connection: auth_chain_of(rooms, connection, [event_id]))
    return {"auth_chain": await stored_pdus(services, chain)}


ENDPOINTS = (
    Endpoint(
        "GET",
        ("/_matrix/federation/v1/event_auth/{roomId}/{eventId}",),
        get_event_auth,
        auth=Auth.SERVER,
        limit="server_state",
    ),
)
