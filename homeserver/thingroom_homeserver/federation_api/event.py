"""GET /_matrix/federation/v1/event/{eventId}: one event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import event_for_reader
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.rooms.server_visibility import pdus_for_server

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_event(request: Request, services: Services) -> dict[str, Any]:
    rooms, origin = services.rooms, request.origin
    stored = event_for_reader(request, services, request.path["eventId"])
    room_id = stored.event.room_id
    pdus = services.database.read(lambda connection: pdus_for_server(rooms, connection, room_id, origin, [stored]))
    return {"origin": rooms.server_name, "origin_server_ts": services.clock.now_ms(), "pdus": pdus}


ENDPOINTS = (Endpoint("GET", ("/_matrix/federation/v1/event/{eventId}",), get_event, auth=Auth.SERVER),)
