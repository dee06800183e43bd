"""GET /_matrix/federation/v1/backfill/{roomId}: events and what preceded them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import MAX_NAMED_EVENTS, room_for_reader, walk_back
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.server_visibility import pdus_for_server

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

MAX_LIMIT = 100


async def backfill(request: Request, services: Services) -> dict[str, Any]:
    rooms, origin, room_id = services.rooms, request.origin, room_for_reader(request, services)
    limit = request.query_int("limit", highest=MAX_LIMIT)
    start = request.query.getall("v", [])[:MAX_NAMED_EVENTS]
    if limit is None or not start:
        raise MatrixError(400, "M_MISSING_PARAM", "v must name an event, limit a number of events")

    def read(connection: Reader) -> list[dict[str, Any]]:
        events = walk_back(rooms, connection, room_id, start, limit=limit)
        return pdus_for_server(rooms, connection, room_id, origin, events)

    pdus = services.database.read(read)
    return {"origin": rooms.server_name, "origin_server_ts": services.clock.now_ms(), "pdus": pdus}


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/federation/v1/backfill/{roomId}",), backfill, auth=Auth.SERVER, limit="server_history"),
)
