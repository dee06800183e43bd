"""GET /_matrix/federation/v1/timestamp_to_event/{roomId}: the event nearest to a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import room_for_reader
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.read_events import MAX_NEAR_TIME
from thingroom_homeserver.rooms.server_visibility import visible_to_server
from thingroom_homeserver.storage.events import event_ids_near_time

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader
    from thingroom_homeserver.storage.events import StoredEvent


async def get_by_time(request: Request, services: Services) -> dict[str, Any]:
    rooms, origin, room_id = services.rooms, request.origin, room_for_reader(request, services)
    timestamp, direction = request.query_int("ts", highest=2**63 - 1), request.query.get("dir")
    if timestamp is None or direction not in ("f", "b"):
        raise MatrixError(400, "M_INVALID_PARAM", "ts must be a time in milliseconds, dir must be f or b")

    def read(connection: Reader) -> StoredEvent | None:
        ids = event_ids_near_time(connection, room_id, timestamp, direction == "f", MAX_NEAR_TIME)
        found = rooms.events.get_many(connection, ids)
        seen = visible_to_server(rooms, connection, room_id, origin, found.values())
        return next((found[event_id] for event_id in ids if event_id in seen), None)

    stored = services.database.read(read)
    if stored is None:
        raise MatrixError(404, "M_NOT_FOUND", f"There is no event from {timestamp} in this direction")
    return {"event_id": stored.event_id, "origin_server_ts": stored.event.origin_server_ts}


ENDPOINTS = (
    Endpoint(
        "GET",
        ("/_matrix/federation/v1/timestamp_to_event/{roomId}",),
        get_by_time,
        auth=Auth.SERVER,
        limit="server_history",
    ),
)
